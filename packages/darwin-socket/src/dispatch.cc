// The native part: it keeps the sockets, gives results to JavaScript's thread in batches, and at the end stops
// everything and waits for it, so that nothing writes to freed memory.
#include "dispatch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

namespace {

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

// take(into: Int32Array): fills in [key, result] of calls that are done, and returns how many; there are no more if it
// is not full.
size_t Take(Napi::Env env, Napi::Int32Array into) {
  Environment* environment = Environment::of(env);
  size_t room = into.ElementLength() / 2, count = 0;
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
  return count;
}

// close(socket): its completion says when it is closed.
void Close(Napi::Env, Socket* socket) { begin_close(socket); }

// forget(socket): the socket is closed; its number is free from now on.
void Forget(Napi::Env, Socket* socket) { forget(socket); }

}  // namespace

int Environment::start() {
  group = dispatch_group_create();
  return pthread_mutex_init(&mutex, nullptr);
}

bool Environment::stop() {
  pthread_mutex_lock(&mutex);
  is_closing = true;
  pthread_mutex_unlock(&mutex);
  for (int32_t id = 0; id < capacity; id++)
    if (sockets[id] != nullptr) begin_close(sockets[id]);
  dispatch_time_t until =
      is_main_thread ? dispatch_time(DISPATCH_TIME_NOW, kiruna::kExitTimeoutMs * NSEC_PER_MSEC) : DISPATCH_TIME_FOREVER;
  if (dispatch_group_wait(group, until) != 0) return false;
  for (int32_t id = 0; id < capacity; id++)
    if (sockets[id] != nullptr) forget(sockets[id]);
  free(sockets);
  dispatch_release(group);
  pthread_mutex_destroy(&mutex);
  return true;
}

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

static Napi::Object Init(Napi::Env, Napi::Object exports) {
  kiruna::keep_loaded();  // one of our handlers may be about to return
  using kiruna::method;
  kiruna::add_methods(exports, {{"setup", method<Environment::Setup>},
                                {"ref", method<Environment::Ref>},
                                {"unref", method<Environment::Unref>},
                                {"take", method<Take>},
                                {"close", method<Close>},
                                {"forget", method<Forget>},
                                {"wait", method<Wait>},
                                {"receive", method<Receive>},
                                {"receiveFrom", method<ReceiveFrom>},
                                {"send", method<Send>},
                                {"sendTo", method<SendTo>},
                                {"accept", method<Accept>},
                                {"accepted", method<Accepted>},
                                {"connect", method<Connect>},
                                {"cancel", method<Cancel>},
                                {"setRank", method<SetRank>},
                                {"hurry", method<Hurry>},
                                {"socket", method<OpenSocket>},
                                {"bind", method<Bind>},
                                {"listen", method<Listen>},
                                {"shutdown", method<Shutdown>},
                                {"name", method<Name>},
                                {"sender", method<Sender>},
                                {"setsockopt", method<Setsockopt>},
                                {"changeMembership", method<ChangeMembership>},
                                {"setInterface", method<SetInterface>}});
  return exports;
}

NODE_API_MODULE(dispatch, Init)
