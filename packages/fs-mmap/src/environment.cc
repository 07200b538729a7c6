// The data of one environment, from the first call to its end, which can come at any moment, with anything under way.
#include "environment.h"

#include "system.h"

// Unmapping is quick, so it is made at user-blocking.
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

}  // namespace

int Environment::start() {
  threads = create_threads([](void* own) { uv_async_send(&static_cast<Environment*>(own)->wake); }, this);
  return 0;
}

// The threads may be reading into memory that is freed with the environment, and so may the rings that have stopped by
// now.
bool Environment::stop() {
  bool has_stopped = stop_threads(threads, is_main_thread ? kiruna::kExitTimeoutMs : -1);
  // No JavaScript runs any more. Its windows and handles are finalized later, if at all.
  for (Mapping* mapping = mappings; mapping != nullptr; mapping = mapping->next) {
    mapping->environment = nullptr;
    // A ring that could not be drained may still read into a view.
    if (!is_main_thread && others_have_drained) unmap_now(mapping);
  }
  if (has_stopped) destroy_threads(threads, forget);
  return has_stopped;
}

napi_value adopt(Environment* environment, Mapping* mapping) {
  napi_value handle = nullptr;
  link(environment, mapping);
  mapping->references++;
  if (napi_create_external(environment->env, mapping, release_handle, nullptr, &handle) != napi_ok) release(mapping);
  return handle;
}

// The last reference frees the mapping: a window that outlives close, or the handle of a forgotten mapping.
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
