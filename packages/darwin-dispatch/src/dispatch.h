// An environment and what it has under way: dispatch.cc keeps them, channels.cc reads and writes, calls.cc makes the
// other system calls.
#pragma once
#include <dispatch/dispatch.h>
#include <kiruna/environment.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/stat.h>
#ifdef __APPLE__
#include <pthread/qos.h>
#else  // The tests run on Linux, over swift-corelibs-libdispatch.
constexpr unsigned QOS_CLASS_USER_INTERACTIVE = 0x21, QOS_CLASS_USER_INITIATED = 0x19, QOS_CLASS_UTILITY = 0x11,
                   QOS_CLASS_BACKGROUND = 0x09;
#endif

using kiruna::Bytes;

struct Environment;

// The owner of a borrowed fd may close it at any moment, and then GCD would never be done with it: so GCD gets a
// duplicate, or the fd itself if no descriptor is free. The same as in native.ts.
enum class FdOwner { kOurs, kBorrowed, kDuplicate };

// A call from JavaScript, until JavaScript has taken its result.
struct Request {
  Environment* environment;
  Request* next;      // of those that are done
  uint32_t id;        // JavaScript's slot
  int unfinished;     // parts of it that GCD still has
  int64_t result;     // as the system call returns it, or a negative errno
  bool is_cancelled;  // set by JavaScript's thread, read by others
  bool makes_fd;      // the result is a new fd
  bool stops_at_first_bytes;
  int fd;                    // what GCD has
  bool owns_fd;              // it is a duplicate, and goes with the request
  dispatch_io_t channel;     // or null
  dispatch_source_t source;  // or null
  bool is_on_disk;
  bool is_borrower;  // has borrowed the flags of its fd, see borrowed.cc
  bool was_blocking;
  dev_t device;
  ino_t inode;
  Request* next_borrower;
  char* memory;  // of JavaScript's, which holds it
  size_t bytes;
  size_t done_bytes;
  char* paths[2];       // malloc'ed, or null
  struct stat* status;  // the same
  double birth_ms;
  char* text;  // the same: a link's text, or a folder's entries
  size_t text_bytes;
};

// A bit for each fd.
struct FdSet {
  uint32_t* words;
  size_t count;

  void add(int fd);
  bool remove(int fd);  // returns whether it was there
};

struct Environment : kiruna::InstanceData<Environment> {
  static constexpr const char* kName = "KirunaDispatch";
  Request** requests;  // by id; JavaScript's thread alone looks at them
  uint32_t capacity;
  FdSet channelled;  // our fds that GCD may have until it has cleaned up; JavaScript's thread alone
  dispatch_group_t
      group;              // of requests, channels and sources: when it is empty, nothing of GCD's touches this any more
  pthread_mutex_t mutex;  // of all that follows
  Request* first_done;
  Request* last_done;
  Request* first_borrower;
  bool is_closing;
  FdSet owned;  // they close with the environment

  int start();
  bool stop();
};

// The global queue with the quality of service of a priority: 0 is realtime, 3 background. See
// dispatch_get_global_queue(3).
dispatch_queue_t queue_of(int rank);

// A new request has one unfinished part.
Request* new_request(napi_env env, uint32_t id);

// Finishes one part of a request. The last one sends it to JavaScript. Called on any thread.
void finish_part(Request* request);

// The environment does not close the fd any more, since it is being closed now.
void disown(Environment* environment, int fd);

// Each call from JavaScript begins with its slot and its rank.

// channels.cc
void Read(Napi::Env env, uint32_t id, int rank, int fd, int64_t address, size_t bytes, off_t position, FdOwner owner,
          bool stops);
void Write(Napi::Env env, uint32_t id, int rank, int fd, int64_t address, size_t bytes, off_t position, FdOwner owner,
           bool has_borrowed_flags);
void Wait(Napi::Env env, uint32_t id, int rank, int fd, FdOwner owner);
bool IsReadable(Napi::Env env, int fd);
// Closes an fd when all its channels are gone; then the request is finished.
void close_channels(Request* request, int fd, dispatch_queue_t queue);

// borrowed.cc
// GCD is about to get a borrowed fd that is not a file's. Called on JavaScript's thread.
void begin_borrowing(Request* request);
// GCD has cleaned up. Called on any thread.
void end_borrowing(Request* request);

// calls.cc
void Open(Napi::Env env, uint32_t id, int rank, Bytes path, int flags, mode_t mode, bool wants_status);
void Close(Napi::Env env, uint32_t id, int rank, int fd);
void Stat(Napi::Env env, uint32_t id, int rank, Bytes path, bool follows_link);
void Fstat(Napi::Env env, uint32_t id, int rank, int fd);
void Readdir(Napi::Env env, uint32_t id, int rank, Bytes path);
void Readlink(Napi::Env env, uint32_t id, int rank, Bytes path);
void Rename(Napi::Env env, uint32_t id, int rank, Bytes from, Bytes to);
void Unlink(Napi::Env env, uint32_t id, int rank, Bytes path);
void Fsync(Napi::Env env, uint32_t id, int rank, int fd, bool is_full);
void Ftruncate(Napi::Env env, uint32_t id, int rank, int fd, off_t length);
void Fchown(Napi::Env env, uint32_t id, int rank, int fd, uid_t uid, gid_t gid);
void Fchmod(Napi::Env env, uint32_t id, int rank, int fd, mode_t mode);
// The value of a request, beside its result.
Napi::Value value_of(Napi::Env env, const Request* request);
