// The completion port: iocp.cc runs it, calls.cc, streams.cc and sockets.cc make the system calls.
#pragma once
#include <winsock2.h>  // before windows.h

#include <kiruna/environment.h>
#include <mswsock.h>
#include <windows.h>

#include <atomic>

using kiruna::Bytes;
using kiruna::Text;

struct Environment;
struct Operation;

struct Sender {
  sockaddr_storage address;
  int length;
};

struct File {
  HANDLE handle;
  DWORD type;    // FILE_TYPE_DISK, FILE_TYPE_PIPE, FILE_TYPE_CHAR
  DWORD access;  // as it was opened, to open it once more
  DWORD flags;
  bool is_on_port;        // consoles and other devices are not
  std::atomic<int> hint;  // the IoPriorityHint that it has
};

// One for each slot of iocp.ts. It is used again, and not freed while the environment lives: a thread that has begun a
// call may use it a moment after JavaScript has the completion.
struct Operation {
  OVERLAPPED overlapped;
  Environment* environment;
  Operation* next;
  uint32_t slot;
  int rank;
  DWORD (*call)(Operation*);  // returns ERROR_IO_PENDING if a completion follows at the port, or a result
  bool opens;                 // its result is a new file
  bool reads;
  bool waits;  // for a peer, on a thread
  std::atomic<bool> is_in_flight;
  std::atomic<bool> is_cancelled;
  HANDLE thread;  // that may be waiting in its call; under the environment's lock
  File* file;
  SOCKET socket;       // INVALID_SOCKET: of a file
  SOCKET accept_with;  // the socket of the new connection
  HANDLE handle;
  void* memory;
  DWORD length;
  int64_t position;
  wchar_t* path;
  wchar_t* target;
  void* addresses;  // that a socket's call reads or writes
  Sender* sender;   // of a datagram: JavaScript's memory
  char byte;        // that waits to be sent
  DWORD access, disposition, flags;
  DWORD error, bytes;
};

struct Environment : kiruna::InstanceData<Environment> {
  static constexpr const char* kName = "KirunaIocp";
  HANDLE port;
  HANDLE thread;
  HANDLE drained;  // an event: nothing is in flight any more
  PTP_CLEANUP_GROUP group;
  TP_CALLBACK_ENVIRON callbacks[4];  // of high, normal and low priority, and for calls that wait for a peer
  SRWLOCK lock;                      // for what follows
  Operation* first_done;
  Operation* last_done;
  bool is_over;
  std::atomic<int> in_flight;
  // JavaScript's thread only.
  Operation** operations;
  uint32_t operation_count;
  File** files;
  uint32_t file_count;
  SOCKET* sockets;  // by number; INVALID_SOCKET: it is free
  uint32_t socket_count;
  uint32_t free_socket;  // none below is
  LPFN_ACCEPTEX accept_ex;
  LPFN_CONNECTEX connect_ex;

  int start();
  bool stop();
};

// The completion key of sockets.
constexpr ULONG_PTR kSocket = 2;

// iocp.cc
Operation* operation_at(Environment* environment, uint32_t slot, int rank);
void begin_here(Operation* operation);
void begin_in_pool(Operation* operation);
bool cancel(Operation* operation);
uint32_t take(Environment* environment, double* pairs, uint32_t most);
File* file_at(Environment* environment, uint32_t index);
HANDLE give_up(Environment* environment, uint32_t index);

// calls.cc: each is one system call.
DWORD create_file(Operation* operation);
DWORD read_file(Operation* operation);
DWORD write_file(Operation* operation);
DWORD flush_file_buffers(Operation* operation);
DWORD get_file_size(Operation* operation);
DWORD set_end_of_file(Operation* operation);
DWORD move_file(Operation* operation);
DWORD close_handle(Operation* operation);
int reopen(File* file);

// streams.cc: for handles that are not on our port, the calling thread waits.
DWORD read_where_it_stands(Operation* operation);
DWORD write_where_it_stands(Operation* operation);

// sockets.cc: as in calls.cc; and calls that are made at once, which return 0 or a negative errno.
DWORD accept(Operation* operation);
DWORD connect_inet(Operation* operation);
DWORD connect_unix(Operation* operation);
DWORD wait_to_receive(Operation* operation);
DWORD wait_to_send(Operation* operation);
DWORD receive_from(Operation* operation);
DWORD send_to(Operation* operation);
int open_socket(Environment* environment, int family, int type, bool is_to_accept, uint32_t* number);
int accepted(Environment* environment, SOCKET socket, SOCKET listener);
int connected(SOCKET socket);
int close_socket(Environment* environment, uint32_t number);
void close_sockets(Environment* environment);
int length_of(const void* address);

// socket-addon.cc
void add_socket_methods(Napi::Object exports);

inline void take_memory(Operation* operation, Bytes bytes) {
  operation->memory = bytes.data;
  operation->length = static_cast<DWORD>(bytes.length);
}

// Files and sockets have numbers in JavaScript.
template <> inline File* kiruna::argument(Napi::Value value) {
  return file_at(Environment::of(value.Env()), argument<uint32_t>(value));
}

struct Socket {
  SOCKET handle;
  operator SOCKET() const { return handle; }
};

template <> inline Socket kiruna::argument(Napi::Value value) {
  Environment* environment = Environment::of(value.Env());
  uint32_t number = argument<uint32_t>(value);
  return {number < environment->socket_count ? environment->sockets[number] : INVALID_SOCKET};
}
