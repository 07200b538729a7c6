// The limit: an echo server on a raw ring, nothing between the program and the kernel: multishot accept, then a receive
// and a send after the other for each connection. Prints its port.
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

enum { kEntries = 256, kBufferBytes = 4096, kMostFds = 4096 };
enum { kAccept, kReceive, kSend };

static struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN};
static int ring;
static struct io_uring_sqe* sqes;
static uint32_t *sq_tail, *sq_array, *cq_head, *cq_tail, tail;
static int staged;
static char* buffers;

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

static struct io_uring_sqe* stage(int opcode, int fd, int what) {
  while (staged == (int)p.sq_entries) enter(0);
  uint32_t slot = tail & (p.sq_entries - 1);
  struct io_uring_sqe* sqe = sqes + slot;
  memset(sqe, 0, sizeof *sqe);
  sqe->opcode = opcode;
  sqe->fd = fd;
  sqe->user_data = (uint64_t)fd << 8 | what;
  sq_array[slot] = slot;
  tail++;
  staged++;
  return sqe;
}

static void move(int opcode, int fd, int what, int bytes) {
  struct io_uring_sqe* sqe = stage(opcode, fd, what);
  sqe->addr = (uintptr_t)(buffers + (size_t)fd * kBufferBytes);
  sqe->len = bytes;
  sqe->msg_flags = MSG_NOSIGNAL;
}

static void accept_on(int fd) { stage(IORING_OP_ACCEPT, fd, kAccept)->ioprio = IORING_ACCEPT_MULTISHOT; }

int main(void) {
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
      int fd = cqe.user_data >> 8, what = cqe.user_data & 0xff;
      if (what == kAccept) {
        if (!(cqe.flags & IORING_CQE_F_MORE)) accept_on(fd);
        if (cqe.res >= kMostFds)
          close(cqe.res);
        else if (cqe.res >= 0)
          move(IORING_OP_RECV, cqe.res, kReceive, kBufferBytes);
      } else if (cqe.res <= 0)
        close(fd);
      else if (what == kReceive)
        move(IORING_OP_SEND, fd, kSend, cqe.res);
      else
        move(IORING_OP_RECV, fd, kReceive, kBufferBytes);
    }
    __atomic_store_n(cq_head, head, __ATOMIC_RELEASE);
  }
}
