// An environment and its sockets, as dispatch.cc keeps them: sources.cc moves their bytes, sockets.cc makes the system
// calls that wait for nobody.
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

// What JavaScript is to hear of: key is socket * 4 + Direction.
struct Completion {
  Completion* next;
  int32_t key;
  int32_t result;  // as the system call returns it, or a negative error number
};

// Where a call is made first. On a queue only, it does not wait: −EAGAIN is a result.
enum How { kHere, kOnQueue, kAfterWaiting };

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

struct Environment : kiruna::InstanceData<Environment> {
  static constexpr const char* kName = "KirunaSockets";
  Socket** sockets;  // by id; JavaScript's thread alone looks at them
  int32_t capacity;
  int32_t first_free;      // or one behind which it is
  dispatch_group_t group;  // of sockets: when it is empty, nothing of GCD's touches this any more
  pthread_mutex_t mutex;   // of all that follows
  Completion* first_done;
  Completion* last_done;
  bool is_closing;

  int start();
  bool stop();
};

// In JavaScript 'IPv4', 'IPv6' and 'Unix'.
enum Family { kIPv4 = AF_INET, kIPv6 = AF_INET6, kUnix = AF_UNIX };

template <> inline Socket* kiruna::argument(Napi::Value value) {
  return Environment::of(value.Env())->sockets[argument<int32_t>(value)];
}
template <> Family kiruna::argument(Napi::Value value);

inline int64_t result_of(int64_t returned) { return returned < 0 ? -errno : returned; }

// dispatch.cc

// Of this environment from now on, with its flags and options set. Returns its id.
int32_t adopt(Environment* environment, int fd, int family);

// JavaScript hears of it. On any thread.
void post(Environment* environment, Completion* completion, int64_t result);

// The last one closes the socket. On any thread, and nothing may look at it afterwards.
void release(Socket* socket);

// sources.cc

// Lets go of the sources, and of what waits.
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

// Returns how long the address is, or a negative error number.
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
