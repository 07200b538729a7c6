// The limit: an echo server on a raw ring, nothing between the program and the kernel: multishot accept, then a receive
// and a send after the other for each connection. Prints its port.
//
//   limit [multishot]   one receive for all that a connection sends, into memory that the kernel takes from a ring
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { kEntries = 256, kBufferBytes = 4096, kMostFds = 4096, kBuffers = 1024, kGroup = 1 };
enum { kAccept, kReceive, kSend };

static struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN};
static int ring;
static struct io_uring_sqe* sqes;
static uint32_t *sq_tail, *sq_array, *cq_head, *cq_tail, tail;
static int staged;
static char* buffers;
static int is_multishot;
static struct io_uring_buf_ring* provided;  // see io_uring_register_buf_ring(3)
static uint16_t provided_tail;

static void fail(const char* what) {
  perror(what);
  exit(1);
}

static int enter(int at_least) {
  __atomic_store_n(sq_tail, tail, __ATOMIC_RELEASE);
  int taken = syscall(__NR_io_uring_enter, ring, staged, at_least, IORING_ENTER_GETEVENTS, 0, 0);
  if (taken < 0 && errno != EINTR) fail("io_uring_enter");
  if (taken > 0) staged -= taken;
  return taken;
}

// `buffer` is what a send of provided memory gives back.
static struct io_uring_sqe* stage(int opcode, int fd, int what, int buffer) {
  while (staged == (int)p.sq_entries) enter(0);
  uint32_t slot = tail & (p.sq_entries - 1);
  struct io_uring_sqe* sqe = sqes + slot;
  memset(sqe, 0, sizeof *sqe);
  sqe->opcode = opcode;
  sqe->fd = fd;
  sqe->user_data = (uint64_t)buffer << 32 | (uint64_t)fd << 8 | what;
  sq_array[slot] = slot;
  tail++;
  staged++;
  return sqe;
}

static char* memory(int of) { return buffers + (size_t)of * kBufferBytes; }

static void provide(int buffer) {
  provided->bufs[provided_tail & (kBuffers - 1)] =
      (struct io_uring_buf){.addr = (uintptr_t)memory(buffer), .len = kBufferBytes, .bid = buffer};
  __atomic_store_n(&provided->tail, ++provided_tail, __ATOMIC_RELEASE);
}

static void provide_all(void) {
  provided = mmap(0, kBuffers * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
  struct io_uring_buf_reg given = {.ring_addr = (uintptr_t)provided, .ring_entries = kBuffers, .bgid = kGroup};
  if (provided == MAP_FAILED || syscall(__NR_io_uring_register, ring, IORING_REGISTER_PBUF_RING, &given, 1) < 0)
    fail("io_uring_register");
  for (int i = 0; i < kBuffers; i++) provide(i);
}

static void receive(int fd) {
  struct io_uring_sqe* sqe = stage(IORING_OP_RECV, fd, kReceive, 0);
  if (is_multishot) {
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->buf_group = kGroup;
  } else {
    sqe->addr = (uintptr_t)memory(fd);
    sqe->len = kBufferBytes;
  }
}

static void send_back(int fd, int buffer, int bytes) {
  struct io_uring_sqe* sqe = stage(IORING_OP_SEND, fd, kSend, buffer);
  sqe->addr = (uintptr_t)memory(buffer);
  sqe->len = bytes;
  sqe->msg_flags = MSG_NOSIGNAL;
}

static void accept_on(int fd) { stage(IORING_OP_ACCEPT, fd, kAccept, 0)->ioprio = IORING_ACCEPT_MULTISHOT; }

int main(int count, char** arguments) {
  is_multishot = count == 2 && !strcmp(arguments[1], "multishot");
  buffers = malloc((size_t)kMostFds * kBufferBytes);
  ring = syscall(__NR_io_uring_setup, kEntries, &p);
  if (ring < 0) fail("io_uring_setup");
  int protection = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
  size_t ring_bytes = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
  char* rings = mmap(0, ring_bytes, protection, flags, ring, IORING_OFF_SQ_RING);
  sqes = mmap(0, p.sq_entries * sizeof *sqes, protection, flags, ring, IORING_OFF_SQES);
  if (rings == MAP_FAILED || sqes == MAP_FAILED) fail("mmap");
  sq_tail = (uint32_t*)(rings + p.sq_off.tail);
  sq_array = (uint32_t*)(rings + p.sq_off.array);
  cq_head = (uint32_t*)(rings + p.cq_off.head);
  cq_tail = (uint32_t*)(rings + p.cq_off.tail);
  struct io_uring_cqe* cqes = (struct io_uring_cqe*)(rings + p.cq_off.cqes);
  tail = *sq_tail;

  if (is_multishot) provide_all();

  int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof at;
  setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (bind(listener, (struct sockaddr*)&at, length) < 0 || listen(listener, 511) < 0) fail("listen");
  getsockname(listener, (struct sockaddr*)&at, &length);
  printf("%d\n", ntohs(at.sin_port));
  fflush(stdout);

  accept_on(listener);
  for (uint32_t head = *cq_head;;) {
    enter(1);
    uint32_t ready = __atomic_load_n(cq_tail, __ATOMIC_ACQUIRE);
    for (; head != ready; head++) {
      struct io_uring_cqe cqe = cqes[head & (p.cq_entries - 1)];
      int fd = cqe.user_data >> 8 & 0xffffff, what = cqe.user_data & 0xff;
      if (what == kAccept) {
        if (!(cqe.flags & IORING_CQE_F_MORE)) accept_on(fd);
        if (cqe.res >= kMostFds)
          close(cqe.res);
        else if (cqe.res >= 0)
          receive(cqe.res);
        continue;
      }
      if (what == kSend && is_multishot) provide(cqe.user_data >> 32);
      if (cqe.res == -ENOBUFS)
        receive(fd);
      else if (cqe.res <= 0)
        close(fd);
      else if (what == kReceive)
        send_back(fd, is_multishot ? cqe.flags >> IORING_CQE_BUFFER_SHIFT : fd, cqe.res);
      if (cqe.res > 0 && (is_multishot ? what == kReceive && !(cqe.flags & IORING_CQE_F_MORE) : what == kSend))
        receive(fd);
    }
    __atomic_store_n(cq_head, head, __ATOMIC_RELEASE);
  }
}
