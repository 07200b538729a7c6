// The client of every rival, a process of its own.
//
//   load echo <port> <connections> <bytes> <seconds>   sends, waits for the same bytes, sends again
//   load feed <port> <connections>                     sends as fast as the other side reads, until it is ended
//   load idle <port> <connections>                     connects, and stays until it is ended
//
// `echo` prints `begin` after a warm-up, and then what it has measured as JSON; the others print `begin` once all are
// connected.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { kEvents = 256, kFeedBytes = 256 * 1024, kMostLatencies = 4 * 1000 * 1000 };
// Both, so that what is measured is compiled by then where the machine has little time for it; but no longer than that.
static const double kWarmUpSeconds = 0.4;
static const double kLongestWarmUpSeconds = 2;
static const long kWarmUpMessages = 20 * 1000;

struct connection {
  int fd;
  int received;
  double sent_at;
};

static double seconds_since_boot(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

static void fail(const char* what) {
  perror(what);
  exit(1);
}

static int by_value(const void* a, const void* b) {
  float x = *(const float*)a, y = *(const float*)b;
  return x < y ? -1 : x > y;
}

static struct connection* connect_all(int port, int count) {
  struct rlimit files = {count + 64, count + 64};
  setrlimit(RLIMIT_NOFILE, &files);
  struct connection* all = calloc(count, sizeof *all);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  for (int i = 0; i < count; i++) {
    int on = 1, fd = all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr*)&at, sizeof at) < 0) fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  return all;
}

static int watch(struct connection* all, int count, unsigned events) {
  int epoll = epoll_create1(0);
  for (int i = 0; i < count; i++) {
    struct epoll_event event = {events, {.u32 = i}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event);
  }
  return epoll;
}

static void say_begin(void) {
  puts("begin");
  fflush(stdout);
}

static int echo(struct connection* all, int count, int bytes, double seconds) {
  char *out = malloc(bytes), *in = malloc(bytes);
  memset(out, 'x', bytes);
  float* latencies = malloc(kMostLatencies * sizeof *latencies);
  long messages = 0;
  int epoll = watch(all, count, EPOLLIN), has_begun = 0;
  double begin = seconds_since_boot() + kWarmUpSeconds;
  for (int i = 0; i < count; i++) {
    all[i].sent_at = seconds_since_boot();
    if (write(all[i].fd, out, bytes) != bytes) fail("write");
  }
  for (;;) {
    struct epoll_event events[kEvents];
    int ready = epoll_wait(epoll, events, kEvents, 5000);
    if (ready == 0) return fputs("nothing comes back\n", stderr), 1;
    double now = seconds_since_boot();
    int is_warm = messages >= kWarmUpMessages || now >= begin + kLongestWarmUpSeconds;
    if (!has_begun && now >= begin && is_warm) {
      has_begun = 1;
      begin = now;
      messages = 0;
      say_begin();
    }
    if (has_begun && now - begin >= seconds) break;
    for (int i = 0; i < ready; i++) {
      struct connection* one = &all[events[i].data.u32];
      int got = read(one->fd, in, bytes - one->received);
      if (got <= 0) fail("read");
      one->received += got;
      if (one->received < bytes) continue;
      one->received = 0;
      now = seconds_since_boot();
      if (has_begun && messages < kMostLatencies) latencies[messages] = (now - one->sent_at) * 1e6;
      messages++;
      one->sent_at = now;
      if (write(one->fd, out, bytes) != bytes) fail("write");
    }
  }
  double elapsed = seconds_since_boot() - begin;
  long kept = messages < kMostLatencies ? messages : kMostLatencies;
  qsort(latencies, kept, sizeof *latencies, by_value);
  printf("{\"messages\":%ld,\"perSecond\":%.0f,\"p50\":%.1f,\"p99\":%.1f}\n", messages, messages / elapsed,
         latencies[kept / 2], latencies[kept * 99 / 100]);
  return 0;
}

static int feed(struct connection* all, int count) {
  char* out = malloc(kFeedBytes);
  memset(out, 'x', kFeedBytes);
  for (int i = 0; i < count; i++) fcntl(all[i].fd, F_SETFL, O_NONBLOCK);
  int epoll = watch(all, count, EPOLLOUT);
  say_begin();
  for (;;) {
    struct epoll_event events[kEvents];
    int ready = epoll_wait(epoll, events, kEvents, -1);
    for (int i = 0; i < ready; i++)
      if (write(all[events[i].data.u32].fd, out, kFeedBytes) < 0 && errno != EAGAIN) return 0;
  }
}

int main(int count, char** arguments) {
  if (count < 4) return 2;
  signal(SIGPIPE, SIG_IGN);
  int connections = atoi(arguments[3]);
  struct connection* all = connect_all(atoi(arguments[2]), connections);
  if (!strcmp(arguments[1], "echo") && count == 6)
    return echo(all, connections, atoi(arguments[4]), atof(arguments[5]));
  if (!strcmp(arguments[1], "feed")) return feed(all, connections);
  if (strcmp(arguments[1], "idle")) return 2;
  say_begin();
  for (;;) pause();
}
