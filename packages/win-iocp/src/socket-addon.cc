// The functions that native.ts declares for sockets. `take` returns the results of the first ones, as for addon.cc; the
// others are done at once, and return 0, or what their comment says, or a negative errno.
#include "iocp.h"

#include <afunix.h>
#include <stdlib.h>
#include <string.h>
#include <ws2tcpip.h>

namespace {

constexpr uint32_t kMostBuffers = 64;

int error_now() { return uv_translate_sys_error(WSAGetLastError()); }

int result_of(int result) { return result == SOCKET_ERROR ? error_now() : result; }

int write_address(int family, Text text, int port, sockaddr_storage* address) {
  memset(address, 0, sizeof *address);
  switch (family) {
  case AF_INET:
    return uv_ip4_addr(text.data, port, reinterpret_cast<sockaddr_in*>(address));
  case AF_INET6:
    return uv_ip6_addr(text.data, port, reinterpret_cast<sockaddr_in6*>(address));
  default: {
    auto* path = reinterpret_cast<sockaddr_un*>(address);
    path->sun_family = AF_UNIX;
    memcpy(path->sun_path, text.data, sizeof path->sun_path);
    return 0;
  }
  }
}

// An address for JavaScript: [family, address or path, port].
Napi::Array read_address(Napi::Env env, const sockaddr_storage* address) {
  char text[sizeof(sockaddr_un::sun_path) + 1] = {};
  uint16_t port = 0;
  if (address->ss_family == AF_UNIX) {
    memcpy(text, reinterpret_cast<const sockaddr_un*>(address)->sun_path, sizeof(sockaddr_un::sun_path));
  } else {
    uv_ip_name(reinterpret_cast<const sockaddr*>(address), text, sizeof text);
    port = ntohs(reinterpret_cast<const sockaddr_in*>(address)->sin_port);  // both families have it there
  }
  Napi::Array triple = Napi::Array::New(env, 3);
  triple.Set(0u, address->ss_family);
  triple.Set(1u, text);
  triple.Set(2u, port);
  return triple;
}

Operation* new_operation(napi_env env, uint32_t slot, int rank, SOCKET socket, DWORD (*call)(Operation*)) {
  Operation* operation = operation_at(Environment::of(env), slot, rank);
  operation->call = call;
  operation->socket = socket;
  return operation;
}

// acceptSocket(slot, rank, listener, socket)
void Accept(Napi::Env env, uint32_t slot, int rank, Socket listener, Socket socket) {
  Operation* operation = new_operation(env, slot, rank, listener, accept);
  operation->accept_with = socket;
  begin_here(operation);
}

// Gives an address to the operation, which frees it.
void take_address(Operation* operation, int family, Text text, int port) {
  operation->addresses = malloc(sizeof(sockaddr_storage));
  write_address(family, text, port, static_cast<sockaddr_storage*>(operation->addresses));
}

// connectSocket(slot, rank, socket, family, address, port)
void Connect(Napi::Env env, uint32_t slot, int rank, Socket socket, int family, Text address, int port) {
  bool is_unix = family == AF_UNIX;
  Operation* operation = new_operation(env, slot, rank, socket, is_unix ? connect_unix : connect_inet);
  take_address(operation, family, address, port);
  if (is_unix)
    begin_in_pool(operation);
  else
    begin_here(operation);
}

// waitToReceive(slot, rank, socket)
void WaitToReceive(Napi::Env env, uint32_t slot, int rank, Socket socket) {
  begin_here(new_operation(env, slot, rank, socket, wait_to_receive));
}

// waitToSend(slot, rank, socket, byte)
void WaitToSend(Napi::Env env, uint32_t slot, int rank, Socket socket, char byte) {
  Operation* operation = new_operation(env, slot, rank, socket, wait_to_send);
  operation->byte = byte;
  begin_here(operation);
}

// receiveFrom(slot, rank, socket, bytes, sender)
void ReceiveFrom(Napi::Env env, uint32_t slot, int rank, Socket socket, Bytes bytes, Bytes sender) {
  Operation* operation = new_operation(env, slot, rank, socket, receive_from);
  take_memory(operation, bytes);
  operation->sender = reinterpret_cast<Sender*>(sender.data);
  begin_here(operation);
}

// sendTo(slot, rank, socket, bytes, family, address, port)
void SendTo(Napi::Env env, uint32_t slot, int rank, Socket socket, Bytes bytes, int family, Text address, int port) {
  Operation* operation = new_operation(env, slot, rank, socket, send_to);
  take_memory(operation, bytes);
  take_address(operation, family, address, port);
  begin_here(operation);
}

// openSocket(family, type, isToAccept): a socket's number
double Open(Napi::Env env, int family, int type, bool is_to_accept) {
  uint32_t socket = 0;
  int error = open_socket(Environment::of(env), family, type, is_to_accept, &socket);
  return error < 0 ? error : static_cast<double>(socket);
}

// bindSocket(socket, family, address, port)
int Bind(Napi::Env, Socket socket, int family, Text text, int port) {
  sockaddr_storage address;
  int error = write_address(family, text, port, &address);
  if (error != 0) return error;
  return result_of(bind(socket, reinterpret_cast<sockaddr*>(&address), length_of(&address)));
}

// listenSocket(socket, backlog)
int Listen(Napi::Env, Socket socket, int backlog) { return result_of(listen(socket, backlog)); }

// accepted(socket, listener)
int Accepted(Napi::Env env, Socket socket, Socket listener) { return accepted(Environment::of(env), socket, listener); }

// connected(socket)
int Connected(Napi::Env, Socket socket) { return connected(socket); }

// receive(socket, memory): bytes, 0 at the end
int Receive(Napi::Env, Socket socket, Bytes memory) {
  return result_of(recv(socket, memory.data, static_cast<int>(memory.length), 0));
}

// send(socket, buffers: Uint8Array[]): bytes, perhaps fewer
// https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasend
double Send(Napi::Env, Socket socket, Napi::Array given) {
  WSABUF buffers[kMostBuffers];
  uint32_t count = given.Length() < kMostBuffers ? given.Length() : kMostBuffers;
  for (uint32_t i = 0; i < count; i++) {
    Bytes bytes = kiruna::argument<Bytes>(given.Get(i));
    buffers[i] = {static_cast<ULONG>(bytes.length), bytes.data};
  }
  DWORD sent = 0;
  int result = WSASend(socket, buffers, count, &sent, 0, nullptr, nullptr);
  return result == 0 ? static_cast<double>(sent) : error_now();
}

// shutdownSocket(socket): ends the writing side
int Shutdown(Napi::Env, Socket socket) { return result_of(shutdown(socket, SD_SEND)); }

// closeSocket(socket): from now on the number may be another socket's.
int Close(Napi::Env env, uint32_t number) { return close_socket(Environment::of(env), number); }

// setOption(socket, level, name, value: number | Uint8Array)
int SetOption(Napi::Env, Socket socket, int level, int name, Napi::Value value) {
  DWORD word = 0;
  Bytes bytes = {reinterpret_cast<char*>(&word), sizeof word};
  if (value.IsNumber())
    word = kiruna::argument<DWORD>(value);
  else
    bytes = kiruna::argument<Bytes>(value);
  return result_of(setsockopt(socket, level, name, bytes.data, static_cast<int>(bytes.length)));
}

// socketName(socket, isPeer): [family, address or path, port]
Napi::Value Name(Napi::Env env, Socket socket, bool is_peer) {
  sockaddr_storage address = {};
  int length = sizeof address;
  int result = (is_peer ? getpeername : getsockname)(socket, reinterpret_cast<sockaddr*>(&address), &length);
  if (result != 0) return Napi::Value::From(env, error_now());
  return read_address(env, &address);
}

// senderOf(sender): [family, address, port]
Napi::Array SenderOf(Napi::Env env, Bytes sender) {
  return read_address(env, &reinterpret_cast<Sender*>(sender.data)->address);
}

// addressBytes(family, address): an in_addr, or an in6_addr followed by the number after its '%'
Napi::Value AddressBytes(Napi::Env env, int family, Text text) {
  sockaddr_storage address;
  write_address(family, text, 0, &address);
  const auto* ipv4 = reinterpret_cast<const sockaddr_in*>(&address);
  const auto* ipv6 = reinterpret_cast<const sockaddr_in6*>(&address);
  char bytes[sizeof ipv6->sin6_addr + sizeof ipv6->sin6_scope_id];
  size_t length = address.ss_family == AF_INET ? sizeof ipv4->sin_addr : sizeof bytes;
  if (address.ss_family == AF_INET)
    memcpy(bytes, &ipv4->sin_addr, length);
  else {
    memcpy(bytes, &ipv6->sin6_addr, sizeof ipv6->sin6_addr);
    memcpy(bytes + sizeof ipv6->sin6_addr, &ipv6->sin6_scope_id, sizeof ipv6->sin6_scope_id);
  }
  return Napi::Buffer<char>::Copy(env, bytes, length);
}

}  // namespace

void add_socket_methods(Napi::Object exports) {
  using kiruna::method;
  kiruna::add_methods(exports, {{"acceptSocket", method<Accept>},
                                {"connectSocket", method<Connect>},
                                {"waitToReceive", method<WaitToReceive>},
                                {"waitToSend", method<WaitToSend>},
                                {"receiveFrom", method<ReceiveFrom>},
                                {"sendTo", method<SendTo>},
                                {"openSocket", method<Open>},
                                {"bindSocket", method<Bind>},
                                {"listenSocket", method<Listen>},
                                {"accepted", method<Accepted>},
                                {"connected", method<Connected>},
                                {"receive", method<Receive>},
                                {"send", method<Send>},
                                {"shutdownSocket", method<Shutdown>},
                                {"closeSocket", method<Close>},
                                {"setOption", method<SetOption>},
                                {"socketName", method<Name>},
                                {"senderOf", method<SenderOf>},
                                {"addressBytes", method<AddressBytes>}});
}
