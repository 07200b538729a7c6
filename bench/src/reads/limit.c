// The limit: random reads of 4 KiB on a raw ring, nothing between the program and the kernel.
// limit <file> <depth> <seconds> <direct: 0 or 1>; prints what it has measured as JSON.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { kReadBytes = 4096, kEntries = 256 };

static double seconds_since_boot(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

static double cpu_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void fail(const char* what) {
  perror(what);
  exit(1);
}

int main(int count, char** arguments) {
  if (count != 5) return 2;
  int depth = atoi(arguments[2]);
  double seconds = atof(arguments[3]);
  int fd = open(arguments[1], O_RDONLY | (atoi(arguments[4]) ? O_DIRECT : 0));
  struct stat status;
  if (fd < 0 || fstat(fd, &status) < 0) fail("open");
  uint32_t blocks = status.st_size / kReadBytes;
  char* buffers = aligned_alloc(4096, (size_t)depth * kReadBytes);

  struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN};
  int ring = syscall(__NR_io_uring_setup, kEntries, &p);
  if (ring < 0) fail("io_uring_setup");
  int protection = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
  size_t ring_bytes = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
  char* rings = mmap(0, ring_bytes, protection, flags, ring, IORING_OFF_SQ_RING);
  size_t sqe_bytes = p.sq_entries * sizeof(struct io_uring_sqe);
  struct io_uring_sqe* sqes = mmap(0, sqe_bytes, protection, flags, ring, IORING_OFF_SQES);
  if (rings == MAP_FAILED || sqes == MAP_FAILED) fail("mmap");
  uint32_t* sq_tail = (uint32_t*)(rings + p.sq_off.tail);
  uint32_t* sq_array = (uint32_t*)(rings + p.sq_off.array);
  uint32_t* cq_head = (uint32_t*)(rings + p.cq_off.head);
  uint32_t* cq_tail = (uint32_t*)(rings + p.cq_off.tail);
  struct io_uring_cqe* cqes = (struct io_uring_cqe*)(rings + p.cq_off.cqes);

  uint32_t random = 1, tail = *sq_tail, head = *cq_head;
  int staged = 0;
  int free_buffers[kEntries], free_count = depth;
  for (int i = 0; i < depth; i++) free_buffers[i] = i;
  long reads = 0;
  double start = seconds_since_boot(), cpu_start = cpu_seconds();
  while (seconds_since_boot() - start < seconds) {
    while (free_count > 0) {
      int buffer = free_buffers[--free_count];
      random = random * 1664525 + 1013904223;
      uint32_t slot = tail & (p.sq_entries - 1);
      struct io_uring_sqe* sqe = sqes + slot;
      memset(sqe, 0, sizeof *sqe);
      sqe->opcode = IORING_OP_READ;
      sqe->fd = fd;
      sqe->addr = (uintptr_t)(buffers + (size_t)buffer * kReadBytes);
      sqe->len = kReadBytes;
      sqe->off = (uint64_t)(random % blocks) * kReadBytes;
      sqe->user_data = buffer;
      sq_array[slot] = slot;
      tail++;
      staged++;
    }
    __atomic_store_n(sq_tail, tail, __ATOMIC_RELEASE);
    int taken = syscall(__NR_io_uring_enter, ring, staged, 1, IORING_ENTER_GETEVENTS, 0, 0);
    if (taken < 0 && errno != EINTR) fail("io_uring_enter");
    if (taken > 0) staged -= taken;
    uint32_t ready = __atomic_load_n(cq_tail, __ATOMIC_ACQUIRE);
    for (; head != ready; head++, reads++) {
      struct io_uring_cqe* cqe = cqes + (head & (p.cq_entries - 1));
      if (cqe->res != kReadBytes) return 3;
      free_buffers[free_count++] = cqe->user_data;
    }
    __atomic_store_n(cq_head, head, __ATOMIC_RELEASE);
  }
  double elapsed = seconds_since_boot() - start;
  printf("{\"perSecond\":%.0f,\"cpuMicroseconds\":%.3f}\n", reads / elapsed, (cpu_seconds() - cpu_start) / reads * 1e6);
}
