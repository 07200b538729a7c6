// The native part of the ring: set it up in memory that JavaScript owns, enter the kernel, wake JavaScript, and at the
// end wait until the kernel writes no more. Submissions are filled and completions read in uring.ts.
#include <errno.h>
#include <linux/io_uring.h>
#include <node_api.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uv.h>

namespace {

// Linux 6.5; linux/io_uring.h of Debian 12 does not name it yet.
constexpr unsigned kSetupNoMmap = 1u << 14;
constexpr unsigned kSetupFlags =
    kSetupNoMmap | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL;

// One page each: kernels before 6.8 take no more than a page from the user.
constexpr unsigned kPage = 4096;
constexpr unsigned kSqEntries = 64;
constexpr unsigned kCqEntries = 128;

// The memory that JavaScript hands over, from its first page boundary on:
//
//     0 ──── submissions ──── 4096 ──── heads, tails, completions ──── 8192 ──── a bit for each fd we own ──── 16384
constexpr unsigned kRingsAt = kPage;
constexpr unsigned kOwnedAt = 2 * kPage;
constexpr unsigned kOwnedBytes = 2 * kPage;
constexpr unsigned kMemoryBytes = kOwnedAt + kOwnedBytes;

// In the upper half of user_data: the completion's result is a new fd, to be closed if nobody is left to take it.
constexpr uint64_t kResultIsFd = 1ull << 63;
// Or the fd that it closes, which is still open if the close was cancelled: on overlayfs, FUSE and NFS a thread of the
// kernel makes it.
constexpr uint64_t kClosesFd = 1ull << 62;
constexpr unsigned kClosedFdMask = (1u << 30) - 1;
constexpr uint64_t kDrained = ~0ull;

// A process that ends does not wait longer than this for a disk that does not answer.
constexpr int64_t kExitTimeoutMs = 1000;

struct Ring {  // one an environment: a worker loads the addon again
  napi_env env;
  napi_ref memory;  // keeps the pages from the garbage collector
  napi_ref on_ready;
  napi_async_context async;
  napi_async_cleanup_hook_handle hook;
  uv_poll_t poll;
  io_uring_params params;
  char* pages;
  int fd;
  bool is_main_thread;
};

int io_uring_setup(unsigned entries, io_uring_params* params) {
  return static_cast<int>(syscall(__NR_io_uring_setup, entries, params));
}

int io_uring_enter(int fd, unsigned to_submit, unsigned min_complete, unsigned flags, const void* arg, size_t size) {
  int result = static_cast<int>(syscall(__NR_io_uring_enter, fd, to_submit, min_complete, flags, arg, size));
  return result < 0 ? -errno : result;
}

int io_uring_register(int fd, unsigned opcode, void* arg, unsigned count) {
  return static_cast<int>(syscall(__NR_io_uring_register, fd, opcode, arg, count));
}

unsigned& at(Ring* ring, unsigned offset) { return *reinterpret_cast<unsigned*>(ring->pages + kRingsAt + offset); }

io_uring_sqe* submissions(Ring* ring) { return reinterpret_cast<io_uring_sqe*>(ring->pages); }

uint32_t* owned(Ring* ring) { return reinterpret_cast<uint32_t*>(ring->pages + kOwnedAt); }

// At the end of the environment it is closed, once.
void own(Ring* ring, unsigned fd) {
  if (fd < kOwnedBytes * 8)
    owned(ring)[fd / 32] |= 1u << fd % 32;
  else
    close(fd);
}

void disown(Ring* ring, unsigned fd) {
  if (fd < kOwnedBytes * 8) owned(ring)[fd / 32] &= ~(1u << fd % 32);
}

// After this the kernel writes neither into buffers nor into the ring. Closing the ring alone lets reads land
// afterwards, and so does cancelling alone: a disk read cannot be cancelled. A draining NOP completes only when all
// before it has. Returns false if the disk did not answer in time.
bool drain(Ring* ring, int64_t timeout_ms) {
  const io_uring_params& p = ring->params;
  __kernel_timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
  bool bounded = timeout_ms >= 0;

  io_uring_sync_cancel_reg cancel = {};
  cancel.fd = -1;
  cancel.flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
  cancel.timeout.tv_sec = bounded ? timeout.tv_sec : -1;
  cancel.timeout.tv_nsec = bounded ? timeout.tv_nsec : -1;
  while (io_uring_register(ring->fd, IORING_REGISTER_SYNC_CANCEL, &cancel, 1) < 0 && errno == EINTR) {
  }

  // What the kernel has not taken yet never starts: the NOP goes in its place.
  unsigned head = __atomic_load_n(&at(ring, p.sq_off.head), __ATOMIC_ACQUIRE);
  unsigned slot = head & (kSqEntries - 1);
  io_uring_sqe* sqe = submissions(ring) + slot;
  memset(sqe, 0, sizeof *sqe);
  sqe->opcode = IORING_OP_NOP;
  sqe->flags = IOSQE_IO_DRAIN;
  sqe->user_data = kDrained;
  at(ring, p.sq_off.array + slot * sizeof(unsigned)) = slot;
  __atomic_store_n(&at(ring, p.sq_off.tail), head + 1, __ATOMIC_RELEASE);

  io_uring_getevents_arg arg = {};
  if (bounded) arg.ts = reinterpret_cast<uint64_t>(&timeout);
  const io_uring_cqe* cqes = reinterpret_cast<io_uring_cqe*>(ring->pages + kRingsAt + p.cq_off.cqes);
  for (unsigned to_submit = 1;;) {
    int result =
        io_uring_enter(ring->fd, to_submit, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg, sizeof arg);
    if (result == 1) to_submit = 0;
    bool drained = false;
    unsigned cq_head = at(ring, p.cq_off.head);
    unsigned cq_tail = __atomic_load_n(&at(ring, p.cq_off.tail), __ATOMIC_ACQUIRE);
    for (; cq_head != cq_tail; cq_head++) {
      const io_uring_cqe& cqe = cqes[cq_head & (kCqEntries - 1)];
      if (cqe.user_data == kDrained)
        drained = true;
      else if (cqe.user_data & kResultIsFd && cqe.res >= 0)
        own(ring, cqe.res);  // JavaScript may have been stopped after noting it, with the completion still there
      else if (cqe.user_data & kClosesFd && cqe.res == -ECANCELED)
        own(ring, cqe.user_data >> 32 & kClosedFdMask);
    }
    __atomic_store_n(&at(ring, p.cq_off.head), cq_head, __ATOMIC_RELEASE);
    if (drained) return true;
    if (result == -ETIME) return false;
    // EBUSY: the overflown completions just reaped were in the way. EAGAIN: the kernel is short of memory, try again.
    if (result < 0 && result != -EINTR && result != -EBUSY && result != -EAGAIN) return false;
  }
}

void close_owned(Ring* ring) {
  for (unsigned word = 0; word < kOwnedBytes / 4; word++)
    for (uint32_t bits = owned(ring)[word]; bits != 0; bits &= bits - 1) close(word * 32 + __builtin_ctz(bits));
}

void finish(Ring* ring) {
  // The kernel lets go of the ring's own pages some time after close: give it ones that nobody else will ever have.
  close(ring->fd);
  madvise(ring->pages, kOwnedAt, MADV_DONTNEED);
  napi_async_destroy(ring->env, ring->async);
  napi_delete_reference(ring->env, ring->on_ready);
  napi_delete_reference(ring->env, ring->memory);
  napi_remove_async_cleanup_hook(ring->hook);
  delete ring;
}

// Before the environment's memory goes.
void cleanup(napi_async_cleanup_hook_handle, void* data) {
  Ring* ring = static_cast<Ring*>(data);
  bool drained = drain(ring, ring->is_main_thread ? kExitTimeoutMs / 2 : -1);  // half to cancel, half to wait
  if (!ring->is_main_thread) close_owned(ring);
  uv_poll_stop(&ring->poll);
  if (!drained) ring->fd = -1;  // left open: the process ends, and the kernel closes it
  uv_close(reinterpret_cast<uv_handle_t*>(&ring->poll),
           [](uv_handle_t* poll) { finish(static_cast<Ring*>(poll->data)); });
}

void ready(uv_poll_t* poll, int, int) {
  Ring* ring = static_cast<Ring*>(poll->data);
  napi_env env = ring->env;
  napi_handle_scope scope;
  napi_value callback, receiver, result;
  napi_open_handle_scope(env, &scope);
  napi_get_reference_value(env, ring->on_ready, &callback);
  napi_get_global(env, &receiver);
  if (napi_make_callback(env, ring->async, receiver, callback, 0, nullptr, &result) == napi_pending_exception) {
    napi_value error;
    napi_get_and_clear_last_exception(env, &error);
    napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

napi_value number(napi_env env, int64_t value) {
  napi_value result;
  napi_create_int64(env, value, &result);
  return result;
}

Ring* ring_of(napi_env env) {
  void* ring = nullptr;
  napi_get_instance_data(env, &ring);
  return static_cast<Ring*>(ring);
}

// setup(memory: ArrayBuffer, onReady: () => void, isMainThread: boolean): number[] | negative errno
// Returns the byte offset of the pages in `memory`, then of the ring's parts in its page.
// See io_uring_setup(2).
napi_value Setup(napi_env env, napi_callback_info info) {
  if (ring_of(env) != nullptr) return number(env, -EBUSY);  // another copy of the package has it
  napi_value args[3];
  size_t argc = 3;
  napi_get_cb_info(env, info, &argc, args, nullptr, nullptr);
  void* memory = nullptr;
  size_t length = 0;
  napi_get_arraybuffer_info(env, args[0], &memory, &length);
  uintptr_t start = (reinterpret_cast<uintptr_t>(memory) + kPage - 1) & ~static_cast<uintptr_t>(kPage - 1);
  if (start + kMemoryBytes > reinterpret_cast<uintptr_t>(memory) + length) return number(env, -EINVAL);

  Ring* ring = new Ring();
  ring->env = env;
  ring->pages = reinterpret_cast<char*>(start);
  napi_get_value_bool(env, args[2], &ring->is_main_thread);
  io_uring_params& p = ring->params;
  p.flags = kSetupFlags;
  p.sq_off.resv2 = start;             // user_addr: the submissions
  p.cq_off.resv2 = start + kRingsAt;  // user_addr: the rings
  ring->fd = io_uring_setup(kSqEntries, &p);
  if (ring->fd < 0) {
    int error = errno;
    delete ring;
    return number(env, -error);
  }
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  int error = uv_poll_init(loop, &ring->poll, ring->fd);
  if (error != 0) {
    close(ring->fd);
    delete ring;
    return number(env, error);
  }
  ring->poll.data = ring;
  uv_poll_start(&ring->poll, UV_READABLE, ready);
  uv_unref(reinterpret_cast<uv_handle_t*>(&ring->poll));
  napi_value name, resource;
  napi_create_string_utf8(env, "KirunaRing", NAPI_AUTO_LENGTH, &name);
  napi_create_object(env, &resource);
  napi_async_init(env, resource, name, &ring->async);
  napi_create_reference(env, args[0], 1, &ring->memory);
  napi_create_reference(env, args[1], 1, &ring->on_ready);
  napi_add_async_cleanup_hook(env, cleanup, ring, &ring->hook);
  napi_set_instance_data(env, ring, nullptr, nullptr);

  const int64_t offsets[] = {static_cast<int64_t>(start - reinterpret_cast<uintptr_t>(memory)),
                             p.sq_off.head,
                             p.sq_off.tail,
                             p.sq_off.array,
                             p.cq_off.head,
                             p.cq_off.tail,
                             p.cq_off.cqes};
  napi_value result;
  napi_create_array(env, &result);
  for (uint32_t i = 0; i < sizeof offsets / sizeof *offsets; i++)
    napi_set_element(env, result, i, number(env, offsets[i]));
  return result;
}

// enter(toSubmit: number): number taken | negative errno. See io_uring_enter(2).
// A worker can be terminated between any two lines of JavaScript, but not in here: so it is here that an fd which the
// kernel is closing ceases to be ours. A moment later it may be somebody else's.
napi_value Enter(napi_env env, napi_callback_info info) {
  napi_value args[1], result;
  size_t argc = 1;
  uint32_t to_submit = 0;
  napi_get_cb_info(env, info, &argc, args, nullptr, nullptr);
  napi_get_value_uint32(env, args[0], &to_submit);
  Ring* ring = ring_of(env);
  int taken = io_uring_enter(ring->fd, to_submit, 0, IORING_ENTER_GETEVENTS, nullptr, 0);
  for (int i = 0; i < taken; i++)
    if (submissions(ring)[i].opcode == IORING_OP_CLOSE) disown(ring, submissions(ring)[i].fd);
  napi_create_int32(env, taken, &result);
  return result;
}

// address(memory: ArrayBuffer | SharedArrayBuffer's view): number
napi_value Address(napi_env env, napi_callback_info info) {
  napi_value args[1], result;
  size_t argc = 1;
  void* data = nullptr;
  napi_get_cb_info(env, info, &argc, args, nullptr, nullptr);
  napi_get_typedarray_info(env, args[0], nullptr, nullptr, &data, nullptr, nullptr);
  napi_create_double(env, static_cast<double>(reinterpret_cast<uintptr_t>(data)), &result);
  return result;
}

// ref(): the ring keeps the process alive.
napi_value Ref(napi_env env, napi_callback_info) {
  uv_ref(reinterpret_cast<uv_handle_t*>(&ring_of(env)->poll));
  return nullptr;
}

// unref(): it does not.
napi_value Unref(napi_env env, napi_callback_info) {
  uv_unref(reinterpret_cast<uv_handle_t*>(&ring_of(env)->poll));
  return nullptr;
}

}  // namespace

NAPI_MODULE_INIT() {
  const struct {
    const char* name;
    napi_callback function;
  } functions[] = {{"setup", Setup}, {"enter", Enter}, {"address", Address}, {"ref", Ref}, {"unref", Unref}};
  for (const auto& [name, function] : functions) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
    napi_set_named_property(env, exports, name, value);
  }
  return exports;
}
