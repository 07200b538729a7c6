// The system calls without a channel: each is made on a GCD thread, at the caller's quality of service.
#include "dispatch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __APPLE__
// Not every file system has F_FULLFSYNC.
static int sync_to_disk(int fd, bool is_full) { return is_full && fcntl(fd, F_FULLFSYNC) == 0 ? 0 : fsync(fd); }
static timespec birth_of(int, const char*, int, const struct stat& status) { return status.st_birthtimespec; }
static timespec modified(const struct stat& status) { return status.st_mtimespec; }
static timespec accessed(const struct stat& status) { return status.st_atimespec; }
static timespec changed(const struct stat& status) { return status.st_ctimespec; }
#else
static int sync_to_disk(int fd, bool) { return fsync(fd); }
static timespec birth_of(int fd, const char* path, int flags, const struct stat&) {
  struct statx status = {};
  statx(fd, path, flags, STATX_BTIME, &status);
  return {status.stx_btime.tv_sec, status.stx_btime.tv_nsec};
}
static timespec modified(const struct stat& status) { return status.st_mtim; }
static timespec accessed(const struct stat& status) { return status.st_atim; }
static timespec changed(const struct stat& status) { return status.st_ctim; }
#endif

namespace {

// The same as in dispatch.ts: the other end of a FIFO is not open yet.
constexpr int64_t kNoReader = -100000;

int64_t result_of(int64_t returned) { return returned < 0 ? -errno : returned; }

double milliseconds(timespec time) { return time.tv_sec * 1000.0 + time.tv_nsec / 1e6; }

char* copy(Bytes path) {
  char* text = static_cast<char*>(malloc(path.length + 1));
  if (path.length > 0) memcpy(text, path.data, path.length);
  text[path.length] = 0;
  return text;
}

Request* new_request(napi_env env, uint32_t id, Bytes path) {
  Request* request = new_request(env, id);
  request->paths[0] = copy(path);
  return request;
}

void run(Request* request, int rank, int64_t (^call)(Request* request)) {
  dispatch_async(queue_of(rank), ^{
    bool is_cancelled = __atomic_load_n(&request->is_cancelled, __ATOMIC_RELAXED);
    request->result = is_cancelled ? -ECANCELED : call(request);
    finish_part(request);
  });
}

int64_t status_of(Request* request, int fd, const char* path, int flags) {
  request->status = static_cast<struct stat*>(malloc(sizeof(struct stat)));
  int returned = path == nullptr ? fstat(fd, request->status) : fstatat(AT_FDCWD, path, request->status, flags);
  if (returned < 0) return -errno;
#ifdef AT_EMPTY_PATH
  if (path == nullptr) flags = AT_EMPTY_PATH;
#endif
  int at = path == nullptr ? fd : AT_FDCWD;
  request->birth_ms = milliseconds(birth_of(at, path == nullptr ? "" : path, flags, *request->status));
  return 0;
}

// Without O_NONBLOCK the open of a FIFO would hold its thread until the other end is opened.
int64_t open_file(const char* path, int flags, mode_t mode) {
  int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC, mode);
  struct stat status;
  if (fd < 0 && errno == ENXIO && (flags & O_NONBLOCK) == 0)
    return stat(path, &status) == 0 && S_ISFIFO(status.st_mode) ? kNoReader : -ENXIO;
  if (fd < 0) return -errno;
  if ((flags & O_NONBLOCK) == 0) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  return fd;
}

// Entries one behind the other: for each a byte for its kind, and its name with a 0.
struct Entries {
  char* text;
  size_t bytes;
  size_t capacity;
};

char kind_of(DIR* folder, const dirent* entry) {
  if (entry->d_type != DT_UNKNOWN) return static_cast<char>(entry->d_type);
  struct stat status;  // the file system does not tell
  if (fstatat(dirfd(folder), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) return DT_UNKNOWN;
  return static_cast<char>((status.st_mode & S_IFMT) >> 12);  // IFTODT
}

bool add(Entries* entries, char kind, const char* name) {
  size_t bytes = strlen(name) + 2;
  if (entries->bytes + bytes > entries->capacity) {
    size_t capacity = entries->capacity * 2 + bytes + 4096;
    char* text = static_cast<char*>(realloc(entries->text, capacity));
    if (text == nullptr) return false;
    entries->text = text;
    entries->capacity = capacity;
  }
  entries->text[entries->bytes] = kind;
  memcpy(entries->text + entries->bytes + 1, name, bytes - 1);
  entries->bytes += bytes;
  return true;
}

int64_t read_folder(Request* request, const char* path) {
  DIR* folder = opendir(path);
  if (folder == nullptr) return -errno;
  Entries entries = {static_cast<char*>(malloc(1)), 0, 1};  // not null: an empty folder has a value too
  int64_t result = 0;
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(folder);
    if (entry == nullptr) {
      result = -errno;
      break;
    }
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (!add(&entries, kind_of(folder, entry), entry->d_name)) {
      result = -ENOMEM;
      break;
    }
  }
  closedir(folder);
  request->text = entries.text;
  request->text_bytes = entries.bytes;
  return result;
}

int64_t read_link(Request* request, const char* path) {
  for (size_t capacity = 1024;; capacity *= 2) {
    request->text = static_cast<char*>(realloc(request->text, capacity));
    ssize_t bytes = readlink(path, request->text, capacity);
    if (bytes < 0) return -errno;
    request->text_bytes = static_cast<size_t>(bytes);
    if (request->text_bytes < capacity) return 0;
  }
}

}  // namespace

