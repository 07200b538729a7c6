// Calls of sockets that wait for no peer, made at once as the ring makes them: it has setsockopt from Linux 6.7 on, bind
// and listen from 6.11, getsockname from 6.19.
#include <sys/socket.h>

#include "ring.h"

namespace {

int integer(napi_env env, napi_value value) {
  int32_t result = -1;
  napi_get_value_int32(env, value, &result);
  return result;
}

struct Bytes {
  void* data = nullptr;
  size_t length = 0;
};

Bytes bytes(napi_env env, napi_value view) {
  Bytes result;
  napi_get_typedarray_info(env, view, nullptr, &result.length, &result.data, nullptr, nullptr);
  return result;
}

}  // namespace

// getsockname(fd: number, sockaddr: Uint8Array, ofPeer: boolean): number length | negative errno.
// See getsockname(2), getpeername(2).
napi_value GetSockName(napi_env env, napi_callback_info info) {
  napi_value args[3];
  size_t argc = 3;
  bool of_peer = false;
  napi_get_cb_info(env, info, &argc, args, nullptr, nullptr);
  int fd = integer(env, args[0]);
  Bytes sockaddr_bytes = bytes(env, args[1]);
  napi_get_value_bool(env, args[2], &of_peer);
  sockaddr* name = static_cast<sockaddr*>(sockaddr_bytes.data);
  socklen_t length = static_cast<socklen_t>(sockaddr_bytes.length);
  int error = of_peer ? getpeername(fd, name, &length) : getsockname(fd, name, &length);
  return number(env, error < 0 ? -errno : static_cast<int64_t>(length));
}

// bind(fd: number, sockaddr: Uint8Array): number 0 | negative errno. See bind(2).
napi_value Bind(napi_env env, napi_callback_info info) {
  napi_value args[2];
  size_t argc = 2;
  napi_get_cb_info(env, info, &argc, args, nullptr, nullptr);
  Bytes name = bytes(env, args[1]);
  int error = bind(integer(env, args[0]), static_cast<const sockaddr*>(name.data), static_cast<socklen_t>(name.length));
  return number(env, error < 0 ? -errno : 0);
}

// listen(fd: number, backlog: number): number 0 | negative errno. See listen(2).
napi_value Listen(napi_env env, napi_callback_info info) {
  napi_value args[2];
  size_t argc = 2;
  napi_get_cb_info(env, info, &argc, args, nullptr, nullptr);
  return number(env, listen(integer(env, args[0]), integer(env, args[1])) < 0 ? -errno : 0);
}

// setsockopt(fd: number, level: number, name: number, value: Uint8Array): number 0 | negative errno. See setsockopt(2).
napi_value SetSockOpt(napi_env env, napi_callback_info info) {
  napi_value args[4];
  size_t argc = 4;
  napi_get_cb_info(env, info, &argc, args, nullptr, nullptr);
  Bytes value = bytes(env, args[3]);
  int error = setsockopt(integer(env, args[0]), integer(env, args[1]), integer(env, args[2]), value.data,
                         static_cast<socklen_t>(value.length));
  return number(env, error < 0 ? -errno : 0);
}
