// The system calls. The native threads make those of the first half, a step at a time; JavaScript's thread makes those
// of the second.
#include "../fault.h"
#include "../system.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

// After this a more urgent request gets its turn.
[[maybe_unused]] constexpr size_t kSyncStep = 1 << 20;

// Longer reads are made with pread, which reads ahead from the disk, and faults no pages in.
constexpr size_t kCopyBytes = 64 << 10;

#ifdef __APPLE__
constexpr int kPopulateRead = MADV_WILLNEED;  // it only begins it: each page is touched as well
constexpr bool kPopulates = false;
// Brings the data out of the disk's own cache too, if the file system can. See fcntl(2).
int sync_file(int fd) { return fcntl(fd, F_FULLFSYNC) == 0 ? 0 : fsync(fd); }
#else
constexpr int kPopulateRead = 22;  // Linux 5.14; sys/mman.h of older C libraries does not name it
constexpr bool kPopulates = true;
int sync_file(int fd) { return fsync(fd); }
#endif

// Why pages cannot be read: the disk has failed, or the file has been truncated, perhaps only for a moment.
int fault_reason(const Mapping* mapping, off_t from, off_t to) {
  if (is_torn(mapping)) return kTorn;
  for (char byte; from < to; from += page_bytes())
    if (pread(mapping->fd, &byte, 1, from) < 0 && errno != EINTR) return -errno;
  return kTorn;
}

// Maps `bytes` of the file from `offset` on. Returns 0 or a negative errno.
int map_pages(Mapping* mapping) {
  if (mapping->bytes == 0) return 0;
  mapping->lead_bytes = mapping->offset % page_bytes();
  mapping->mapped_bytes = mapping->lead_bytes + mapping->bytes;
  // Private and writable even for access 'read': otherwise a store into a view would end the process.
  int flags = mapping->access == Access::kReadWrite ? MAP_SHARED : MAP_PRIVATE | MAP_NORESERVE;
  void* base = mmap(nullptr, mapping->mapped_bytes, PROT_READ | PROT_WRITE, flags, mapping->fd,
                    mapping->offset - mapping->lead_bytes);
  if (base == MAP_FAILED) return -errno;
  mapping->base = static_cast<char*>(base);
  install_fault_handler();
  mapping->guard = guard(mapping);
  return 0;
}

int open_file(const char* path, Access access) {
  // Not blocking: if a FIFO has replaced the file meanwhile, the open would wait for a writer.
  int flags = (access == Access::kReadWrite ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  int fd;
  do fd = open(path, flags);
  while (fd < 0 && errno == EINTR);
  return fd;
}

// A file that the kernel generates when it is read (/proc) says that it is empty. It cannot be mapped; an empty file
// can.
int probe_empty(int fd) {
  void* page = mmap(nullptr, page_bytes(), PROT_READ, MAP_PRIVATE, fd, 0);
  if (page == MAP_FAILED) return -ENODEV;  // procfs says EIO
  munmap(page, page_bytes());
  return 0;
}

// For kernels without a call for it (macOS, Linux before 5.14): touches each page, protected by the guard.
void touch(const char* begin, const char* end) {
  for (const volatile char* page = begin; page < end; page += page_bytes()) (void)*page;
}

// Why a store has not reached the file: the file was truncated, the disk has failed, or there was no room for the page.
int lost_reason(const Mapping* mapping, uintptr_t torn_at) {
  off_t at = mapping->offset + static_cast<off_t>(torn_at - reinterpret_cast<uintptr_t>(mapping->data()));
  char byte;
  if (mapping->was_short.load() || has_shrunk(mapping)) return kTorn;
  return pread(mapping->fd, &byte, 1, at) < 0 ? -errno : -ENOSPC;
}

// Makes the file longer, and reserves room on the disk if the file system can.
int extend(int fd, [[maybe_unused]] off_t from, off_t to) {
#ifdef __linux__
  int result;
  do result = fallocate(fd, 0, from, to - from);
  while (result != 0 && errno == EINTR);
  if (result == 0) return 0;
  if (errno != EOPNOTSUPP && errno != ENOSYS) {
    int error = errno;
    if (ftruncate(fd, from) != 0) return -errno;  // fallocate may have done a part
    return -error;
  }
#endif
  return ftruncate(fd, to) == 0 ? 0 : -errno;
}

// Copies from the pages, protected by the guard. If the file now ends within the last page, the rest of that page is
// zeros, without a fault. But if the last copied byte is not zero, the file did not end before it, and the size need
// not be asked for, which would cost as much as all the rest.
int copy(const Mapping* mapping, int64_t offset, size_t bytes, char* into) {
  const char* from = mapping->data() + offset;
  memcpy(into, from, bytes);
  std::atomic_thread_fence(std::memory_order_acquire);
  char last = *static_cast<const volatile char*>(from + bytes - 1);
  if (mapping->torn_at.load() != 0) return kTorn;
  return last == 0 && has_shrunk(mapping) ? kTorn : 0;
}

}  // namespace

