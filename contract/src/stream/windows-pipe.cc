// For tests on Windows: a pipe whose ends are descriptors of node:fs.
#include <fcntl.h>
#include <io.h>
#include <node_api.h>
#include <uv.h>

// pipe(): [readFd, writeFd]
static napi_value Pipe(napi_env env, napi_callback_info) {
  HANDLE ends[2];
  if (!CreatePipe(&ends[0], &ends[1], nullptr, 64 * 1024)) {
    napi_throw_error(env, nullptr, "CreatePipe failed");
    return nullptr;
  }
  napi_value fds;
  napi_create_array_with_length(env, 2, &fds);
  for (uint32_t i = 0; i < 2; i++) {
    napi_value fd;
    napi_create_int32(env, uv_open_osfhandle(ends[i]), &fd);
    napi_set_element(env, fds, i, fd);
  }
  return fds;
}

NAPI_MODULE_INIT() {
  napi_value pipe;
  napi_create_function(env, "pipe", NAPI_AUTO_LENGTH, Pipe, nullptr, &pipe);
  napi_set_named_property(env, exports, "pipe", pipe);
  return exports;
}
