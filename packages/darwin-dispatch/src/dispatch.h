// An environment and what it has under way, as dispatch.cc keeps them: channels.cc reads and writes, calls.cc makes the
// other system calls.
#pragma once
#include <dispatch/dispatch.h>
#include <node_api.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/stat.h>
#include <uv.h>
#ifdef __APPLE__
#include <pthread/qos.h>
#else  // The tests run on Linux, over swift-corelibs-libdispatch.
constexpr unsigned QOS_CLASS_USER_INTERACTIVE = 0x21, QOS_CLASS_USER_INITIATED = 0x19, QOS_CLASS_UTILITY = 0x11,
                   QOS_CLASS_BACKGROUND = 0x09;
#endif

struct Environment;

// One call of JavaScript's, until JavaScript has taken its result.
struct Request {
  Environment* environment;
  Request* next;      // of those that are done
  uint32_t id;        // JavaScript's slot
  int unfinished;     // parts of it that GCD still has
  int64_t result;     // as the system call returns it, or a negative error number
  bool is_cancelled;  // set by JavaScript's thread, read by others
  bool makes_fd;      // the result is a new fd
  bool stops_at_first_bytes;
  int fd;                    // what GCD has
  bool owns_fd;              // it is a duplicate, and goes with the request
  dispatch_io_t channel;     // or null
  dispatch_source_t source;  // or null
  bool is_on_disk;
  bool is_borrower;  // of the flags of its fd, as borrowed.cc has it
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

struct Environment {  // one for each: a worker loads the addon again
  napi_env env;
  napi_ref on_ready;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;
  uv_async_t wake;
  bool is_main_thread;
  Request** requests;  // by id; JavaScript's thread alone looks at them
  uint32_t capacity;
  FdSet channelled;  // of ours that GCD has, perhaps, until it has cleaned up; JavaScript's thread alone
  dispatch_group_t
      group;              // of requests, channels and sources: when it is empty, nothing of GCD's touches this any more
  pthread_mutex_t mutex;  // of all that follows
  Request* first_done;
  Request* last_done;
  Request* first_borrower;
  bool is_closing;
  FdSet owned;  // they close with the environment
};

// The arguments of a function. All begin with (id, rank).
struct Arguments {
  napi_env env;
  napi_value values[8];
  size_t count = 8;

  Arguments(napi_env env, napi_callback_info info) : env(env) {
    napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  }
  int64_t integer(int i) const {
    int64_t value = 0;
    napi_get_value_int64(env, values[i], &value);
    return value;
  }
  bool boolean(int i) const {
    bool value = false;
    napi_get_value_bool(env, values[i], &value);
    return value;
  }
};

inline napi_value number(napi_env env, int64_t value) {
  napi_value result;
  napi_create_int64(env, value, &result);
  return result;
}

// Whose threads have the quality of service of a priority: realtime is 0, background 3. See dispatch_get_global_queue(3).
dispatch_queue_t queue_of(int64_t rank);

// Of these arguments, with one part unfinished.
Request* new_request(const Arguments& arguments);

// One part of it is finished; the last one sends it to JavaScript. On any thread.
void finish_part(Request* request);

// Not to be closed with the environment any more: somebody closes it now.
void disown(Environment* environment, int fd);

// channels.cc
napi_value Read(napi_env env, napi_callback_info info);
napi_value Write(napi_env env, napi_callback_info info);
napi_value Wait(napi_env env, napi_callback_info info);
// Closes an fd when all channels that it had are gone; then the request is finished.
void close_channels(Request* request, int fd, dispatch_queue_t queue);

napi_value IsReadable(napi_env env, napi_callback_info info);

// borrowed.cc
// GCD is about to have a borrowed fd that is not a file's. On JavaScript's thread.
void begin_borrowing(Request* request);
// GCD has cleaned up. On any thread.
void end_borrowing(Request* request);

// calls.cc
napi_value Open(napi_env env, napi_callback_info info);
napi_value Close(napi_env env, napi_callback_info info);
napi_value Stat(napi_env env, napi_callback_info info);
napi_value Fstat(napi_env env, napi_callback_info info);
napi_value Readdir(napi_env env, napi_callback_info info);
napi_value Readlink(napi_env env, napi_callback_info info);
napi_value Rename(napi_env env, napi_callback_info info);
napi_value Unlink(napi_env env, napi_callback_info info);
napi_value Fsync(napi_env env, napi_callback_info info);
napi_value Ftruncate(napi_env env, napi_callback_info info);
napi_value Fchown(napi_env env, napi_callback_info info);
napi_value Fchmod(napi_env env, napi_callback_info info);
// What a request has found, as JavaScript takes it; null for nothing.
napi_value found(napi_env env, const Request* request);
