// What belongs to one environment, from the first call to its end: which can come at any moment, with anything under way.
#include "environment.h"

#include "posix.h"

// A process that ends does not wait longer than this for a disk that does not answer.
constexpr int kExitTimeoutMs = 1000;

// Unmapping has nobody who waits for it more than for anything else; it is short.
constexpr uint8_t kUnmapRank = 1;

namespace {

void link(Environment* environment, Mapping* mapping) {
  mapping->environment = environment;
  mapping->next = environment->mappings;
  if (mapping->next != nullptr) mapping->next->previous = mapping;
  environment->mappings = mapping;
}

void unlink(Mapping* mapping) {
  Environment* environment = mapping->environment;
  if (environment == nullptr) return;
  if (mapping->previous == nullptr)
    environment->mappings = mapping->next;
  else
    mapping->previous->next = mapping->next;
  if (mapping->next != nullptr) mapping->next->previous = mapping->previous;
}

void release_handle(napi_env, void* mapping, void*) { release(static_cast<Mapping*>(mapping)); }

void wake(void* environment) { uv_async_send(&static_cast<Environment*>(environment)->wake); }

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

void finish(uv_handle_t* wake) {
  Environment* environment = static_cast<Environment*>(wake->data);
  napi_async_destroy(environment->env, environment->context);
  napi_delete_reference(environment->env, environment->on_ready);
  napi_remove_async_cleanup_hook(environment->hook);
  delete environment;
}

// Before the environment's memory goes, which the threads may be reading into.
void cleanup(napi_async_cleanup_hook_handle, void* data) {
  Environment* environment = static_cast<Environment*>(data);
  bool has_stopped = stop_threads(environment->threads, environment->is_main_thread ? kExitTimeoutMs : -1);
  // Nothing of JavaScript's runs any more. Its windows and handles are finalized later, if at all.
  for (Mapping* mapping = environment->mappings; mapping != nullptr; mapping = mapping->next) {
    mapping->environment = nullptr;
    if (!environment->is_main_thread) unmap_now(mapping);
  }
  if (has_stopped) destroy_threads(environment->threads, forget);
  napi_set_instance_data(environment->env, nullptr, nullptr, nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&environment->wake), finish);
}

}  // namespace

Environment* environment_of(napi_env env) {
  void* environment = nullptr;
  napi_get_instance_data(env, &environment);
  return static_cast<Environment*>(environment);
}

int set_up(napi_env env, napi_value on_ready, bool is_main_thread) {
  if (environment_of(env) != nullptr) return UV_EBUSY;  // another copy of the package has it
  Environment* environment = new Environment();
  environment->env = env;
  environment->is_main_thread = is_main_thread;
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  int error = uv_async_init(loop, &environment->wake, ready);
  if (error != 0) {
    delete environment;
    return error;
  }
  environment->wake.data = environment;
  uv_unref(reinterpret_cast<uv_handle_t*>(&environment->wake));
  environment->threads = create_threads(wake, environment);
  napi_value name, resource;
  napi_create_string_utf8(env, "KirunaMmap", NAPI_AUTO_LENGTH, &name);
  napi_create_object(env, &resource);
  napi_async_init(env, resource, name, &environment->context);
  napi_create_reference(env, on_ready, 1, &environment->on_ready);
  napi_add_async_cleanup_hook(env, cleanup, environment, &environment->hook);
  napi_set_instance_data(env, environment, nullptr, nullptr);
  return 0;
}

napi_value adopt(Environment* environment, Mapping* mapping) {
  napi_value handle = nullptr;
  link(environment, mapping);
  mapping->references++;
  if (napi_create_external(environment->env, mapping, release_handle, nullptr, &handle) != napi_ok) release(mapping);
  return handle;
}

// The last one frees it: a window that outlives close, or the handle of a mapping that was forgotten.
void release(Mapping* mapping) {
  if (--mapping->references > 0) return;
  Environment* environment = mapping->environment;
  if (environment != nullptr && mapping->base != nullptr && !mapping->is_unmapped) {
    Request* request = new_request(Kind::kUnmap, 0, kUnmapRank, mapping);
    if (submit(environment->threads, request) == 0) return;
    delete request;
  }
  unlink(mapping);
  unmap_now(mapping);  // once it is unmapped, only an empty reservation
  delete mapping;
}

Request* new_request(Kind kind, uint32_t id, uint8_t rank, Mapping* mapping) {
  Request* request = new Request();
  request->kind = kind;
  request->id = id;
  request->rank = rank;
  request->mapping = mapping;
  if (mapping != nullptr) mapping->references++;
  return request;
}

void forget(Request* request) {
  if (request->mapping != nullptr) release(request->mapping);
  if (request->made != nullptr) {
    unmap_now(request->made);
    delete request->made;
  }
  delete[] request->path;
  delete request;
}
