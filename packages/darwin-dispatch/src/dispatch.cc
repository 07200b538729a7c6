// The native part: it keeps the requests under way, gives results to JavaScript's thread in batches, and at the end
// stops everything and waits for it, so that nothing writes to freed memory.
#include "dispatch.h"

#include <stdlib.h>
#include <unistd.h>

namespace {

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

// take(): [id, result, value, id, result, value, …] of all requests that are done. `value` is what a call has read.
Napi::Array Take(Napi::Env env) {
  Environment* environment = Environment::of(env);
  Napi::Array taken = Napi::Array::New(env);
  uint32_t length = 0;
  for (Request* request = take_done(environment); request != nullptr;) {
    taken.Set(length++, request->id);
    taken.Set(length++, request->result);
    taken.Set(length++, value_of(env, request));
    environment->requests[request->id] = nullptr;
    Request* next = request->next;
    forget(request);
    request = next;
  }
  return taken;
}

// cancel(id): asks GCD to stop. The request completes in any case, perhaps with success.
void Cancel(Napi::Env env, uint32_t id) {
  Environment* environment = Environment::of(env);
  if (id < environment->capacity && environment->requests[id] != nullptr) cancel(environment->requests[id]);
}

// address(memory: Uint8Array): number, valid as long as its ArrayBuffer lives
uintptr_t Address(Napi::Env, Bytes memory) { return reinterpret_cast<uintptr_t>(memory.data); }

}  // namespace

int Environment::start() {
  group = dispatch_group_create();
  return pthread_mutex_init(&mutex, nullptr);
}

bool Environment::stop() {
  pthread_mutex_lock(&mutex);
  is_closing = true;
  pthread_mutex_unlock(&mutex);
  for (uint32_t id = 0; id < capacity; id++)
    if (requests[id] != nullptr) cancel(requests[id]);
  dispatch_time_t until =
      is_main_thread ? dispatch_time(DISPATCH_TIME_NOW, kiruna::kExitTimeoutMs * NSEC_PER_MSEC) : DISPATCH_TIME_FOREVER;
  bool has_drained = dispatch_group_wait(group, until) == 0;
  if (!is_main_thread) close_owned(this);
  if (!has_drained) return false;
  for (uint32_t id = 0; id < capacity; id++)
    if (requests[id] != nullptr) forget(requests[id]);
  free(requests);
  free(owned.words);
  free(channelled.words);
  dispatch_release(group);
  pthread_mutex_destroy(&mutex);
  return true;
}

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

dispatch_queue_t queue_of(int rank) {
  constexpr unsigned kQos[] = {QOS_CLASS_USER_INTERACTIVE, QOS_CLASS_USER_INITIATED, QOS_CLASS_UTILITY,
                               QOS_CLASS_BACKGROUND};
  return dispatch_get_global_queue(kQos[rank & 3], 0);
}

Request* new_request(napi_env env, uint32_t id) {
  Environment* environment = Environment::of(env);
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

static Napi::Object Init(Napi::Env, Napi::Object exports) {
  kiruna::keep_loaded();  // one of our blocks may be about to return
  using kiruna::method;
  kiruna::add_methods(exports, {{"setup", method<Environment::Setup>},
                                {"ref", method<Environment::Ref>},
                                {"unref", method<Environment::Unref>},
                                {"take", method<Take>},
                                {"cancel", method<Cancel>},
                                {"address", method<Address>},
                                {"read", method<Read>},
                                {"write", method<Write>},
                                {"wait", method<Wait>},
                                {"open", method<Open>},
                                {"close", method<Close>},
                                {"stat", method<Stat>},
                                {"fstat", method<Fstat>},
                                {"readdir", method<Readdir>},
                                {"rename", method<Rename>},
                                {"unlink", method<Unlink>},
                                {"readlink", method<Readlink>},
                                {"fsync", method<Fsync>},
                                {"fchown", method<Fchown>},
                                {"ftruncate", method<Ftruncate>},
                                {"fchmod", method<Fchmod>},
                                {"isReadable", method<IsReadable>}});
  return exports;
}

NODE_API_MODULE(dispatch, Init)
