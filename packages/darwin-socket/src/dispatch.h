// An environment and its sockets: dispatch.cc keeps them, sources.cc moves their bytes, sockets.cc makes the system
// calls that do not wait.
#pragma once
#include <dispatch/dispatch.h>
#include <errno.h>
#include <kiruna/environment.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>
#ifdef __APPLE__
#include <pthread/qos.h>
constexpr int kSendFlags = 0;  // SO_NOSIGPIPE does it
#else                          // The tests run on Linux, over swift-corelibs-libdispatch.
constexpr int kSendFlags = MSG_NOSIGNAL;
constexpr unsigned QOS_CLASS_USER_INTERACTIVE = 0x21, QOS_CLASS_USER_INITIATED = 0x19, QOS_CLASS_UTILITY = 0x11,
                   QOS_CLASS_BACKGROUND = 0x09;
#endif

using kiruna::Bytes;
using kiruna::Text;

struct Environment;
struct Socket;

// A result for JavaScript: key is socket * 4 + Direction.
struct Completion {
  Completion* next;
  int32_t key;
  int32_t result;  // as the system call returns it, or a negative errno
};

// Where a call is made first. With kOnQueue it does not wait: −EAGAIN is a result.
enum How { kHere, kOnQueue, kAfterWaiting };

enum Direction { kRead, kWrite, kClosed };

enum class Call : uint8_t { kNone, kWait, kReceive, kReceiveFrom, kAccept, kConnect, kSend, kSendTo };

// One direction of a socket: at most one call at a time, and a source once a call has had to wait.
struct Half {
  Completion completion;
  Socket* socket;
  Call call;
  bool waits;     // for the source, if the call says EAGAIN
  bool is_armed;  // the source is not suspended: there is a call that waits for it
  uint8_t rank;
  int count;                 // of buffers
  dispatch_source_t source;  // or null
  iovec* buffers;            // malloc'ed; what they point to is JavaScript's, which holds it
  iovec one;                 // where it is only one
  sockaddr_storage* peer;    // malloc'ed: the datagram's receiver, or the last one's sender
};

struct Socket {
  Environment* environment;
  int32_t id;
  int fd;
  int family;
  int uses;  // its own, and one for each source and block that may still use it. The last one closes it
  bool is_closing;
  pthread_mutex_t mutex;  // of what follows. No call under it waits
  Half halves[2];
  Completion closed;
  int* accepted;  // malloc'ed: fds that JavaScript has not taken yet
  int accepted_count;
};

struct Environment : kiruna::InstanceData<Environment> {
  static constexpr const char* kName = "KirunaSockets";
  Socket** sockets;  // by id; JavaScript's thread alone looks at them
  int32_t capacity;
  int32_t first_free;      // or a number below it
  dispatch_group_t group;  // of sockets: when it is empty, GCD does not use this any more
  pthread_mutex_t mutex;   // of all that follows
  Completion* first_done;
  Completion* last_done;
  bool is_closing;

  int start();
  bool stop();
};

// 'IPv4', 'IPv6' and 'Unix' in JavaScript.
enum Family { kIPv4 = AF_INET, kIPv6 = AF_INET6, kUnix = AF_UNIX };

template <> inline Socket* kiruna::argument(Napi::Value value) {
  return Environment::of(value.Env())->sockets[argument<int32_t>(value)];
}
template <> Family kiruna::argument(Napi::Value value);

inline int64_t result_of(int64_t returned) { return returned < 0 ? -errno : returned; }

// dispatch.cc

// Makes a socket of this environment from an fd, and sets its flags and options. Returns its id.
int32_t adopt(Environment* environment, int fd, int family);

// Gives a result to JavaScript. Called on any thread.
void post(Environment* environment, Completion* completion, int64_t result);

// Releases a use. The last one closes the socket. Called on any thread, which must not use the socket afterwards.
void release(Socket* socket);

// sources.cc

// Drops the sources and the calls that wait.
void stop(Socket* socket);
Napi::Value Wait(Napi::Env env, Socket* socket, uint8_t rank);
Napi::Value Receive(Napi::Env env, Socket* socket, uint8_t rank, Bytes memory, How how);
Napi::Value ReceiveFrom(Napi::Env env, Socket* socket, uint8_t rank, Bytes memory);
Napi::Value Send(Napi::Env env, Socket* socket, uint8_t rank, Napi::Array buffers, How how);
Napi::Value SendTo(Napi::Env env, Socket* socket, uint8_t rank, Bytes bytes, Family family, Text address, int port);
Napi::Value Accept(Napi::Env env, Socket* socket, uint8_t rank);
Napi::Array Accepted(Napi::Env env, Socket* socket);
Napi::Value Connect(Napi::Env env, Socket* socket, uint8_t rank, Family family, Text address, int port);
bool Cancel(Napi::Env env, Socket* socket, Direction direction);
void SetRank(Napi::Env env, Socket* socket, Direction direction, uint8_t rank);
void Hurry(Napi::Env env, Socket* socket);

// sockets.cc

// Returns the length of the address, or a negative errno.
int64_t write_address(Family family, Text text, int port, sockaddr_storage* address);
int64_t OpenSocket(Napi::Env env, Family family, bool is_datagram);
int64_t Bind(Napi::Env env, Socket* socket, Family family, Text address, int port);
int64_t Listen(Napi::Env env, Socket* socket, int backlog);
int64_t Shutdown(Napi::Env env, Socket* socket);
Napi::Value Name(Napi::Env env, Socket* socket, bool of_peer);
Napi::Value Sender(Napi::Env env, Socket* socket);
int Setsockopt(Napi::Env env, Socket* socket, uint32_t option, int value);
int ChangeMembership(Napi::Env env, Socket* socket, bool is_joining, Family family, Text group, Text at);
int SetInterface(Napi::Env env, Socket* socket, Family family, Text address);
