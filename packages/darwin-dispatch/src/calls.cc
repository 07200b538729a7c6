// The system calls that have no channel: each is made on a thread of GCD's, of the caller's quality of service.
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

// As dispatch.ts has it: the other end of a FIFO is not there yet.
constexpr int64_t kNoReader = -100000;

int64_t result_of(int64_t returned) { return returned < 0 ? -errno : returned; }

double milliseconds(timespec time) { return time.tv_sec * 1000.0 + time.tv_nsec / 1e6; }

char* copy_path(const Arguments& arguments, int i) {
  void* data = nullptr;
  size_t length = 0;
  napi_get_buffer_info(arguments.env, arguments.values[i], &data, &length);
  char* path = static_cast<char*>(malloc(length + 1));
  if (length > 0) memcpy(path, data, length);
  path[length] = 0;
  return path;
}

napi_value run(const Arguments& arguments, Request* request, int64_t (^call)(Request* request)) {
  dispatch_async(queue_of(arguments.integer(1)), ^{
    bool is_cancelled = __atomic_load_n(&request->is_cancelled, __ATOMIC_RELAXED);
    request->result = is_cancelled ? -ECANCELED : call(request);
    finish_part(request);
  });
  return nullptr;
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

// Without O_NONBLOCK the open of a FIFO would keep its thread until somebody opens the other end.
int64_t open_file(const char* path, int flags, mode_t mode) {
  int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC, mode);
  struct stat status;
  if (fd < 0 && errno == ENXIO && (flags & O_NONBLOCK) == 0)
    return stat(path, &status) == 0 && S_ISFIFO(status.st_mode) ? kNoReader : -ENXIO;
  if (fd < 0) return -errno;
  if ((flags & O_NONBLOCK) == 0) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  return fd;
}

// An entry as the kind's letter and the name with its 0: all of them one behind the other.
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
  Entries entries = {static_cast<char*>(malloc(1)), 0, 1};  // an empty folder has been found too
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

napi_value bytes_of(napi_env env, const void* from, size_t bytes) {
  napi_value result;
  napi_create_buffer_copy(env, bytes, bytes == 0 ? "" : from, nullptr, &result);
  return result;
}

}  // namespace

// open(id, rank, path: Buffer, flags, mode, wantsStatus): fd; value: status
// See open(2), fstat(2).
napi_value Open(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Request* request = new_request(arguments);
  request->paths[0] = copy_path(arguments, 2);
  request->makes_fd = true;
  int flags = static_cast<int>(arguments.integer(3));
  mode_t mode = static_cast<mode_t>(arguments.integer(4));
  bool wants_status = arguments.boolean(5);
  return run(arguments, request, ^int64_t(Request* request) {
    int64_t fd = open_file(request->paths[0], flags, mode);
    if (fd < 0 || !wants_status) return fd;
    int64_t error = status_of(request, static_cast<int>(fd), nullptr, 0);
    if (error == 0) return fd;
    close(static_cast<int>(fd));
    return error;
  });
}

// close(id, rank, fd): 0. See close(2).
napi_value Close(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Request* request = new_request(arguments);
  int fd = static_cast<int>(arguments.integer(2));
  dispatch_queue_t queue = queue_of(arguments.integer(1));
  disown(request->environment, fd);
  if (request->environment->channelled.remove(fd)) {
    close_channels(request, fd, queue);
  } else {
    dispatch_async(queue, ^{  // never cancelled
      request->result = result_of(close(fd));
      finish_part(request);
    });
  }
  return nullptr;
}

// stat(id, rank, path: Buffer, followsLink): 0; value: status. See stat(2), lstat(2).
napi_value Stat(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Request* request = new_request(arguments);
  request->paths[0] = copy_path(arguments, 2);
  int flags = arguments.boolean(3) ? 0 : AT_SYMLINK_NOFOLLOW;
  return run(arguments, request, ^(Request* request) {
    return status_of(request, -1, request->paths[0], flags);
  });
}

