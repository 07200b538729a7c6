// The native part of the ring: it enters the kernel, wakes JavaScript, and at the end waits until the kernel writes no
// more. ring.ts fills submissions and reads completions.
#include <fcntl.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "ring.h"

namespace {

// In the upper half of user_data: the result is a new fd, which is closed if JavaScript has ended by then.
constexpr uint64_t kResultIsFd = 1ull << 63;
// Or it is a close, with its fd. If the close was cancelled, the fd is still open: on overlayfs, FUSE and NFS a kernel
// thread makes the call.
constexpr uint64_t kClosesFd = 1ull << 62;
constexpr unsigned kClosedFdMask = (1u << 30) - 1;

// How often everything in flight is cancelled again at the end.
constexpr int64_t kCancelAgainMs = 10;

// The fd is closed at the end of the environment, once.
void own(Ring* ring, unsigned fd) {
  if (fd < kOwnedBytes * 8)
    ring->owned[fd / 32] |= 1u << fd % 32;
  else
    close(fd);
}

void disown(Ring* ring, unsigned fd) {
  if (fd < kOwnedBytes * 8) ring->owned[fd / 32] &= ~(1u << fd % 32);
}

// Cancels everything in flight, in one pass: it misses what is passing from one wait to another, such as a read that a
// kernel thread has begun and leaves to a poll.
void cancel_all(Ring* ring) {
  io_uring_sync_cancel_reg cancel = {};
  cancel.fd = -1;
  cancel.flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
  while (io_uring_register(ring->fd, IORING_REGISTER_SYNC_CANCEL, &cancel, 1) == -EINTR) {
  }
}

// After this the kernel writes neither to buffers nor to the ring. It is not enough to close the ring or to cancel,
// since a disk read cannot be cancelled and would still land. A draining NOP completes only after everything before it.
// Returns false if the disk did not answer in time.
bool drain(Ring* ring, int64_t timeout_ms) {
  const io_uring_params& p = ring->params;
  const uint64_t start_ns = uv_hrtime();
  cancel_all(ring);

  // Submissions that the kernel has not taken yet never start: the NOP takes the place of the first.
  unsigned head = __atomic_load_n(&ring->at(p.sq_off.head), __ATOMIC_ACQUIRE);
  unsigned slot = head & (kSqEntries - 1);
  io_uring_sqe* sqe = ring->submissions + slot;
  memset(sqe, 0, sizeof *sqe);
  sqe->opcode = IORING_OP_NOP;
  sqe->flags = IOSQE_IO_DRAIN;
  sqe->user_data = kDrained;
  ring->at(p.sq_off.array + slot * sizeof(unsigned)) = slot;
  __atomic_store_n(&ring->at(p.sq_off.tail), head + 1, __ATOMIC_RELEASE);

  __kernel_timespec pause = {0, kCancelAgainMs * 1000000};
  io_uring_getevents_arg arg = {};
  arg.ts = reinterpret_cast<uint64_t>(&pause);
  const io_uring_cqe* cqes = reinterpret_cast<io_uring_cqe*>(ring->rings + p.cq_off.cqes);
  for (unsigned to_submit = 1;;) {
    int result =
        io_uring_enter(ring->fd, to_submit, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg, sizeof arg);
    if (result == 1) to_submit = 0;
    bool drained = false;
    unsigned cq_head = ring->at(p.cq_off.head);
    unsigned cq_tail = __atomic_load_n(&ring->at(p.cq_off.tail), __ATOMIC_ACQUIRE);
    for (; cq_head != cq_tail; cq_head++) {
      const io_uring_cqe& cqe = cqes[cq_head & (kCqEntries - 1)];
      if (cqe.user_data == kDrained)
        drained = true;
      else if (cqe.user_data & kResultIsFd && cqe.res >= 0)
        own(ring, cqe.res);  // also if JavaScript has noted it, but was stopped before it took the completion
      else if (cqe.user_data & kClosesFd && cqe.res == -ECANCELED)
        own(ring, cqe.user_data >> 32 & kClosedFdMask);
    }
    __atomic_store_n(&ring->at(p.cq_off.head), cq_head, __ATOMIC_RELEASE);
    if (drained) return true;
    // EBUSY: the overflown completions just reaped were in the way. EAGAIN: the kernel is short of memory, try again.
    if (result < 0 && result != -ETIME && result != -EINTR && result != -EBUSY && result != -EAGAIN) return false;
    if (timeout_ms >= 0 && uv_hrtime() - start_ns >= static_cast<uint64_t>(timeout_ms) * 1000000) return false;
    if (result == -ETIME) cancel_all(ring);
  }
}

void close_owned(Ring* ring) {
  for (unsigned word = 0; word < kOwnedBytes / 4; word++)
    for (uint32_t bits = ring->owned[word]; bits != 0; bits &= bits - 1) close(word * 32 + __builtin_ctz(bits));
}

}  // namespace

bool Ring::stop() {
  bool has_drained = drain(this, is_main_thread ? kiruna::kExitTimeoutMs : -1);
  if (!is_main_thread) close_owned(this);
  uv_poll_stop(&wake);
  if (!has_drained) fd = -1;  // left open: the process ends, and the kernel closes it
  return true;                // none of our threads uses it
}

void Ring::closed() {
  let_go();
  napi_delete_reference(env, memory);
}

namespace {

// enter(toSubmit: number): number taken | negative errno. See io_uring_enter(2).
// A worker can be terminated between any two lines of JavaScript, but not in here. So an fd that the kernel is to close
// is disowned here: a moment later its number may be another file's.
int Enter(Napi::Env env, unsigned to_submit) {
  Ring* ring = Ring::of(env);
  if (ring == nullptr || to_submit > kSqEntries) return -EINVAL;
  int taken = io_uring_enter(ring->fd, to_submit, 0, IORING_ENTER_GETEVENTS, nullptr, 0);
  for (int i = 0; i < taken; i++)
    if (ring->submissions[i].opcode == IORING_OP_CLOSE) disown(ring, ring->submissions[i].fd);
  return taken;
}

// address(memory: Uint8Array): number
double Address(Napi::Env, kiruna::Bytes memory) {
  return static_cast<double>(reinterpret_cast<uintptr_t>(memory.data));
}

// device(fd: number): number st_dev | negative errno. See statx(2).
// It asks for nothing else, and not for fresh data, so that FUSE does not ask its server.
double Device(Napi::Env, int fd) {
  struct statx status;
  if (syscall(__NR_statx, fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &status) < 0) return -errno;
  return static_cast<double>(makedev(status.stx_dev_major, status.stx_dev_minor));
}

Napi::Object Init(Napi::Env, Napi::Object exports) {
  using kiruna::method;
  kiruna::add_methods(exports, {{"setup", method<Ring::Setup>},
                                {"enter", method<Enter>},
                                {"address", method<Address>},
                                {"device", method<Device>},
                                {"copyAttributes", method<CopyAttributes>},
                                {"ref", method<Ring::Ref>},
                                {"unref", method<Ring::Unref>},
                                {"getsockname", method<GetSockName>},
                                {"bind", method<Bind>},
                                {"listen", method<Listen>},
                                {"setsockopt", method<SetSockOpt>}});
  exports.Set("memoryBytes", kMemoryBytes);
  return exports;
}

}  // namespace

NODE_API_MODULE(uring, Init)
