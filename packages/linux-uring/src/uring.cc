// The native part of the ring: enter the kernel, wake JavaScript, and at the end wait until the kernel writes no more.
// Submissions are filled and completions read in uring.ts.
#include <fcntl.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "ring.h"

namespace {

// In the upper half of user_data: the completion's result is a new fd, to be closed if nobody is left to take it.
constexpr uint64_t kResultIsFd = 1ull << 63;
// Or the fd that it closes, which is still open if the close was cancelled: on overlayfs, FUSE and NFS a thread of the
// kernel makes it.
constexpr uint64_t kClosesFd = 1ull << 62;
constexpr unsigned kClosedFdMask = (1u << 30) - 1;

// What is to be cancelled at the end is looked for again as often as this.
constexpr int64_t kCancelAgainMs = 10;

// At the end of the environment it is closed, once.
void own(Ring* ring, unsigned fd) {
  if (fd < kOwnedBytes * 8)
    ring->owned[fd / 32] |= 1u << fd % 32;
  else
    close(fd);
}

void disown(Ring* ring, unsigned fd) {
  if (fd < kOwnedBytes * 8) ring->owned[fd / 32] &= ~(1u << fd % 32);
}

// Asks for the end of all that is in flight. One pass: it misses what is just on its way from one wait to another, such
// as a read that a thread of the kernel has begun and leaves to a poll.
void cancel_all(Ring* ring) {
  io_uring_sync_cancel_reg cancel = {};
  cancel.fd = -1;
  cancel.flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
  while (io_uring_register(ring->fd, IORING_REGISTER_SYNC_CANCEL, &cancel, 1) == -EINTR) {
  }
}

// After this the kernel writes neither into buffers nor into the ring. Closing the ring alone lets reads land
// afterwards, and so does cancelling alone: a disk read cannot be cancelled. A draining NOP completes only when all
// before it has. Returns false if the disk did not answer in time.
bool drain(Ring* ring, int64_t timeout_ms) {
  const io_uring_params& p = ring->params;
  const uint64_t start_ns = uv_hrtime();
  cancel_all(ring);

  // What the kernel has not taken yet never starts: the NOP goes in its place.
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
        own(ring, cqe.res);  // JavaScript may have been stopped after noting it, with the completion still there
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
  return true;                // no thread of ours looks at it
}

void Ring::closed() {
  let_go();
  napi_delete_reference(env, memory);
}

namespace {

// enter(toSubmit: number): number taken | negative errno. See io_uring_enter(2).
// A worker can be terminated between any two lines of JavaScript, but not in here: so it is here that an fd which the
// kernel is closing ceases to be ours. A moment later it may be somebody else's.
int Enter(Napi::Env env, unsigned to_submit) {
  Ring* ring = Ring::of(env);
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
// Nothing else is asked for, and nothing has to be fresh: so FUSE does not ask its server.
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
