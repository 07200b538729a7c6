// For tests, by LD_PRELOAD: what io_uring answers on a kernel that is older than this one, or built with less of it.
//
//   KERNEL=601       Linux 6.1: what came later is EINVAL
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

long syscall(long number, ...) {
  static long (*libc_syscall)(long, ...);
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
  const long result = libc_syscall(number, given[0], given[1], given[2], given[3], given[4], given[5]);
  if (number == __NR_io_uring_register && given[1] == IORING_REGISTER_PROBE && result == 0) {
    struct io_uring_probe* probe = (struct io_uring_probe*)given[2];
    for (int i = 0; i < probe->ops_len; i++)
      if (probe->ops[i].op == from("NO_OPCODE", -1)) probe->ops[i].flags &= ~IO_URING_OP_SUPPORTED;
  }
  return result;
}