// open(id, rank, path: Buffer, flags, mode, wantsStatus): fd; value: status
// See open(2), fstat(2).
void Open(Napi::Env env, uint32_t id, int rank, Bytes path, int flags, mode_t mode, bool wants_status) {
  Request* request = new_request(env, id, path);
  request->makes_fd = true;
  run(request, rank, ^int64_t(Request* request) {
    int64_t fd = open_file(request->paths[0], flags, mode);
    if (fd < 0 || !wants_status) return fd;
    int64_t error = status_of(request, static_cast<int>(fd), nullptr, 0);
    if (error == 0) return fd;
    close(static_cast<int>(fd));
    return error;
  });
}

// close(id, rank, fd): 0. See close(2).
void Close(Napi::Env env, uint32_t id, int rank, int fd) {
  Request* request = new_request(env, id);
  dispatch_queue_t queue = queue_of(rank);
  disown(request->environment, fd);
  if (request->environment->channelled.remove(fd)) {
    close_channels(request, fd, queue);
  } else {
    dispatch_async(queue, ^{  // never cancelled
      request->result = result_of(close(fd));
      finish_part(request);
    });
  }
}

// stat(id, rank, path: Buffer, followsLink): 0; value: status. See stat(2), lstat(2).
void Stat(Napi::Env env, uint32_t id, int rank, Bytes path, bool follows_link) {
  int flags = follows_link ? 0 : AT_SYMLINK_NOFOLLOW;
  run(new_request(env, id, path), rank, ^(Request* request) {
    return status_of(request, -1, request->paths[0], flags);
  });
}

// fstat(id, rank, fd): 0; value: status. See fstat(2).
void Fstat(Napi::Env env, uint32_t id, int rank, int fd) {
  run(new_request(env, id), rank, ^(Request* request) {
    return status_of(request, fd, nullptr, 0);
  });
}

// readdir(id, rank, path: Buffer): 0; value: Buffer of entries. See opendir(3), readdir(3).
void Readdir(Napi::Env env, uint32_t id, int rank, Bytes path) {
  run(new_request(env, id, path), rank, ^(Request* request) {
    return read_folder(request, request->paths[0]);
  });
}

// readlink(id, rank, path: Buffer): 0; value: Buffer. See readlink(2).
void Readlink(Napi::Env env, uint32_t id, int rank, Bytes path) {
  run(new_request(env, id, path), rank, ^(Request* request) {
    return read_link(request, request->paths[0]);
  });
}

// rename(id, rank, from: Buffer, to: Buffer): 0. See rename(2).
void Rename(Napi::Env env, uint32_t id, int rank, Bytes from, Bytes to) {
  Request* request = new_request(env, id, from);
  request->paths[1] = copy(to);
  run(request, rank, ^(Request* request) {
    return result_of(rename(request->paths[0], request->paths[1]));
  });
}

// unlink(id, rank, path: Buffer): 0. See unlink(2).
void Unlink(Napi::Env env, uint32_t id, int rank, Bytes path) {
  run(new_request(env, id, path), rank, ^(Request* request) {
    return result_of(unlink(request->paths[0]));
  });
}

// fsync(id, rank, fd, isFull): 0. See fsync(2), which on macOS leaves the bytes in the disk's own cache. F_FULLFSYNC,
// see fcntl(2), brings them out of it.
void Fsync(Napi::Env env, uint32_t id, int rank, int fd, bool is_full) {
  run(new_request(env, id), rank, ^(Request*) {
    return result_of(sync_to_disk(fd, is_full));
  });
}

// ftruncate(id, rank, fd, lengthBytes): 0. See ftruncate(2).
void Ftruncate(Napi::Env env, uint32_t id, int rank, int fd, off_t length) {
  run(new_request(env, id), rank, ^(Request*) {
    return result_of(ftruncate(fd, length));
  });
}

// fchown(id, rank, fd, uid, gid): 0; −1: unchanged. See fchown(2).
void Fchown(Napi::Env env, uint32_t id, int rank, int fd, uid_t uid, gid_t gid) {
  run(new_request(env, id), rank, ^(Request*) {
    return result_of(fchown(fd, uid, gid));
  });
}

// fchmod(id, rank, fd, mode): 0. See fchmod(2).
void Fchmod(Napi::Env env, uint32_t id, int rank, int fd, mode_t mode) {
  run(new_request(env, id), rank, ^(Request*) {
    return result_of(fchmod(fd, mode));
  });
}

Napi::Value value_of(Napi::Env env, const Request* request) {
  if (request->result < 0) return env.Undefined();
  if (request->text != nullptr) return Napi::Buffer<char>::Copy(env, request->text, request->text_bytes);
  if (request->status == nullptr) return env.Undefined();
  const struct stat& status = *request->status;
  const double fields[] = {static_cast<double>(status.st_dev),     static_cast<double>(status.st_mode),
                           static_cast<double>(status.st_nlink),   static_cast<double>(status.st_uid),
                           static_cast<double>(status.st_gid),     static_cast<double>(status.st_rdev),
                           static_cast<double>(status.st_blksize), static_cast<double>(status.st_ino),
                           static_cast<double>(status.st_size),    static_cast<double>(status.st_blocks),
                           milliseconds(accessed(status)),         milliseconds(modified(status)),
                           milliseconds(changed(status)),          request->birth_ms};
  return Napi::Buffer<char>::Copy(env, reinterpret_cast<const char*>(fields), sizeof fields);
}
