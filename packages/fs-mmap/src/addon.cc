// The functions for JavaScript: mappings are handles, requests to the threads have numbers, and one wake-up is for all
// that are done.
#include "environment.h"
#include "fault.h"
#include "system.h"

#include <string.h>

using kiruna::Bytes;

template <> Mapping* kiruna::argument(Napi::Value handle) { return handle.As<Napi::External<Mapping>>().Data(); }

namespace {

void release_window(napi_env, void*, void* mapping) { release(static_cast<Mapping*>(mapping)); }

int submitted(napi_env env, Request* request) {
  int error = submit(Environment::of(env)->threads, request);
  if (error != 0) forget(request);
  return error;
}

// map(id, rank, path: Uint8Array with its 0, access, offsetBytes, lengthBytes or −1): 0 | negative errno
int Map(Napi::Env env, uint32_t id, uint8_t rank, Bytes path, Access access, int64_t offset, int64_t bytes) {
  Request* request = new_request(Kind::kMap, id, rank, nullptr);
  request->path = new char[path.length];
  memcpy(request->path, path.data, path.length);
  request->access = access;
  request->offset = offset;
  request->bytes = bytes;
  return submitted(env, request);
}

// The memory for a copy; null if it is too short.
char* room(Bytes into, int64_t bytes) { return into.length >= static_cast<size_t>(bytes) ? into.data : nullptr; }

// request(kind, id, rank, handle, offsetBytes, lengthBytes, into?: Uint8Array): 0 | negative errno
// For all kinds except map. The caller holds `into` until the request is done.
int MakeRequest(Napi::Env env, Kind kind, uint32_t id, uint8_t rank, Mapping* mapping, int64_t offset, int64_t bytes,
                Bytes into) {
  if (kind == Kind::kRead && room(into, bytes) == nullptr) return UV_EINVAL;
  Request* request = new_request(kind, id, rank, mapping);
  request->offset = offset;
  request->bytes = bytes;
  request->into = into.data;
  return submitted(env, request);
}

// move(id, rank): the caller's priority has changed.
void Move(Napi::Env env, uint32_t id, uint8_t rank) { move(Environment::of(env)->threads, id, rank); }

// cancel(id): the request is done soon, with ECANCELED unless it was done before.
void Cancel(Napi::Env env, uint32_t id) { cancel(Environment::of(env)->threads, id); }

// A request's value: a handle, or [syscall, the file's mode or size] if there is no mapping.
Napi::Value value_of(Napi::Env env, Request* request) {
  if (request->made != nullptr) return {env, adopt(Environment::of(env), request->made)};
  if (request->call == nullptr) return env.Undefined();
  Napi::Array failure = Napi::Array::New(env, 2);
  failure.Set(0u, request->call);
  failure.Set(1u, request->found);
  return failure;
}

// take(): [id, result, value, id, result, value, …] of all that is done.
Napi::Array Take(Napi::Env env) {
  Napi::Array taken = Napi::Array::New(env);
  uint32_t length = 0;
  for (Request* request = take_done(Environment::of(env)->threads); request != nullptr;) {
    Napi::Value value = value_of(env, request);
    request->made = nullptr;
    if (request->kind == Kind::kUnmap && request->result != UV_ECANCELED) request->mapping->is_unmapped = true;
    if (request->id != 0) {
      taken.Set(length++, request->id);
      taken.Set(length++, request->result);
      taken.Set(length++, value);
    }
    Request* next = request->next;
    forget(request);
    request = next;
  }
  return taken;
}

// readSync(handle, offsetBytes, lengthBytes, into: Uint8Array): 0 | negative errno | torn
int ReadSync(Napi::Env, Mapping* mapping, int64_t offset, int64_t bytes, Bytes into) {
  return room(into, bytes) == nullptr ? UV_EINVAL : read_now(mapping, offset, bytes, into.data);
}

// readCached(handle, offsetBytes, lengthBytes, into: Uint8Array): whether it could be read without waiting for the disk
bool ReadCached(Napi::Env, Mapping* mapping, int64_t offset, int64_t bytes, Bytes into) {
  return room(into, bytes) != nullptr && read_cached(mapping, offset, bytes, into.data) == 0;
}

// write(handle, offsetBytes, bytes: Uint8Array): 0 | negative errno | torn
int Write(Napi::Env, Mapping* mapping, int64_t offset, Bytes bytes) {
  return write_now(mapping, offset, bytes.length, bytes.data);
}

// torn(handle): boolean
bool Torn(Napi::Env, Mapping* mapping) { return is_torn(mapping); }

// lengthBytes(handle): number
size_t LengthBytes(Napi::Env, Mapping* mapping) { return mapping->bytes; }

// leadBytes(handle): number of bytes from the start of the first page to the start of the mapping
size_t LeadBytes(Napi::Env, Mapping* mapping) { return mapping->lead_bytes; }

// window(handle, pageOffsetBytes, lengthBytes): ArrayBuffer, or undefined if the runtime allows none (Electron: V8's
// memory cage). It holds the mapping until it is detached or collected.
napi_value Window([[maybe_unused]] Napi::Env env, Mapping* mapping, [[maybe_unused]] int64_t offset,
                  [[maybe_unused]] size_t bytes) {
  napi_value window = nullptr;
  install_fault_handler();  // process.on('SIGBUS') has replaced it, perhaps
  mapping->references++;
#ifdef NODE_API_NO_EXTERNAL_BUFFERS_ALLOWED
  napi_status status = napi_no_external_buffers_allowed;
  (void)release_window;
#else
  napi_status status =
      napi_create_external_arraybuffer(env, mapping->base + offset, bytes, release_window, mapping, &window);
#endif
  if (status != napi_ok) mapping->references--;
  return window;
}

// detach(window: ArrayBuffer): its views have length 0 from now on.
void InstallFaultHandler(Napi::Env) { install_fault_handler(); }

void Detach(Napi::Env, Napi::ArrayBuffer window) { window.Detach(); }

Napi::Object Init(Napi::Env, Napi::Object exports) {
#ifdef __APPLE__  // elsewhere the linker says so
  kiruna::keep_loaded();
#endif
  using kiruna::method;
  kiruna::add_methods(exports, {{"setup", method<Environment::Setup>},
                                {"ref", method<Environment::Ref>},
                                {"unref", method<Environment::Unref>},
                                {"map", method<Map>},
                                {"request", method<MakeRequest>},
                                {"move", method<Move>},
                                {"cancel", method<Cancel>},
                                {"take", method<Take>},
                                {"installFaultHandler", method<InstallFaultHandler>},
                                {"readSync", method<ReadSync>},
                                {"readCached", method<ReadCached>},
                                {"write", method<Write>},
                                {"torn", method<Torn>},
                                {"lengthBytes", method<LengthBytes>},
                                {"leadBytes", method<LeadBytes>},
                                {"window", method<Window>},
                                {"detach", method<Detach>}});
  return exports;
}

}  // namespace

NODE_API_MODULE(mmap, Init)
