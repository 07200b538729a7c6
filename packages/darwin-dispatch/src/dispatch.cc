// The native part: what is under way is kept here, what is done goes to JavaScript's thread in batches, and at the end
// everything is stopped and waited for, so that nobody writes into memory that has gone.
#include "dispatch.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

namespace {

// A process that ends does not wait longer than this for a disk that does not answer.
constexpr int64_t kExitTimeoutNs = 1000000000;

Environment* environment_of(napi_env env) {
  void* environment = nullptr;
  napi_get_instance_data(env, &environment);
  return static_cast<Environment*>(environment);
}

void close_owned(Environment* environment) {
  for (size_t word = 0; word < environment->owned.count; word++)
    for (uint32_t bits = environment->owned.words[word]; bits != 0; bits &= bits - 1)
      close(static_cast<int>(word * 32) + __builtin_ctz(bits));
}

void forget(Request* request) {
  if (request->channel != nullptr) dispatch_release(request->channel);
  if (request->source != nullptr) dispatch_release(request->source);
  for (char* path : request->paths) free(path);
  free(request->status);
  free(request->text);
  free(request);
}

Request* take_done(Environment* environment) {
  pthread_mutex_lock(&environment->mutex);
  Request* first = environment->first_done;
  environment->first_done = environment->last_done = nullptr;
  pthread_mutex_unlock(&environment->mutex);
  return first;
}

void cancel(Request* request) {
  __atomic_store_n(&request->is_cancelled, true, __ATOMIC_RELAXED);
  if (request->channel != nullptr) dispatch_io_close(request->channel, DISPATCH_IO_STOP);
  if (request->source != nullptr) dispatch_source_cancel(request->source);
}

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

// Before the environment's memory goes.
void cleanup(napi_async_cleanup_hook_handle, void* data) {
  Environment* environment = static_cast<Environment*>(data);
  pthread_mutex_lock(&environment->mutex);
  environment->is_closing = true;
  pthread_mutex_unlock(&environment->mutex);
  for (uint32_t id = 0; id < environment->capacity; id++)
    if (environment->requests[id] != nullptr) cancel(environment->requests[id]);
  dispatch_time_t until =
      environment->is_main_thread ? dispatch_time(DISPATCH_TIME_NOW, kExitTimeoutNs) : DISPATCH_TIME_FOREVER;
  bool is_drained = dispatch_group_wait(environment->group, until) == 0;
  if (!environment->is_main_thread) close_owned(environment);
  if (is_drained) {
    for (uint32_t id = 0; id < environment->capacity; id++)
      if (environment->requests[id] != nullptr) forget(environment->requests[id]);
    free(environment->requests);
    free(environment->owned.words);
    free(environment->channelled.words);
    dispatch_release(environment->group);
    environment->group = nullptr;
  }
  napi_set_instance_data(environment->env, nullptr, nullptr, nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&environment->wake), [](uv_handle_t* wake) {
    Environment* environment = static_cast<Environment*>(wake->data);
    napi_async_destroy(environment->env, environment->context);
    napi_delete_reference(environment->env, environment->on_ready);
    napi_remove_async_cleanup_hook(environment->hook);
    // Whatever still waits for a disk finds it where it was: the process ends.
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
  napi_create_string_utf8(env, "KirunaDispatch", NAPI_AUTO_LENGTH, &name);
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

// take(): [id, result, value, id, result, value, …] of all that is done. `value` is what a call has found.
napi_value Take(napi_env env, napi_callback_info) {
  Environment* environment = environment_of(env);
  napi_value taken, nothing;
  napi_create_array(env, &taken);
  napi_get_undefined(env, &nothing);
  uint32_t length = 0;
  for (Request* request = take_done(environment); request != nullptr;) {
    napi_value value = found(env, request);
    napi_set_element(env, taken, length++, number(env, request->id));
    napi_set_element(env, taken, length++, number(env, request->result));
    napi_set_element(env, taken, length++, value == nullptr ? nothing : value);
    environment->requests[request->id] = nullptr;
    Request* next = request->next;
    forget(request);
    request = next;
  }
  return taken;
}

// cancel(id): asks GCD to stop. It is done all the same, perhaps with success.
napi_value Cancel(napi_env env, napi_callback_info info) {
  Environment* environment = environment_of(env);
  int64_t id = Arguments(env, info).integer(0);
  if (id < environment->capacity && environment->requests[id] != nullptr) cancel(environment->requests[id]);
  return nullptr;
}

// address(memory: Uint8Array): number, where it is for as long as its ArrayBuffer lives
napi_value Address(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_typedarray_info(env, Arguments(env, info).values[0], nullptr, nullptr, &data, nullptr, nullptr);
  return number(env, static_cast<int64_t>(reinterpret_cast<uintptr_t>(data)));
}

}  // namespace

void FdSet::add(int fd) {
  size_t word = static_cast<size_t>(fd) / 32;
  if (word >= count) {
    words = static_cast<uint32_t*>(realloc(words, (word + 32) * sizeof(uint32_t)));
    for (; count < word + 32; count++) words[count] = 0;
  }
  words[word] |= 1u << fd % 32;
}

bool FdSet::remove(int fd) {
  size_t word = static_cast<size_t>(fd) / 32;
  uint32_t bit = 1u << fd % 32;
  if (word >= count || (words[word] & bit) == 0) return false;
  words[word] &= ~bit;
  return true;
}

dispatch_queue_t queue_of(int64_t rank) {
  constexpr unsigned kQos[] = {QOS_CLASS_USER_INTERACTIVE, QOS_CLASS_USER_INITIATED, QOS_CLASS_UTILITY,
                               QOS_CLASS_BACKGROUND};
  return dispatch_get_global_queue(kQos[rank & 3], 0);
}

Request* new_request(const Arguments& arguments) {
  Environment* environment = environment_of(arguments.env);
  uint32_t id = static_cast<uint32_t>(arguments.integer(0));
  if (id >= environment->capacity) {
    uint32_t capacity = id + 64;
    environment->requests = static_cast<Request**>(realloc(environment->requests, capacity * sizeof(Request*)));
    for (uint32_t i = environment->capacity; i < capacity; i++) environment->requests[i] = nullptr;
    environment->capacity = capacity;
  }
  Request* request = static_cast<Request*>(calloc(1, sizeof(Request)));
  request->environment = environment;
  request->id = id;
  request->unfinished = 1;
  environment->requests[id] = request;
  dispatch_group_enter(environment->group);
  return request;
}

void finish_part(Request* request) {
  if (__atomic_sub_fetch(&request->unfinished, 1, __ATOMIC_ACQ_REL) > 0) return;
  Environment* environment = request->environment;
  dispatch_group_t group = environment->group;
  pthread_mutex_lock(&environment->mutex);
  if (request->makes_fd && request->result >= 0) environment->owned.add(static_cast<int>(request->result));
  bool was_empty = environment->first_done == nullptr;
  if (was_empty)
    environment->first_done = request;
  else
    environment->last_done->next = request;
  environment->last_done = request;
  if (was_empty && !environment->is_closing) uv_async_send(&environment->wake);
  pthread_mutex_unlock(&environment->mutex);
  dispatch_group_leave(group);
}

void disown(Environment* environment, int fd) {
  pthread_mutex_lock(&environment->mutex);
  environment->owned.remove(fd);
  pthread_mutex_unlock(&environment->mutex);
}

NAPI_MODULE_INIT() {
  // Node.js unloads an addon with its last worker, while a block of ours may be about to return.
  Dl_info self;
  if (dladdr(reinterpret_cast<void*>(finish_part), &self) != 0) dlopen(self.dli_fname, RTLD_NOW | RTLD_NODELETE);
  const struct {
    const char* name;
    napi_callback function;
  } functions[] = {{"setup", Setup},
                   {"ref", Ref},
                   {"unref", Unref},
                   {"take", Take},
                   {"cancel", Cancel},
                   {"address", Address},
                   {"read", Read},
                   {"write", Write},
                   {"wait", Wait},
                   {"open", Open},
                   {"close", Close},

                   {"stat", Stat},
                   {"fstat", Fstat},
                   {"readdir", Readdir},
                   {"rename", Rename},
                   {"unlink", Unlink},
                   {"readlink", Readlink},
                   {"fsync", Fsync},
                   {"fchown", Fchown},
                   {"ftruncate", Ftruncate},
                   {"fchmod", Fchmod},
                   {"isReadable", IsReadable}};
  for (const auto& [name, function] : functions) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
    napi_set_named_property(env, exports, name, value);
  }
  return exports;
}