// fstat(id, rank, fd): 0; value: status. See fstat(2).
napi_value Fstat(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  int fd = static_cast<int>(arguments.integer(2));
  return run(arguments, new_request(arguments), ^(Request* request) {
    return status_of(request, fd, nullptr, 0);
  });
}

// readdir(id, rank, path: Buffer): 0; value: Buffer of entries. See opendir(3), readdir(3).
napi_value Readdir(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Request* request = new_request(arguments);
  request->paths[0] = copy_path(arguments, 2);
  return run(arguments, request, ^(Request* request) {
    return read_folder(request, request->paths[0]);
  });
}

// readlink(id, rank, path: Buffer): 0; value: Buffer. See readlink(2).
napi_value Readlink(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Request* request = new_request(arguments);
  request->paths[0] = copy_path(arguments, 2);
  return run(arguments, request, ^(Request* request) {
    return read_link(request, request->paths[0]);
  });
}

// rename(id, rank, from: Buffer, to: Buffer): 0. See rename(2).
napi_value Rename(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Request* request = new_request(arguments);
  request->paths[0] = copy_path(arguments, 2);
  request->paths[1] = copy_path(arguments, 3);
  return run(arguments, request, ^(Request* request) {
    return result_of(rename(request->paths[0], request->paths[1]));
  });
}

// unlink(id, rank, path: Buffer): 0. See unlink(2).
napi_value Unlink(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Request* request = new_request(arguments);
  request->paths[0] = copy_path(arguments, 2);
  return run(arguments, request, ^(Request* request) {
    return result_of(unlink(request->paths[0]));
  });
}

// fsync(id, rank, fd, isFull): 0. See fsync(2); on macOS that leaves the bytes in the disk's own cache, and what brings them
// out of it is F_FULLFSYNC, fcntl(2).
napi_value Fsync(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  int fd = static_cast<int>(arguments.integer(2));
  bool is_full = arguments.boolean(3);
  return run(arguments, new_request(arguments), ^(Request*) {
    return result_of(sync_to_disk(fd, is_full));
  });
}

// ftruncate(id, rank, fd, lengthBytes): 0. See ftruncate(2).
napi_value Ftruncate(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  int fd = static_cast<int>(arguments.integer(2));
  off_t length = arguments.integer(3);
  return run(arguments, new_request(arguments), ^(Request*) {
    return result_of(ftruncate(fd, length));
  });
}

// fchown(id, rank, fd, uid, gid): 0; −1 leaves one as it is. See fchown(2).
napi_value Fchown(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  int fd = static_cast<int>(arguments.integer(2));
  uid_t uid = static_cast<uid_t>(arguments.integer(3));
  gid_t gid = static_cast<gid_t>(arguments.integer(4));
  return run(arguments, new_request(arguments), ^(Request*) {
    return result_of(fchown(fd, uid, gid));
  });
}

// fchmod(id, rank, fd, mode): 0. See fchmod(2).
napi_value Fchmod(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  int fd = static_cast<int>(arguments.integer(2));
  mode_t mode = static_cast<mode_t>(arguments.integer(3));
  return run(arguments, new_request(arguments), ^(Request*) {
    return result_of(fchmod(fd, mode));
  });
}

napi_value found(napi_env env, const Request* request) {
  if (request->result < 0) return nullptr;
  if (request->text != nullptr) return bytes_of(env, request->text, request->text_bytes);
  if (request->status == nullptr) return nullptr;
  const struct stat& status = *request->status;
  const double fields[] = {static_cast<double>(status.st_dev),     static_cast<double>(status.st_mode),
                           static_cast<double>(status.st_nlink),   static_cast<double>(status.st_uid),
                           static_cast<double>(status.st_gid),     static_cast<double>(status.st_rdev),
                           static_cast<double>(status.st_blksize), static_cast<double>(status.st_ino),
                           static_cast<double>(status.st_size),    static_cast<double>(status.st_blocks),
                           milliseconds(accessed(status)),         milliseconds(modified(status)),
                           milliseconds(changed(status)),          request->birth_ms};
  return bytes_of(env, fields, sizeof fields);
}
