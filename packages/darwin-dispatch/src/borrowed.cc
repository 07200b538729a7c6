// The flags of a borrowed fd are restored. GCD makes the fd O_NONBLOCK, and puts back the flags that it has found: but
// these have O_NONBLOCK if GCD has another fd of the same open file at the time, as when a terminal is stdin and
// stdout. So O_NONBLOCK is set here before GCD gets an fd, and cleared after the last one.
#include "dispatch.h"

#include <fcntl.h>

namespace {

// Two fds are of one open file if a flag that is set on one is then set on the other: O_APPEND has no effect on a pipe,
// a terminal or a socket. See open(2), dup(2).
bool is_same_open_file(int fd, int other) {
  int flags = fcntl(fd, F_GETFL), before = fcntl(other, F_GETFL);
  fcntl(fd, F_SETFL, flags ^ O_APPEND);
  bool is_same = ((fcntl(other, F_GETFL) ^ before) & O_APPEND) != 0;
  fcntl(fd, F_SETFL, flags);
  return is_same;
}

Request* sharer_of(const Request* request) {
  for (Request* other = request->environment->first_borrower; other != nullptr; other = other->next_borrower)
    if (other->device == request->device && other->inode == request->inode && is_same_open_file(request->fd, other->fd))
      return other;
  return nullptr;
}

}  // namespace

void begin_borrowing(Request* request) {
  Environment* environment = request->environment;
  pthread_mutex_lock(&environment->mutex);
  Request* sharer = sharer_of(request);
  int flags = fcntl(request->fd, F_GETFL);
  request->is_borrower = true;
  request->was_blocking = sharer == nullptr ? (flags & O_NONBLOCK) == 0 : sharer->was_blocking;
  fcntl(request->fd, F_SETFL, flags | O_NONBLOCK);
  request->next_borrower = environment->first_borrower;
  environment->first_borrower = request;
  pthread_mutex_unlock(&environment->mutex);
}

void end_borrowing(Request* request) {
  if (!request->is_borrower) return;
  Environment* environment = request->environment;
  pthread_mutex_lock(&environment->mutex);
  Request** link = &environment->first_borrower;
  while (*link != request) link = &(*link)->next_borrower;
  *link = request->next_borrower;
  if (request->was_blocking && sharer_of(request) == nullptr)
    fcntl(request->fd, F_SETFL, fcntl(request->fd, F_GETFL) & ~O_NONBLOCK);
  pthread_mutex_unlock(&environment->mutex);
}
