// The limit of a realtime ping-pong beside downloads: one thread that looks for what is urgent before each 64 KiB of a
// download, and nothing between the program and the kernel. Prints two ports, as server.ts does, and at SIGUSR2 how much
// has been downloaded.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { kEvents = 64, kBytes = 64 * 1024 };

static char memory[kBytes];
static long long taken;

static void fail(const char* what) {
  perror(what);
  exit(1);
}

static void watch(int epoll, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
}

static int listen_at(int* port) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof at;
  if (bind(listener, (struct sockaddr*)&at, length) < 0 || listen(listener, 511) < 0) fail("listen");
  getsockname(listener, (struct sockaddr*)&at, &length);
  *port = ntohs(at.sin_port);
  return listener;
}

static void accept_into(int epoll, int listener) {
  int on = 1, fd = accept4(listener, 0, 0, SOCK_NONBLOCK);
  if (fd < 0) return;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  watch(epoll, fd);
}

// Returns how much has come; closes what has ended.
static ssize_t receive(int fd) {
  ssize_t got = recv(fd, memory, kBytes, 0);
  if (got == 0 || (got < 0 && errno != EAGAIN)) close(fd);
  return got;
}

int main(void) {
  int echo_port, download_port, echo = listen_at(&echo_port), download = listen_at(&download_port);
  sigset_t asked;
  sigemptyset(&asked);
  sigaddset(&asked, SIGUSR2);
  sigprocmask(SIG_BLOCK, &asked, 0);
  int asking = signalfd(-1, &asked, SFD_NONBLOCK), urgent = epoll_create1(0), all = epoll_create1(0);
  watch(urgent, echo);
  watch(urgent, asking);
  watch(all, urgent);
  watch(all, download);
  printf("%d %d\n", echo_port, download_port);
  fflush(stdout);
  for (;;) {
    struct epoll_event ready[kEvents];
    int count = epoll_wait(all, ready, kEvents, -1);
    for (int i = 0; i < count; i++) {
      struct epoll_event first[kEvents];
      int urgent_count = epoll_wait(urgent, first, kEvents, 0);
      for (int j = 0; j < urgent_count; j++) {
        int fd = first[j].data.fd;
        ssize_t got = 0;
        if (fd == echo) {
          accept_into(urgent, echo);
        } else if (fd == asking) {
          struct signalfd_siginfo info;
          if (read(asking, &info, sizeof info) > 0) printf("%lld\n", taken);
          fflush(stdout);
        } else if ((got = receive(fd)) > 0 && send(fd, memory, got, MSG_NOSIGNAL) < got) {
          close(fd);
        }
      }
      int fd = ready[i].data.fd;
      if (fd == download) {
        accept_into(all, download);
      } else if (fd != urgent) {
        ssize_t got = receive(fd);
        if (got > 0) taken += got;
      }
    }
  }
}
