// The ring, as setup.cc makes it and uring.cc runs it.
#pragma once
#include <errno.h>
#include <linux/io_uring.h>
#include <node_api.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uv.h>

// 4 KiB each: kernels before 6.8 take no more than a page from the user.
constexpr unsigned kSqEntries = 64;
constexpr unsigned kCqEntries = 128;

// A bit for each fd.
constexpr unsigned kOwnedBytes = 8 * 1024;

// In user_data: the completion that comes last.
constexpr uint64_t kDrained = ~0ull;

struct Ring {  // one an environment: a worker loads the addon again
  napi_env env;
  napi_ref memory;  // keeps the pages from the garbage collector
  napi_ref on_ready;
  napi_async_context async;
  napi_async_cleanup_hook_handle hook;
  uv_poll_t poll;
  io_uring_params params;
  char* pages;  // JavaScript's
  io_uring_sqe* submissions;
  char* rings;
  uint32_t* owned;  // which fds close with the environment
  int fd;
  bool is_mapped;  // submissions and rings are the kernel's
  bool is_main_thread;
};

inline int io_uring_setup(unsigned entries, io_uring_params* params) {
  int result = static_cast<int>(syscall(__NR_io_uring_setup, entries, params));
  return result < 0 ? -errno : result;
}

inline int io_uring_enter(int fd, unsigned to_submit, unsigned min_complete, unsigned flags, const void* arg,
                          size_t size) {
  int result = static_cast<int>(syscall(__NR_io_uring_enter, fd, to_submit, min_complete, flags, arg, size));
  return result < 0 ? -errno : result;
}

inline int io_uring_register(int fd, unsigned opcode, void* arg, unsigned count) {
  int result = static_cast<int>(syscall(__NR_io_uring_register, fd, opcode, arg, count));
  return result < 0 ? -errno : result;
}

inline unsigned& at(Ring* ring, unsigned offset) { return *reinterpret_cast<unsigned*>(ring->rings + offset); }

inline Ring* ring_of(napi_env env) {
  void* ring = nullptr;
  napi_get_instance_data(env, &ring);
  return static_cast<Ring*>(ring);
}

inline napi_value number(napi_env env, int64_t value) {
  napi_value result;
  napi_create_int64(env, value, &result);
  return result;
}

// setup.cc
napi_value Setup(napi_env env, napi_callback_info info);
napi_value MemoryBytes(napi_env env);
void let_go(Ring* ring);

// sockets.cc
napi_value GetSockName(napi_env env, napi_callback_info info);
napi_value Bind(napi_env env, napi_callback_info info);
napi_value Listen(napi_env env, napi_callback_info info);
napi_value SetSockOpt(napi_env env, napi_callback_info info);

// uring.cc
void ready(uv_poll_t* poll, int status, int events);
void cleanup(napi_async_cleanup_hook_handle hook, void* ring);
