// For tests, by LD_PRELOAD: what io_uring answers on a kernel that is older than this one, or built with less of it.
//
//   KERNEL=601       Linux 6.1: what came later is EINVAL, and the ring refuses later operations with EACCES
//   NO_OPCODE=22     the probe does not know IORING_OP_READ
//
//   cc -shared -fPIC -o old-kernel.so old-kernel.c
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>

static long (*libc_syscall)(long, ...);

static long from(const char* name, long otherwise) {
  const char* value = getenv(name);
  return value == NULL ? otherwise : atol(value);
}

static int knows_setup_flags(unsigned flags) {
  const long kernel = from("KERNEL", 99999);
  if (flags & 1u << 14 && kernel < 605) return 0;  // IORING_SETUP_NO_MMAP
  if (flags & IORING_SETUP_SINGLE_ISSUER && kernel < 600) return 0;
  if (flags & IORING_SETUP_COOP_TASKRUN && kernel < 519) return 0;
  if (flags & IORING_SETUP_SUBMIT_ALL && kernel < 518) return 0;
  return 1;
}

enum { kFtruncate = 55, kMostOperations = 256 };

static int has_operation(int operation) {
  const long kernel = from("KERNEL", 99999);
  if (kernel < 601) return operation <= IORING_OP_SEND_ZC;
  if (kernel < 607) return operation <= 48;  // IORING_OP_SENDMSG_ZC
  if (kernel < 608) return operation <= 53;  // IORING_OP_FUTEX_WAITV
  if (kernel < 609) return operation <= 54;  // IORING_OP_FIXED_FD_INSTALL
  if (kernel < 611) return operation <= kFtruncate;
  return 1;
}

// The kernel itself sees to it that a ring takes no other operation. What it says is EACCES, where an older kernel says
// EINVAL: so ftruncate is let through, which the ring tries, and makes itself after EINVAL.
static void restrict_ring(int ring) {
  struct {
    struct io_uring_probe probe;
    struct io_uring_probe_op operations[kMostOperations];
  } here = {{0}};
  struct io_uring_restriction allowed[kMostOperations + IORING_REGISTER_SYNC_CANCEL + 2] = {{0}};
  int at = 0;
  if (libc_syscall(__NR_io_uring_register, ring, IORING_REGISTER_PROBE, &here, kMostOperations) < 0) abort();
  for (int i = 0; i <= here.probe.last_op; i++) {
    if (!has_operation(i) && i != kFtruncate) continue;
    allowed[at].opcode = IORING_RESTRICTION_SQE_OP;
    allowed[at++].sqe_op = i;
  }
  for (int i = 0; i <= IORING_REGISTER_SYNC_CANCEL; i++, at++) {
    allowed[at].opcode = IORING_RESTRICTION_REGISTER_OP;
    allowed[at].register_op = i;
  }
  allowed[at].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
  allowed[at++].sqe_flags = 0xff;
  if (libc_syscall(__NR_io_uring_register, ring, IORING_REGISTER_RESTRICTIONS, allowed, at) < 0 ||
      libc_syscall(__NR_io_uring_register, ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0)
    abort();
}

long syscall(long number, ...) {
  if (libc_syscall == NULL) *(void**)&libc_syscall = dlsym(RTLD_NEXT, "syscall");
  long given[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; i++) given[i] = va_arg(list, long);
  va_end(list);

  const int sets_up = number == __NR_io_uring_setup && !knows_setup_flags(((struct io_uring_params*)given[1])->flags);
  const int cancels =
      number == __NR_io_uring_register && given[1] == IORING_REGISTER_SYNC_CANCEL && from("KERNEL", 99999) < 600;
  if (sets_up || cancels) {
    errno = EINVAL;
    return -1;
  }
  const int is_restricted = number == __NR_io_uring_setup && !has_operation(kMostOperations);
  if (is_restricted) ((struct io_uring_params*)given[1])->flags |= IORING_SETUP_R_DISABLED;
  const long result = libc_syscall(number, given[0], given[1], given[2], given[3], given[4], given[5]);
  if (is_restricted && result >= 0) restrict_ring((int)result);
  if (number == __NR_io_uring_register && given[1] == IORING_REGISTER_PROBE && result == 0) {
    struct io_uring_probe* probe = (struct io_uring_probe*)given[2];
    for (int i = 0; i < probe->ops_len; i++)
      if (probe->ops[i].op == from("NO_OPCODE", -1) || !has_operation(probe->ops[i].op)) probe->ops[i].flags &= ~IO_URING_OP_SUPPORTED;
  }
  return result;
}
