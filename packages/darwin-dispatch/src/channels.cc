// Reads and writes on channels, one channel for each, so that a stop ends only this one. See dispatch_io_create(3).
#include "dispatch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

namespace {

// GCD asks the disk for this much from where a channel's read begins, however little was asked for: for a random 4 KiB
// 512 times as much, which later reads then wait for. So only reads of this length or more use a channel.
constexpr size_t kReadAheadBytes = 2 << 20;

// Copies a channel's regions into JavaScript's memory. See dispatch_data_apply(3).
void take_regions(Request* request, dispatch_data_t data) {
  dispatch_data_apply(data, ^bool(dispatch_data_t, size_t, const void* from, size_t bytes) {
    memcpy(request->memory + request->done_bytes, from, bytes);
    request->done_bytes += bytes;
    return true;
  });
}

// Checks what GCD would notice too late: if one fd turns out not to be open for reading or writing, GCD ends everything
// under way on its disk, without an error, and restores the fd's flags after it has been closed. Returns 0 or a
// negative errno. `base` is the current file offset, from which GCD counts positions.
int check(Request* request, int forbidden_mode, dispatch_io_type_t type, off_t* base) {
  int fd = request->fd;
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  if ((flags & O_ACCMODE) == forbidden_mode) return -EBADF;
  struct stat status;
  if (fstat(fd, &status) != 0) return -errno;
  if (S_ISDIR(status.st_mode)) return -EISDIR;
  request->device = status.st_dev;
  request->inode = status.st_ino;
  request->is_on_disk = S_ISREG(status.st_mode) || S_ISBLK(status.st_mode);
  if (type == DISPATCH_IO_STREAM) return 0;
  *base = lseek(fd, 0, SEEK_CUR);
  return *base < 0 ? -errno : 0;
}

void take_fd(Request* request, int fd, FdOwner owner) {
  int duplicate = owner == FdOwner::kBorrowed ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
  request->owns_fd = duplicate >= 0 || owner == FdOwner::kDuplicate;
  request->fd = duplicate >= 0 ? duplicate : fd;
  if (owner == FdOwner::kDuplicate) disown(request->environment, fd);
}

void give_back_fd(Request* request) {
  end_borrowing(request);
  if (request->owns_fd) close(request->fd);
}

// A stream's request is done when GCD has cleaned up, and its fd has the flags that it had. A request at a position in
// a file does not wait for that, since GCD would first wait for other requests on the file.
void open_channel(Request* request, dispatch_io_type_t type, dispatch_queue_t queue) {
  dispatch_group_t group = request->environment->group;
  bool is_stream = type == DISPATCH_IO_STREAM;
  if (is_stream) request->unfinished++;
  if (!request->owns_fd) request->environment->channelled.add(request->fd);
  dispatch_group_enter(group);
  request->channel = dispatch_io_create(type, request->fd, queue, ^(int) {
    if (is_stream) {
      give_back_fd(request);
      finish_part(request);
    }
    dispatch_group_leave(group);
  });
  dispatch_set_target_queue(request->channel, queue);  // the priority of the I/O itself
}

// A file ends where a read returns 0. Returns 0 or a negative errno. See pread(2), read(2).
int read_rest(Request* request, off_t position) {
  while (request->done_bytes < request->bytes) {
    char* into = request->memory + request->done_bytes;
    size_t bytes = request->bytes - request->done_bytes;
    ssize_t count = position == -1 ? read(request->fd, into, bytes)
                                   : pread(request->fd, into, bytes, position + request->done_bytes);
    if (count == 0) return 0;
    if (count > 0)
      request->done_bytes += static_cast<size_t>(count);
    else if (errno != EINTR)
      return -errno;
  }
  return 0;
}

// If a stream has bytes, the error is left to the next read.
void finish_read(Request* request, bool is_stream, int error) {
  bool is_good = error == 0 || (is_stream && request->done_bytes > 0);
  request->result = is_good ? static_cast<int64_t>(request->done_bytes) : error;
  finish_part(request);
}

void read_without_channel(Request* request, off_t position, dispatch_queue_t queue) {
  dispatch_async(queue, ^{
    bool is_cancelled = __atomic_load_n(&request->is_cancelled, __ATOMIC_RELAXED);
    int error = is_cancelled ? -ECANCELED : read_rest(request, position);
    give_back_fd(request);
    finish_read(request, position == -1, error);
  });
}

void refuse(Request* request, int error) {
  give_back_fd(request);
  request->result = error;
  finish_part(request);
}

}  // namespace

