// Sets the ring up: in JavaScript's memory, or before Linux 6.5 in the kernel's, which JavaScript sees too.
#include <sys/mman.h>

#include "ring.h"

namespace {

// Linux 6.5; linux/io_uring.h of Debian 12 does not name it yet.
constexpr unsigned kSetupNoMmap = 1u << 14;
constexpr unsigned kSetupFlags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL;

// The memory that JavaScript gives us, from its first page boundary on. Each part begins on its own page; no page of
// Linux is larger than this, and unused ones are never touched. If the ring is mapped, the kernel's memory takes the
// place of the first two parts.
//
//     0 ──── submissions ──── 64 K ──── heads, tails, completions ──── 128 K ──── a bit for each fd we own ──── 136 K
constexpr unsigned kPage = 64 * 1024;
constexpr unsigned kRingsAt = kPage;
constexpr unsigned kOwnedAt = 2 * kPage;
constexpr unsigned kSubmissionsBytes = kSqEntries * sizeof(io_uring_sqe);

size_t rings_bytes(const Ring* ring) { return ring->params.sq_off.array + kSqEntries * sizeof(unsigned); }

struct Failure {
  int error;  // negative, 0 for none
  const char* call;
};

// In the memory that JavaScript gave us, from Linux 6.5 on.
Failure set_up_in_pages(Ring* ring) {
  io_uring_params& p = ring->params;
  p.flags = kSetupFlags | kSetupNoMmap;
  p.sq_off.resv2 = reinterpret_cast<uintptr_t>(ring->pages);             // user_addr: the submissions
  p.cq_off.resv2 = reinterpret_cast<uintptr_t>(ring->pages + kRingsAt);  // user_addr: the rings
  ring->fd = io_uring_setup(kSqEntries, &p);
  ring->submissions = reinterpret_cast<io_uring_sqe*>(ring->pages);
  ring->rings = ring->pages + kRingsAt;
  return {ring->fd < 0 ? ring->fd : 0, "io_uring_setup"};
}

// In the kernel's memory. It cannot be mapped into our pages (MAP_FIXED: EINVAL), so JavaScript sees it where it is.
Failure set_up_mapped(Ring* ring) {
  ring->params.flags = kSetupFlags;
  ring->fd = io_uring_setup(kSqEntries, &ring->params);
  if (ring->fd < 0) return {ring->fd, "io_uring_setup"};
  constexpr int kAccess = PROT_READ | PROT_WRITE, kFlags = MAP_SHARED | MAP_POPULATE;
  void* submissions = mmap(nullptr, kSubmissionsBytes, kAccess, kFlags, ring->fd, IORING_OFF_SQES);
  if (submissions == MAP_FAILED) return {-errno, "mmap"};
  ring->submissions = static_cast<io_uring_sqe*>(submissions);
  void* rings = mmap(nullptr, rings_bytes(ring), kAccess, kFlags, ring->fd, IORING_OFF_SQ_RING);
  if (rings == MAP_FAILED) return {-errno, "mmap"};
  ring->rings = static_cast<char*>(rings);
  return {0, nullptr};
}

// Gives JavaScript the parts: in the memory that it gave us, or each in an ArrayBuffer of its own.
Failure show(Ring* ring, Napi::ArrayBuffer memory, Napi::Object result) {
  Napi::Env env = result.Env();
  const struct {
    const char* name;
    napi_typedarray_type type;
    void* data;
    size_t bytes;
  } parts[] = {{"submissions", napi_uint32_array, ring->submissions, kSubmissionsBytes},
               {"rings", napi_int32_array, ring->rings, rings_bytes(ring)},
               {"owned", napi_uint32_array, ring->owned, kOwnedBytes}};
  for (const auto& [name, type, data, bytes] : parts) {
    napi_value buffer = memory, view;
    size_t offset = static_cast<char*>(data) - static_cast<char*>(memory.Data());
    if (ring->is_mapped && data != ring->owned) {
#ifdef NODE_API_NO_EXTERNAL_BUFFERS_ALLOWED
      napi_status status = napi_no_external_buffers_allowed;
#else
      // Unmapped when the last JavaScript has run, not by the garbage collector.
      auto keep = [](napi_env, void*, void*) {};
      napi_status status = napi_create_external_arraybuffer(env, data, bytes, keep, nullptr, &buffer);
#endif
      if (status != napi_ok) return {-ENOTSUP, "napi_create_external_arraybuffer"};
      offset = 0;
    }
    napi_create_typedarray(env, type, bytes / 4, buffer, offset, &view);
    result.Set(name, view);
  }
  return {0, nullptr};
}

// Tries the other calls that are needed: a seccomp filter may forbid them, or the kernel may be too old.
Failure check(Ring* ring) {
  io_uring_sync_cancel_reg cancel = {};
  cancel.addr = kDrained;  // there is none
  cancel.fd = -1;
  cancel.timeout = {-1, -1};
  int error = io_uring_register(ring->fd, IORING_REGISTER_SYNC_CANCEL, &cancel, 1);
  if (error < 0 && error != -ENOENT) return {error, "io_uring_register"};

  constexpr unsigned kMost = 256;
  alignas(io_uring_probe) char memory[sizeof(io_uring_probe) + kMost * sizeof(io_uring_probe_op)] = {};
  io_uring_probe* probe = reinterpret_cast<io_uring_probe*>(memory);
  error = io_uring_register(ring->fd, IORING_REGISTER_PROBE, probe, kMost);
  if (error < 0) return {error, "io_uring_register"};
  const struct {
    unsigned opcode;
    const char* name;
  } required[] = {{IORING_OP_NOP, "IORING_OP_NOP"},       {IORING_OP_ASYNC_CANCEL, "IORING_OP_ASYNC_CANCEL"},
                  {IORING_OP_OPENAT, "IORING_OP_OPENAT"}, {IORING_OP_CLOSE, "IORING_OP_CLOSE"},
                  {IORING_OP_STATX, "IORING_OP_STATX"},   {IORING_OP_READ, "IORING_OP_READ"}};
  for (const auto& [opcode, name] : required)
    if (opcode >= probe->ops_len || !(probe->ops[opcode].flags & IO_URING_OP_SUPPORTED)) return {-ENOSYS, name};
  return {0, nullptr};
}

}  // namespace

