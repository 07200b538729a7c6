// An environment and its sockets, as dispatch.cc keeps them: sources.cc moves their bytes, sockets.cc makes the system
// calls that wait for nobody.
#pragma once
#include <dispatch/dispatch.h>
#include <errno.h>
#include <node_api.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <uv.h>
#ifdef __APPLE__
#include <pthread/qos.h>
constexpr int kSendFlags = 0;  // SO_NOSIGPIPE does it
#else                          // The tests run on Linux, over swift-corelibs-libdispatch.
constexpr int kSendFlags = MSG_NOSIGNAL;
constexpr unsigned QOS_CLASS_USER_INTERACTIVE = 0x21, QOS_CLASS_USER_INITIATED = 0x19, QOS_CLASS_UTILITY = 0x11,
                   QOS_CLASS_BACKGROUND = 0x09;
#endif

struct Environment;
struct Socket;

// What JavaScript is to hear of: key is socket * 4 + Direction.
struct Completion {
  Completion* next;
  int32_t key;
  int32_t result;  // as the system call returns it, or a negative error number
};

enum Direction { kRead, kWrite, kClosed };

enum class Call : uint8_t { kNone, kWait, kReceive, kReceiveFrom, kAccept, kConnect, kSend, kSendTo };

// One direction of a socket: at most one call at a time, and a source once one has had to wait.
struct Half {
  Completion completion;
  Socket* socket;
  Call call;
  bool waits;     // where there is nothing to be had, for the source
  bool is_armed;  // the source is not suspended: there is a call that waits for it
  uint8_t rank;
  int count;                 // of buffers
  dispatch_source_t source;  // or null
  iovec* buffers;            // malloc'ed; what they point to is JavaScript's, which holds it
  iovec one;                 // where it is only one
  sockaddr_storage* peer;    // malloc'ed: to whom the datagram goes, or from whom the last one has come
};

struct Socket {
  Environment* environment;
  int32_t id;
  int fd;
  int family;
  int uses;  // its own, and of each source and block that may still look at it. The last one closes it
  bool is_closing;
  pthread_mutex_t mutex;  // of what follows. No call under it waits
  Half halves[2];
  Completion closed;
  int* accepted;  // malloc'ed: fds that JavaScript has not taken yet
  int accepted_count;
};

struct Environment {  // one for each: a worker loads the addon again
  napi_env env;
  napi_ref on_ready;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;
  uv_async_t wake;
  bool is_main_thread;
  Socket** sockets;  // by id; JavaScript's thread alone looks at them
  int32_t capacity;
  int32_t first_free;      // or one behind which it is
  dispatch_group_t group;  // of sockets: when it is empty, nothing of GCD's touches this any more
  pthread_mutex_t mutex;   // of all that follows
  Completion* first_done;
  Completion* last_done;
  bool is_closing;
};

struct Arguments {
  napi_env env;
  napi_value values[8];
  size_t count = 8;

  Arguments(napi_env env, napi_callback_info info) : env(env) {
    napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  }
  int32_t integer(int i) const {
    int32_t value = 0;
    napi_get_value_int32(env, values[i], &value);
    return value;
  }
  bool boolean(int i) const {
    bool value = false;
    napi_get_value_bool(env, values[i], &value);
    return value;
  }
  // Returns how long it is; 0 is at its end.
  size_t string(int i, char* into, size_t capacity) const {
    size_t length = 0;
    napi_get_value_string_utf8(env, values[i], into, capacity, &length);
    return length;
  }
  iovec bytes(int i) const { return bytes(values[i]); }
  iovec bytes(napi_value value) const {
    iovec found = {};
    napi_get_typedarray_info(env, value, nullptr, &found.iov_len, &found.iov_base, nullptr, nullptr);
    return found;
  }
};

inline napi_value number(napi_env env, int64_t value) {
  napi_value result;
  napi_create_int64(env, value, &result);
  return result;
}

inline int64_t result_of(int64_t returned) { return returned < 0 ? -errno : returned; }

// dispatch.cc

Environment* environment_of(napi_env env);

// The socket that the first argument names.
Socket* socket_of(const Arguments& arguments);

// Of this environment from now on, with its flags and options set. Returns its id.
int32_t adopt(Environment* environment, int fd, int family);

// JavaScript hears of it. On any thread.
void post(Environment* environment, Completion* completion, int64_t result);

// The last one closes the socket. On any thread, and nothing may look at it afterwards.
void release(Socket* socket);

// sources.cc

// Lets go of the sources, and of what waits.
void stop(Socket* socket);
napi_value Wait(napi_env env, napi_callback_info info);
napi_value Receive(napi_env env, napi_callback_info info);
napi_value ReceiveFrom(napi_env env, napi_callback_info info);
napi_value Send(napi_env env, napi_callback_info info);
napi_value SendTo(napi_env env, napi_callback_info info);
napi_value Accept(napi_env env, napi_callback_info info);
napi_value Accepted(napi_env env, napi_callback_info info);
napi_value Connect(napi_env env, napi_callback_info info);
napi_value Cancel(napi_env env, napi_callback_info info);
napi_value SetRank(napi_env env, napi_callback_info info);
napi_value Hurry(napi_env env, napi_callback_info info);

// sockets.cc

// The address that three arguments say: family ('IPv4', 'IPv6', 'Unix'), address or path, port. Returns how long it is,
// or a negative error number.
int64_t address_of(const Arguments& arguments, int first, sockaddr_storage* address);
// The other way round; undefined where it is none.
napi_value address_value(napi_env env, const sockaddr_storage* address, size_t length);
napi_value OpenSocket(napi_env env, napi_callback_info info);
napi_value Bind(napi_env env, napi_callback_info info);
napi_value Listen(napi_env env, napi_callback_info info);
napi_value Shutdown(napi_env env, napi_callback_info info);
napi_value Name(napi_env env, napi_callback_info info);
napi_value Sender(napi_env env, napi_callback_info info);
napi_value Setsockopt(napi_env env, napi_callback_info info);
napi_value ChangeMembership(napi_env env, napi_callback_info info);
napi_value SetInterface(napi_env env, napi_callback_info info);
