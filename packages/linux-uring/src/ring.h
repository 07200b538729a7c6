// The ring: setup.cc makes it, uring.cc runs it.
#pragma once
#include <errno.h>
#include <kiruna/environment.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

// 4 KiB each: kernels before 6.8 take no more than a page from the user.
constexpr unsigned kSqEntries = 64;
constexpr unsigned kCqEntries = 128;

// A bit for each fd.
constexpr unsigned kOwnedBytes = 8 * 1024;

// The user_data of the last completion.
constexpr uint64_t kDrained = ~0ull;

// A poll of the ring's fd wakes JavaScript.
struct Ring : kiruna::InstanceData<Ring, uv_poll_t> {
  static constexpr const char* kName = "KirunaRing";
  napi_ref memory;  // keeps the pages from the garbage collector
  io_uring_params params;
  char* pages;  // JavaScript's
  io_uring_sqe* submissions;
  char* rings;
  uint32_t* owned;  // which fds close with the environment
  int fd;
  bool is_mapped;  // submissions and rings are the kernel's

  unsigned& at(unsigned offset) { return *reinterpret_cast<unsigned*>(rings + offset); }

  // setup.cc
  static Napi::Object Setup(Napi::Env env, Napi::ArrayBuffer memory, Napi::Function on_ready, bool is_main_thread,
                            bool is_mapped);
  void let_go();

  // uring.cc
  bool stop();
  void closed();
};

// How much memory setup needs.
extern const unsigned kMemoryBytes;

inline int result_of(int64_t returned) { return static_cast<int>(returned < 0 ? -errno : returned); }

inline int io_uring_setup(unsigned entries, io_uring_params* params) {
  return result_of(syscall(__NR_io_uring_setup, entries, params));
}

inline int io_uring_enter(int fd, unsigned to_submit, unsigned min_complete, unsigned flags, const void* arg,
                          size_t size) {
  return result_of(syscall(__NR_io_uring_enter, fd, to_submit, min_complete, flags, arg, size));
}

inline int io_uring_register(int fd, unsigned opcode, void* arg, unsigned count) {
  return result_of(syscall(__NR_io_uring_register, fd, opcode, arg, count));
}

// sockets.cc
int GetSockName(Napi::Env env, int fd, kiruna::Bytes name, bool of_peer);
int Bind(Napi::Env env, int fd, kiruna::Bytes name);
int Listen(Napi::Env env, int fd, int backlog);
int SetSockOpt(Napi::Env env, int fd, int level, int name, kiruna::Bytes value);

// xattr.cc
int CopyAttributes(Napi::Env env, int from, int to);