const unsigned kMemoryBytes =
    kOwnedAt + kOwnedBytes + kPage;  // of which less than a page lies before the first boundary

void Ring::let_go() {
  close(fd);
  if (is_mapped) {  // JavaScript does not use it any more
    if (submissions != nullptr) munmap(submissions, kSubmissionsBytes);
    if (rings != nullptr) munmap(rings, rings_bytes(this));
  } else {  // The kernel releases the pages some time after close: leave it pages that nothing else will use.
    madvise(pages, kOwnedAt, MADV_DONTNEED);
  }
}

// setup(memory: ArrayBuffer, onReady: () => void, isMainThread: boolean, mapped: boolean): NativeRing | NativeFailure
// See io_uring_setup(2).
Napi::Object Ring::Setup(Napi::Env env, Napi::ArrayBuffer memory, Napi::Function on_ready, bool is_main_thread,
                         bool is_mapped) {
  Napi::Object result = Napi::Object::New(env);
  if (!memory.IsArrayBuffer() || memory.ByteLength() < kMemoryBytes || !on_ready.IsFunction()) {
    result.Set("errno", -EINVAL);
    result.Set("syscall", "setup");
    return result;
  }
  Ring* ring = create();
  char* data = static_cast<char*>(memory.Data());
  ring->fd = -1;
  ring->pages = data + (-reinterpret_cast<uintptr_t>(data) & (kPage - 1));
  ring->owned = reinterpret_cast<uint32_t*>(ring->pages + kOwnedAt);
  ring->is_mapped = is_mapped;
  Failure failure = {-EBUSY, "setup"};  // another copy of the package has it
  if (of(env) == nullptr) failure = is_mapped ? set_up_mapped(ring) : set_up_in_pages(ring);
  if (failure.error == 0) failure = check(ring);
  if (failure.error == 0) failure = show(ring, memory, result);
  if (failure.error == 0) failure = {uv_poll_init(loop_of(env), &ring->wake, ring->fd), "uv_poll_init"};
  if (failure.error != 0) {
    ring->let_go();
    free(ring);
    Napi::Object error = Napi::Object::New(env);
    error.Set("errno", failure.error);
    error.Set("syscall", failure.call);
    return error;
  }
  napi_create_reference(env, memory, 1, &ring->memory);
  ring->begin(env, on_ready, is_main_thread);
  uv_poll_start(&ring->wake, UV_READABLE,
                [](uv_poll_t* wake, int, int) { static_cast<Ring*>(wake->data)->call_back(); });

  const io_uring_params& p = ring->params;
  result.Set("sqHead", p.sq_off.head);
  result.Set("sqTail", p.sq_off.tail);
  result.Set("sqFlags", p.sq_off.flags);
  result.Set("sqArray", p.sq_off.array);
  result.Set("cqHead", p.cq_off.head);
  result.Set("cqTail", p.cq_off.tail);
  result.Set("cqes", p.cq_off.cqes);
  return result;
}
