// The native part: the sockets are kept here, what is done goes to JavaScript's thread in batches, and at the end
// everything is stopped and waited for, so that nobody writes into memory that has gone.
#include "dispatch.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

namespace {

// A process that ends does not wait longer than this.
constexpr int64_t kExitTimeoutNs = 1000000000;

void ready(uv_async_t* wake) {
  Environment* environment = static_cast<Environment*>(wake->data);
  napi_env env = environment->env;
  napi_handle_scope scope;
  napi_value callback, receiver, result;
  napi_open_handle_scope(env, &scope);
  napi_get_reference_value(env, environment->on_ready, &callback);
  napi_get_global(env, &receiver);
  if (napi_make_callback(env, environment->context, receiver, callback, 0, nullptr, &result) ==
      napi_pending_exception) {
    napi_value error;
    napi_get_and_clear_last_exception(env, &error);
    napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

void begin_close(Socket* socket) {
  if (socket->is_closing) return;
  socket->is_closing = true;
  stop(socket);
  release(socket);
}

void forget(Socket* socket) {
  Environment* environment = socket->environment;
  environment->sockets[socket->id] = nullptr;
  if (socket->id < environment->first_free) environment->first_free = socket->id;
  pthread_mutex_destroy(&socket->mutex);
  for (Half& half : socket->halves) free(half.peer);
  free(socket->accepted);
  free(socket);
}

// Before the environment's memory goes.
void cleanup(napi_async_cleanup_hook_handle, void* data) {
  Environment* environment = static_cast<Environment*>(data);
  pthread_mutex_lock(&environment->mutex);
  environment->is_closing = true;
  pthread_mutex_unlock(&environment->mutex);
  for (int32_t id = 0; id < environment->capacity; id++)
    if (environment->sockets[id] != nullptr) begin_close(environment->sockets[id]);
  dispatch_time_t until =
      environment->is_main_thread ? dispatch_time(DISPATCH_TIME_NOW, kExitTimeoutNs) : DISPATCH_TIME_FOREVER;
  if (dispatch_group_wait(environment->group, until) == 0) {
    for (int32_t id = 0; id < environment->capacity; id++)
      if (environment->sockets[id] != nullptr) forget(environment->sockets[id]);
    free(environment->sockets);
    dispatch_release(environment->group);
    environment->group = nullptr;
  }
  napi_set_instance_data(environment->env, nullptr, nullptr, nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&environment->wake), [](uv_handle_t* wake) {
    Environment* environment = static_cast<Environment*>(wake->data);
    napi_async_destroy(environment->env, environment->context);
    napi_delete_reference(environment->env, environment->on_ready);
    napi_remove_async_cleanup_hook(environment->hook);
    // Whatever is still at work finds it where it was: the process ends.
    if (environment->group != nullptr) return;
    pthread_mutex_destroy(&environment->mutex);
    free(environment);
  });
}

// setup(onReady: () => void, isMainThread: boolean): 0 | negative errno
napi_value Setup(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  if (environment_of(env) != nullptr) return number(env, -EBUSY);  // another copy of the package has it
  Environment* environment = static_cast<Environment*>(calloc(1, sizeof(Environment)));
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  int error = uv_async_init(loop, &environment->wake, ready);
  if (error != 0) {
    free(environment);
    return number(env, error);
  }
  environment->env = env;
  environment->is_main_thread = arguments.boolean(1);
  environment->wake.data = environment;
  uv_unref(reinterpret_cast<uv_handle_t*>(&environment->wake));
  environment->group = dispatch_group_create();
  pthread_mutex_init(&environment->mutex, nullptr);
  napi_value name, resource;
  napi_create_string_utf8(env, "KirunaSockets", NAPI_AUTO_LENGTH, &name);
  napi_create_object(env, &resource);
  napi_async_init(env, resource, name, &environment->context);
  napi_create_reference(env, arguments.values[0], 1, &environment->on_ready);
  napi_add_async_cleanup_hook(env, cleanup, environment, &environment->hook);
  napi_set_instance_data(env, environment, nullptr, nullptr);
  return number(env, 0);
}

// ref(): what is under way keeps the process alive.
napi_value Ref(napi_env env, napi_callback_info) {
  uv_ref(reinterpret_cast<uv_handle_t*>(&environment_of(env)->wake));
  return nullptr;
}

// unref(): it does not.
napi_value Unref(napi_env env, napi_callback_info) {
  uv_unref(reinterpret_cast<uv_handle_t*>(&environment_of(env)->wake));
  return nullptr;
}

// take(into: Int32Array): how many are done, of which it has [key, result] each. There are no more where it is not full.
napi_value Take(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Environment* environment = environment_of(env);
  iovec memory = {};
  napi_get_typedarray_info(env, arguments.values[0], nullptr, &memory.iov_len, &memory.iov_base, nullptr, nullptr);
  int32_t* into = static_cast<int32_t*>(memory.iov_base);
  size_t room = memory.iov_len / 2, count = 0;
  pthread_mutex_lock(&environment->mutex);
  Completion* first = environment->first_done;
  Completion* rest = first;
  for (; rest != nullptr && count < room; rest = rest->next) {
    into[2 * count] = rest->key;
    into[2 * count++ + 1] = rest->result;
  }
  environment->first_done = rest;
  if (rest == nullptr) environment->last_done = nullptr;
  pthread_mutex_unlock(&environment->mutex);
  return number(env, static_cast<int64_t>(count));
}

// close(socket): its completion says when it is closed.
napi_value Close(napi_env env, napi_callback_info info) {
  begin_close(socket_of(Arguments(env, info)));
  return nullptr;
}

// forget(socket): it is closed, and its number is free.
napi_value Forget(napi_env env, napi_callback_info info) {
  forget(socket_of(Arguments(env, info)));
  return nullptr;
}

}  // namespace

Environment* environment_of(napi_env env) {
  void* environment = nullptr;
  napi_get_instance_data(env, &environment);
  return static_cast<Environment*>(environment);
}

Socket* socket_of(const Arguments& arguments) { return environment_of(arguments.env)->sockets[arguments.integer(0)]; }

int32_t adopt(Environment* environment, int fd, int family) {
  int32_t id = environment->first_free;
  while (id < environment->capacity && environment->sockets[id] != nullptr) id++;
  if (id == environment->capacity) {
    int32_t capacity = id * 2 + 64;
    environment->sockets = static_cast<Socket**>(realloc(environment->sockets, capacity * sizeof(Socket*)));
    for (int32_t i = id; i < capacity; i++) environment->sockets[i] = nullptr;
    environment->capacity = capacity;
  }
  Socket* socket = static_cast<Socket*>(calloc(1, sizeof(Socket)));
  socket->environment = environment;
  socket->id = id;
  socket->fd = fd;
  socket->family = family;
  socket->uses = 1;
  pthread_mutex_init(&socket->mutex, nullptr);
  for (int direction = kRead; direction <= kWrite; direction++) {
    socket->halves[direction].socket = socket;
    socket->halves[direction].completion.key = id * 4 + direction;
  }
  socket->closed.key = id * 4 + kClosed;
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
#ifdef __APPLE__
  int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
  environment->sockets[id] = socket;
  environment->first_free = id + 1;
  dispatch_group_enter(environment->group);
  return id;
}

void post(Environment* environment, Completion* completion, int64_t result) {
  completion->result = static_cast<int32_t>(result);
  completion->next = nullptr;
  pthread_mutex_lock(&environment->mutex);
  bool was_empty = environment->first_done == nullptr;
  (was_empty ? environment->first_done : environment->last_done->next) = completion;
  environment->last_done = completion;
  if (was_empty && !environment->is_closing) uv_async_send(&environment->wake);
  pthread_mutex_unlock(&environment->mutex);
}

void release(Socket* socket) {
  if (__atomic_sub_fetch(&socket->uses, 1, __ATOMIC_ACQ_REL) > 0) return;
  Environment* environment = socket->environment;
  dispatch_group_t group = environment->group;
  for (int i = 0; i < socket->accepted_count; i++) close(socket->accepted[i]);
  int closed = close(socket->fd);
  post(environment, &socket->closed, result_of(closed));
  dispatch_group_leave(group);
}

NAPI_MODULE_INIT() {
  // Node.js unloads an addon with its last worker, while a handler of ours may be about to return.
  Dl_info self;
  if (dladdr(reinterpret_cast<void*>(post), &self) != 0) dlopen(self.dli_fname, RTLD_NOW | RTLD_NODELETE);
  const struct {
    const char* name;
    napi_callback function;
  } functions[] = {{"setup", Setup},
                   {"ref", Ref},
                   {"unref", Unref},
                   {"take", Take},
                   {"close", Close},
                   {"forget", Forget},
                   {"wait", Wait},
                   {"receive", Receive},
                   {"receiveFrom", ReceiveFrom},
                   {"send", Send},
                   {"sendTo", SendTo},
                   {"accept", Accept},
                   {"accepted", Accepted},
                   {"connect", Connect},
                   {"cancel", Cancel},
                   {"setRank", SetRank},
                   {"hurry", Hurry},
                   {"socket", OpenSocket},
                   {"bind", Bind},
                   {"listen", Listen},
                   {"shutdown", Shutdown},
                   {"name", Name},
                   {"sender", Sender},
                   {"setsockopt", Setsockopt},
                   {"changeMembership", ChangeMembership},
                   {"setInterface", SetInterface}};
  for (const auto& [name, function] : functions) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
    napi_set_named_property(env, exports, name, value);
  }
  return exports;
}