int map_file(Request* request, Mapping* mapping) {
  struct stat status;
  // Before the open, which would already have an effect on a FIFO's writer or on a device.
  request->call = "stat";
  if (stat(request->path, &status) != 0) return -errno;
  request->call = "mmap";
  request->found = status.st_mode & S_IFMT;
  if (!S_ISREG(status.st_mode)) return -ENODEV;
  request->call = "open";
  mapping->fd = open_file(request->path, request->access);
  if (mapping->fd < 0) return -errno;
  request->call = "fstat";
  if (fstat(mapping->fd, &status) != 0) return -errno;
  request->call = "mmap";
  request->found = status.st_mode & S_IFMT;
  if (!S_ISREG(status.st_mode)) return -ENODEV;

  if (status.st_size == 0) {
    int error = probe_empty(mapping->fd);
    if (error != 0) return error;
  }
  int64_t left = status.st_size - request->offset;
  int64_t bytes = request->bytes == -1 ? left : request->bytes;
  if (left < 0 || bytes > left) {
    request->found = status.st_size;
    return kBeyondEnd;
  }
  mapping->offset = request->offset;
  mapping->bytes = static_cast<size_t>(bytes);
  mapping->access = request->access;
  return map_pages(mapping);
}

int populate(Mapping* mapping, int64_t offset, size_t bytes) {
  char* begin = mapping->base + ((mapping->lead_bytes + offset) & ~(page_bytes() - 1));
  char* end = mapping->data() + offset + bytes;
  int error;
  do error = madvise(begin, end - begin, kPopulateRead) == 0 ? 0 : errno;
  while (error == EINTR || error == EAGAIN);
  if (!kPopulates) error = EINVAL;
  if (error == EINVAL)
    touch(begin, end);
  else if (error != 0 && error != EFAULT)
    return -error;
  if (error != EFAULT && mapping->torn_at.load() == 0) return 0;
  return fault_reason(mapping, mapping->offset + offset, mapping->offset + offset + bytes);
}

bool reads_pages(const Mapping* mapping) { return mapping->access == Access::kCopyOnWrite; }

void discard(Mapping* mapping, size_t from, size_t bytes) {
  mmap(mapping->base + from, bytes, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE | MAP_NORESERVE, -1,
       0);  // if it fails, all is unmapped in one call
}

int end_mapping(Mapping* mapping) {
  if (mapping->guard != nullptr) unguard(mapping->guard);
  mapping->guard = nullptr;
  int error = close(mapping->fd) == 0 || errno == EINTR ? 0 : -errno;  // EINTR: Linux has closed it
  mapping->fd = -1;
  return error;
}