// read(id, rank, fd, address, bytes, position, owner, stopsAtFirstBytes): number of bytes. See dispatch_io_read(3).
// At a position, fewer bytes than asked for are the end of the file. Position −1 is a stream's current offset: a read
// that may have to wait is done with the first bytes.
void Read(Napi::Env env, uint32_t id, int rank, int fd, int64_t address, size_t bytes, off_t position, FdOwner owner,
          bool stops) {
  Request* request = new_request(env, id);
  off_t base = 0;
  bool is_stream = position == -1;
  dispatch_io_type_t type = is_stream ? DISPATCH_IO_STREAM : DISPATCH_IO_RANDOM;
  request->memory = reinterpret_cast<char*>(address);
  request->bytes = bytes;
  take_fd(request, fd, owner);
  int error = check(request, O_WRONLY, type, &base);
  if (error != 0) return refuse(request, error);
  dispatch_queue_t queue = queue_of(rank);
  if (request->is_on_disk && bytes < kReadAheadBytes) return read_without_channel(request, position, queue);
  if (owner != FdOwner::kOurs && stops) begin_borrowing(request);
  open_channel(request, type, queue);
  if (is_stream) dispatch_io_set_low_water(request->channel, 1);
  dispatch_io_read(request->channel, is_stream ? 0 : position - base, bytes, queue,
                   ^(bool done, dispatch_data_t data, int error) {
                     if (data != nullptr) take_regions(request, data);
                     if (!done) {
                       if (stops && request->done_bytes > 0) dispatch_io_close(request->channel, DISPATCH_IO_STOP);
                       return;
                     }
                     // GCD may have stopped early: this reads the rest.
                     int failure = error == 0 && !stops ? read_rest(request, position) : -error;
                     finish_read(request, is_stream, failure);
                   });
  dispatch_io_close(request->channel, 0);
}

// write(id, rank, fd, address, bytes, position, owner, hasBorrowedFlags): number of bytes, all unless something ends
// it. With position −1 it writes at the current file offset. See dispatch_io_write(3).
void Write(Napi::Env env, uint32_t id, int rank, int fd, int64_t address, size_t bytes, off_t position, FdOwner owner,
           bool has_borrowed_flags) {
  Request* request = new_request(env, id);
  off_t base = 0;
  dispatch_io_type_t type = position == -1 ? DISPATCH_IO_STREAM : DISPATCH_IO_RANDOM;
  request->bytes = bytes;
  take_fd(request, fd, owner);
  int error = check(request, O_RDONLY, type, &base);
  if (error != 0) return refuse(request, error);
  if (has_borrowed_flags) begin_borrowing(request);
  dispatch_queue_t queue = queue_of(rank);
  open_channel(request, type, queue);
  request->unfinished++;
  dispatch_data_t data = dispatch_data_create(reinterpret_cast<char*>(address), bytes, queue, ^{
    finish_part(request);  // GCD does not use JavaScript's memory any more
  });
  dispatch_io_write(request->channel, position == -1 ? 0 : position - base, data, queue,
                    ^(bool done, dispatch_data_t left, int error) {
                      if (!done) return;
                      size_t left_bytes = left == nullptr ? 0 : dispatch_data_get_size(left);
                      size_t written = bytes - left_bytes;
                      request->result = error == 0 || written > 0 ? static_cast<int64_t>(written) : -error;
                      finish_part(request);
                    });
  dispatch_release(data);
  dispatch_io_close(request->channel, 0);
}

// wait(id, rank, fd, owner): the fd, or a duplicate of a borrowed one, once there is something to read, or the end. It
// takes nothing, and does not change the flags. See dispatch_source_create(3).
void Wait(Napi::Env env, uint32_t id, int rank, int fd, FdOwner owner) {
  Request* request = new_request(env, id);
  take_fd(request, fd, owner);
  if (fcntl(request->fd, F_GETFL) < 0) return refuse(request, -errno);
  request->makes_fd = request->owns_fd;
  dispatch_queue_t queue = queue_of(rank);
  dispatch_source_t source =
      dispatch_source_create(DISPATCH_SOURCE_TYPE_READ, static_cast<uintptr_t>(request->fd), 0, queue);
  request->source = source;
  request->result = -ECANCELED;
  dispatch_source_set_event_handler(source, ^{
    request->result = request->fd;
    dispatch_source_cancel(source);
  });
  dispatch_source_set_cancel_handler(source, ^{
    if (request->result < 0) give_back_fd(request);
    finish_part(request);
  });
  dispatch_resume(source);
}

// isReadable(fd): whether a read would not wait. See poll(2).
bool IsReadable(Napi::Env, int fd) {
  pollfd one = {fd, POLLIN, 0};
  return poll(&one, 1, 0) > 0;
}

void close_channels(Request* request, int fd, dispatch_queue_t queue) {
  // GCD cleans up all channels of an fd together, so this handler runs after the others are gone.
  dispatch_io_t last = dispatch_io_create(DISPATCH_IO_STREAM, fd, queue, ^(int) {
    request->result = close(fd) == 0 ? 0 : -errno;
    finish_part(request);
  });
  dispatch_io_close(last, 0);
  dispatch_release(last);
}
