// What JavaScript sees: mappings as handles, requests to the threads by number, and one wake-up for all that is done.
#include "environment.h"
#include "posix.h"
#include "sigbus.h"

#include <node_api.h>
#include <string.h>
#ifdef __APPLE__
#include <dlfcn.h>
#endif

namespace {

void release_window(napi_env, void*, void* mapping) { release(static_cast<Mapping*>(mapping)); }

struct Arguments {
  napi_env env;
  napi_value values[7];
  size_t count = 7;

  Arguments(napi_env env, napi_callback_info info) : env(env) {
    napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  }
  int64_t integer(int i) const {
    int64_t value = 0;
    napi_get_value_int64(env, values[i], &value);
    return value;
  }
  Mapping* mapping(int i) const {
    void* mapping = nullptr;
    napi_get_value_external(env, values[i], &mapping);
    return static_cast<Mapping*>(mapping);
  }
  // A Uint8Array's memory, if it has that much.
  char* memory(int i, size_t bytes) const {
    void* data = nullptr;
    size_t length = 0;
    napi_get_typedarray_info(env, values[i], nullptr, &length, &data, nullptr, nullptr);
    return length >= bytes ? static_cast<char*>(data) : nullptr;
  }
};

napi_value number(napi_env env, int64_t value) {
  napi_value result;
  napi_create_int64(env, value, &result);
  return result;
}

napi_value boolean(napi_env env, bool value) {
  napi_value result;
  napi_get_boolean(env, value, &result);
  return result;
}

// setup(onReady: () => void, isMainThread: boolean): 0 | negative errno
napi_value Setup(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  bool is_main_thread = false;
  napi_get_value_bool(env, arguments.values[1], &is_main_thread);
  return number(env, set_up(env, arguments.values[0], is_main_thread));
}

// ref(): what is under way keeps the process alive.
napi_value Ref(napi_env env, napi_callback_info) {
  uv_ref(reinterpret_cast<uv_handle_t*>(&environment_of(env)->wake));
  return nullptr;
}

// unref(): nothing does.
napi_value Unref(napi_env env, napi_callback_info) {
  uv_unref(reinterpret_cast<uv_handle_t*>(&environment_of(env)->wake));
  return nullptr;
}

napi_value submitted(napi_env env, Request* request) {
  int error = submit(environment_of(env)->threads, request);
  if (error != 0) forget(request);
  return number(env, error);
}

// map(id, rank, path: Uint8Array with its 0, access, offsetBytes, lengthBytes or −1): 0 | negative errno
napi_value Map(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Request* request = new_request(Kind::kMap, arguments.integer(0), arguments.integer(1), nullptr);
  void* path = nullptr;
  size_t length = 0;
  napi_get_typedarray_info(env, arguments.values[2], nullptr, &length, &path, nullptr, nullptr);
  request->path = new char[length];
  memcpy(request->path, path, length);
  request->access = static_cast<Access>(arguments.integer(3));
  request->offset = arguments.integer(4);
  request->bytes = arguments.integer(5);
  return submitted(env, request);
}

// request(kind, id, rank, handle, offsetBytes, lengthBytes, into?: Uint8Array): 0 | negative errno
// For all kinds but map. The caller holds `into` until it is done.
napi_value MakeRequest(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Kind kind = static_cast<Kind>(arguments.integer(0));
  Request* request = new_request(kind, arguments.integer(1), arguments.integer(2), arguments.mapping(3));
  request->offset = arguments.integer(4);
  request->bytes = arguments.integer(5);
  if (kind == Kind::kRead) {
    request->into = arguments.memory(6, request->bytes);
    if (request->into == nullptr) {
      forget(request);
      return number(env, UV_EINVAL);
    }
  }
  return submitted(env, request);
}

// move(id, rank): the caller's priority has changed.
napi_value Move(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  move(environment_of(env)->threads, arguments.integer(0), arguments.integer(1));
  return nullptr;
}

// cancel(id): it is done soon, with ECANCELED unless it was done before.
napi_value Cancel(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  cancel(environment_of(env)->threads, arguments.integer(0));
  return nullptr;
}

// Why there is no mapping: [syscall, the file's kind or size].
napi_value failure(napi_env env, const Request* request) {
  napi_value result, call;
  napi_create_array(env, &result);
  napi_create_string_utf8(env, request->call, NAPI_AUTO_LENGTH, &call);
  napi_set_element(env, result, 0, call);
  napi_set_element(env, result, 1, number(env, request->found));
  return result;
}

// take(): [id, result, value, id, result, value, …] of all that is done. `value` is a handle, or a failure of map's.
napi_value Take(napi_env env, napi_callback_info) {
  Environment* environment = environment_of(env);
  napi_value taken, nothing;
  napi_create_array(env, &taken);
  napi_get_undefined(env, &nothing);
  uint32_t length = 0;
  for (Request* request = take_done(environment->threads); request != nullptr;) {
    napi_value value = nothing;
    if (request->made != nullptr)
      value = adopt(environment, request->made);
    else if (request->call != nullptr)
      value = failure(env, request);
    request->made = nullptr;
    if (request->kind == Kind::kUnmap && request->result != UV_ECANCELED) request->mapping->is_unmapped = true;
    if (request->id != 0) {
      napi_set_element(env, taken, length++, number(env, request->id));
      napi_set_element(env, taken, length++, number(env, request->result));
      napi_set_element(env, taken, length++, value);
    }
    Request* next = request->next;
    forget(request);
    request = next;
  }
  return taken;
}

// readSync(handle, offsetBytes, lengthBytes, into: Uint8Array): 0 | negative errno | torn
napi_value ReadSync(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  size_t bytes = arguments.integer(2);
  char* into = arguments.memory(3, bytes);
  return number(env, into == nullptr ? UV_EINVAL : read_now(arguments.mapping(0), arguments.integer(1), bytes, into));
}

// readCached(handle, offsetBytes, lengthBytes, into: Uint8Array): whether it could, without waiting for the disk
napi_value ReadCached(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  size_t bytes = arguments.integer(2);
  char* into = arguments.memory(3, bytes);
  return boolean(env, into != nullptr && read_cached(arguments.mapping(0), arguments.integer(1), bytes, into) == 0);
}

// write(handle, offsetBytes, bytes: Uint8Array): 0 | negative errno | torn
napi_value Write(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  void* from = nullptr;
  size_t bytes = 0;
  napi_get_typedarray_info(env, arguments.values[2], nullptr, &bytes, &from, nullptr, nullptr);
  return number(env, write_now(arguments.mapping(0), arguments.integer(1), bytes, static_cast<char*>(from)));
}

// torn(handle): boolean
napi_value Torn(napi_env env, napi_callback_info info) {
  return boolean(env, is_torn(Arguments(env, info).mapping(0)));
}

// lengthBytes(handle): number
napi_value LengthBytes(napi_env env, napi_callback_info info) {
  return number(env, Arguments(env, info).mapping(0)->bytes);
}

// leadBytes(handle): number of bytes between the first page's begin and the mapping's
napi_value LeadBytes(napi_env env, napi_callback_info info) {
  return number(env, Arguments(env, info).mapping(0)->lead_bytes);
}

// window(handle, pageOffsetBytes, lengthBytes): ArrayBuffer, or undefined where the runtime allows none.
// Electron: V8's memory cage. It holds the mapping until it is detached or collected.
napi_value Window(napi_env env, napi_callback_info info) {
#ifdef NODE_API_NO_EXTERNAL_BUFFERS_ALLOWED
  (void)env, (void)info, (void)release_window;
  return nullptr;
#else
  Arguments arguments(env, info);
  Mapping* mapping = arguments.mapping(0);
  install_sigbus_handler();  // process.on('SIGBUS') has replaced it, perhaps
  napi_value window = nullptr;
  mapping->references++;
  if (napi_create_external_arraybuffer(env, mapping->base + arguments.integer(1), arguments.integer(2), release_window,
                                       mapping, &window) != napi_ok)
    mapping->references--;
  return window;
#endif
}

// detach(window: ArrayBuffer): its views have length 0 from here on.
napi_value Detach(napi_env env, napi_callback_info info) {
  napi_detach_arraybuffer(env, Arguments(env, info).values[0]);
  return nullptr;
}

}  // namespace

NAPI_MODULE_INIT() {
#ifdef __APPLE__  // elsewhere the linker says so
  // Node.js unloads an addon with its last worker. The signal handler has to stay.
  Dl_info self;
  if (dladdr(reinterpret_cast<void*>(install_sigbus_handler), &self) != 0)
    dlopen(self.dli_fname, RTLD_NOW | RTLD_NODELETE);
#endif
  const struct {
    const char* name;
    napi_callback function;
  } functions[] = {{"setup", Setup},
                   {"ref", Ref},
                   {"unref", Unref},
                   {"map", Map},
                   {"request", MakeRequest},
                   {"move", Move},
                   {"cancel", Cancel},
                   {"take", Take},
                   {"readSync", ReadSync},
                   {"readCached", ReadCached},
                   {"write", Write},
                   {"torn", Torn},
                   {"lengthBytes", LengthBytes},
                   {"leadBytes", LeadBytes},
                   {"window", Window},
                   {"detach", Detach}};
  for (const auto& [name, function] : functions) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
    napi_set_named_property(env, exports, name, value);
  }
  return exports;
}