// See sync_file_range(2).
bool sync(Request* request) {
  Mapping* mapping = request->mapping;
  request->result = 0;
#ifdef __linux__
  // Little by little to the device, so that more urgent operations find no full queue there. What is left for msync is
  // the metadata and the device's own cache.
  if (request->done_bytes < mapping->mapped_bytes) {
    off_t from = mapping->offset - mapping->lead_bytes + request->done_bytes;
    size_t left = mapping->mapped_bytes - request->done_bytes, bytes = left < kSyncStep ? left : kSyncStep;
    unsigned flags = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    request->done_bytes += bytes;
    if (sync_file_range(mapping->fd, from, bytes, flags) == 0) return false;
    if (errno != ESPIPE && errno != ENOSYS && errno != EINVAL) {
      request->result = -errno;
      return true;
    }
    request->done_bytes = mapping->mapped_bytes;  // no such call here: then all at once
  }
#endif
  int result = mapping->base == nullptr ? 0 : msync(mapping->base, mapping->mapped_bytes, MS_SYNC);
  if (result == 0 && (!kPopulates || mapping->base == nullptr)) result = sync_file(mapping->fd);
  if (result != 0) request->result = -errno;
  // Checked only now: a store may have found the disk full while this went on.
  uintptr_t torn_at = mapping->torn_at.load();
  if (torn_at != 0)
    request->result = lost_reason(mapping, torn_at);
  else if (has_shrunk(mapping))
    request->result = kTorn;
  return true;
}

// See fallocate(2).
int resize_file(Request* request, Mapping* made) {
  const Mapping* mapping = request->mapping;
  struct stat status;
  if (fstat(mapping->fd, &status) != 0) return -errno;
  if (status.st_size != mapping->end()) return status.st_size < mapping->end() ? kTorn : kNotAtEnd;
  made->fd = fcntl(mapping->fd, F_DUPFD_CLOEXEC, 0);
  if (made->fd < 0) return -errno;
  made->offset = mapping->offset;
  made->bytes = static_cast<size_t>(request->bytes);
  made->access = mapping->access;
  int error = map_pages(made);
  if (error != 0) return error;
  if (made->end() > status.st_size)
    error = extend(made->fd, status.st_size, made->end());
  else if (ftruncate(made->fd, made->end()) != 0)
    error = -errno;
  if (error != 0) unmap_now(made);
  return error;
}

int read_now(Mapping* mapping, int64_t offset, size_t bytes, char* into) {
  if (mapping->torn_at.load(std::memory_order_relaxed) != 0) return kTorn;
  // A system call costs as much as copying two pages, and would not see stores into copy-on-write pages.
  if (mapping->access == Access::kCopyOnWrite || bytes <= kCopyBytes) return copy(mapping, offset, bytes, into);
  for (size_t done = 0; done < bytes;) {
    ssize_t count = pread(mapping->fd, into + done, bytes - done, mapping->offset + offset + done);
    if (count == 0) return kTorn;
    if (count > 0)
      done += count;
    else if (errno != EINTR)
      return -errno;
  }
  return 0;
}

int read_cached([[maybe_unused]] Mapping* mapping, [[maybe_unused]] int64_t offset, [[maybe_unused]] size_t bytes,
                [[maybe_unused]] char* into) {
#ifdef RWF_NOWAIT
  if (mapping->access != Access::kCopyOnWrite && mapping->torn_at.load(std::memory_order_relaxed) == 0) {
    iovec part = {into, bytes};
    if (preadv2(mapping->fd, &part, 1, mapping->offset + offset, RWF_NOWAIT) == static_cast<ssize_t>(bytes)) return 0;
  }
#endif
  return -EAGAIN;
}

int write_now(Mapping* mapping, int64_t offset, size_t bytes, const char* from) {
  // A write beyond the end would make the file longer again, with a hole in between.
  if (is_torn(mapping)) return kTorn;
  for (size_t done = 0; done < bytes;) {
    ssize_t count = pwrite(mapping->fd, from + done, bytes - done, mapping->offset + offset + done);
    if (count >= 0)
      done += count;
    else if (errno != EINTR)
      return -errno;
  }
  return 0;
}

bool has_shrunk(const Mapping* mapping) {
  struct stat status;
  return fstat(mapping->fd, &status) == 0 && status.st_size < mapping->end();
}

void unmap_now(Mapping* mapping) {
  if (mapping->guard != nullptr) unguard(mapping->guard);
  mapping->guard = nullptr;
  if (mapping->base != nullptr) munmap(mapping->base, mapping->mapped_bytes);
  mapping->base = nullptr;
  if (mapping->fd >= 0) close(mapping->fd);
  mapping->fd = -1;
}
