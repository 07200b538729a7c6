// For tests, by LD_PRELOAD: once the environment's KIRUNA_LOST_RING names a file that is there, io_uring_enter fails for
// good on the ring whose fd stands in it, as after a change of the process's seccomp filter. libuv has a ring, too.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

long syscall(long number, ...) {
  static long (*next)(long, ...);
  if (next == 0) next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
  long a[6];
  va_list rest;
  va_start(rest, number);
  for (int i = 0; i < 6; i++) a[i] = va_arg(rest, long);
  va_end(rest);
  FILE* lost = number == __NR_io_uring_enter ? fopen(getenv("KIRUNA_LOST_RING"), "r") : 0;
  if (lost != 0) {
    long fd = -1;
    int found = fscanf(lost, "%ld", &fd);
    fclose(lost);
    if (found == 1 && fd == a[0]) {
      errno = EPERM;
      return -1;
    }
  }
  return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
