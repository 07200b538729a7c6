// The system calls of sockets. To wait for the peer, an overlapped call completes at the port: a receive of no bytes, a
// send of one. Transfers are made at once on JavaScript's thread, and do not wait, since the sockets are non-blocking.
#include "iocp.h"

#include <afunix.h>
#include <mstcpip.h>
#include <stdlib.h>
#include <ws2tcpip.h>

namespace {

// AcceptEx needs room for both addresses, with 16 bytes more for each.
constexpr DWORD kAddressBytes = sizeof(sockaddr_storage) + 16;

// Calls that are done at once also complete at the port, and so do those that end with a warning
// (STATUS_BUFFER_OVERFLOW: WSAEMSGSIZE), which the call returns as an error.
DWORD outcome(const Operation* operation, bool is_done) {
  const auto status = static_cast<DWORD>(operation->overlapped.Internal);
  const bool is_warning = status >> 30 == 2;
  return is_done || is_warning ? static_cast<DWORD>(WSA_IO_PENDING) : static_cast<DWORD>(WSAGetLastError());
}

int error_now() { return uv_translate_sys_error(WSAGetLastError()); }

bool load(Environment* environment, SOCKET socket) {
  if (environment->connect_ex != nullptr) return true;
  GUID accept = WSAID_ACCEPTEX, connect = WSAID_CONNECTEX;
  DWORD bytes;
  auto look_up = [&](GUID* guid, auto* function) {
    return WSAIoctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, guid, sizeof *guid, function, sizeof *function, &bytes,
                    nullptr, nullptr) == 0;
  };
  return look_up(&accept, &environment->accept_ex) && look_up(&connect, &environment->connect_ex);
}

bool put_on_port(Environment* environment, SOCKET socket) {
  return CreateIoCompletionPort(reinterpret_cast<HANDLE>(socket), environment->port, kSocket, 0) != nullptr;
}

bool set_non_blocking(SOCKET socket) {
  u_long on = 1;
  return ioctlsocket(socket, FIONBIO, &on) == 0;
}

// Otherwise an ICMP answer that an earlier datagram had no receiver would be an error of the next receive.
void let_unreachable_pass(SOCKET socket) {
  BOOL tells = FALSE;
  DWORD bytes;
  WSAIoctl(socket, SIO_UDP_CONNRESET, &tells, sizeof tells, nullptr, 0, &bytes, nullptr, nullptr);
}

bool is_loopback(const void* address) {
  if (static_cast<const sockaddr*>(address)->sa_family == AF_INET)
    return static_cast<const sockaddr_in*>(address)->sin_addr.S_un.S_un_b.s_b1 == 127;
  return IN6_IS_ADDR_LOOPBACK(&static_cast<const sockaddr_in6*>(address)->sin6_addr);
}

// A connect to a port of this machine where nobody listens is refused at once, not after two more attempts in a second
// or two.
void do_not_retry(SOCKET socket) {
  struct {  // TCP_INITIAL_RTO_PARAMETERS, whose name libuv's headers hide
    USHORT rtt;
    UCHAR most_syn_retransmissions;
  } parameters = {TCP_INITIAL_RTO_UNSPECIFIED_RTT, TCP_INITIAL_RTO_NO_SYN_RETRANSMISSIONS};
  DWORD bytes;
  WSAIoctl(socket, SIO_TCP_INITIAL_RTO, &parameters, sizeof parameters, nullptr, 0, &bytes, nullptr, nullptr);
}

// The lowest free number, as for file descriptors.
uint32_t number_for(Environment* environment, SOCKET socket) {
  uint32_t number = environment->free_socket;
  while (number < environment->socket_count && environment->sockets[number] != INVALID_SOCKET) number++;
  if (number == environment->socket_count) {
    uint32_t count = number == 0 ? 64 : number * 2;
    environment->sockets = static_cast<SOCKET*>(realloc(environment->sockets, count * sizeof(SOCKET)));
    for (uint32_t i = number; i < count; i++) environment->sockets[i] = INVALID_SOCKET;
    environment->socket_count = count;
  }
  environment->sockets[number] = socket;
  environment->free_socket = number + 1;
  return number;
}

}  // namespace

// https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasocketw
int open_socket(Environment* environment, int family, int type, bool is_to_accept, uint32_t* number) {
  SOCKET socket = WSASocketW(family, type, 0, nullptr, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
  if (socket == INVALID_SOCKET) return error_now();
  // A socket for AcceptEx is put on the port when it has been accepted; a Unix-domain connect waits on a thread.
  bool is_ready = load(environment, socket) && (is_to_accept || put_on_port(environment, socket)) &&
                  (is_to_accept || family == AF_UNIX || set_non_blocking(socket));
  if (!is_ready) {
    int error = error_now();
    closesocket(socket);
    return error;
  }
  if (type == SOCK_DGRAM) let_unreachable_pass(socket);
  *number = number_for(environment, socket);
  return 0;
}

// https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex
DWORD accept(Operation* operation) {
  operation->addresses = malloc(2 * kAddressBytes);
  DWORD bytes;
  return outcome(operation,
                 operation->environment->accept_ex(operation->socket, operation->accept_with, operation->addresses, 0,
                                                   kAddressBytes, kAddressBytes, &bytes, &operation->overlapped));
}

// https://learn.microsoft.com/windows/win32/winsock/sol-socket-socket-options SO_UPDATE_ACCEPT_CONTEXT
int accepted(Environment* environment, SOCKET socket, SOCKET listener) {
  const auto* from = reinterpret_cast<const char*>(&listener);
  if (setsockopt(socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, from, sizeof listener) != 0) return error_now();
  return put_on_port(environment, socket) && set_non_blocking(socket) ? 0 : error_now();
}

// https://learn.microsoft.com/windows/win32/api/mswsock/nc-mswsock-lpfn_connectex
DWORD connect_inet(Operation* operation) {
  const auto* to = static_cast<const sockaddr*>(operation->addresses);
  sockaddr_storage anywhere = {};
  anywhere.ss_family = to->sa_family;
  if (bind(operation->socket, reinterpret_cast<sockaddr*>(&anywhere), length_of(to)) != 0)
    return static_cast<DWORD>(WSAGetLastError());
  if (is_loopback(to)) do_not_retry(operation->socket);
  return outcome(operation, operation->environment->connect_ex(operation->socket, to, length_of(to), nullptr, 0,
                                                               nullptr, &operation->overlapped));
}

// ConnectEx does not support this family. The call returns at once, unless the listener's backlog is full.
// https://devblogs.microsoft.com/commandline/af_unix-comes-to-windows/
DWORD connect_unix(Operation* operation) {
  const auto* to = static_cast<const sockaddr*>(operation->addresses);
  return connect(operation->socket, to, length_of(to)) == 0 ? ERROR_SUCCESS : static_cast<DWORD>(WSAGetLastError());
}

// https://learn.microsoft.com/windows/win32/winsock/sol-socket-socket-options SO_UPDATE_CONNECT_CONTEXT
int connected(SOCKET socket) {
  setsockopt(socket, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, nullptr, 0);  // an error for a Unix-domain socket
  return set_non_blocking(socket) ? 0 : error_now();
}

// A receive of no bytes: it takes nothing, and needs no memory.
// https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsarecv
DWORD wait_to_receive(Operation* operation) {
  WSABUF nothing = {};
  DWORD flags = 0;
  return outcome(operation,
                 WSARecv(operation->socket, &nothing, 1, nullptr, &flags, &operation->overlapped, nullptr) == 0);
}

// Only a send that had to wait can tell that there is room again: this one sends one byte.
// https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasend
DWORD wait_to_send(Operation* operation) {
  WSABUF byte = {1, &operation->byte};
  return outcome(operation, WSASend(operation->socket, &byte, 1, nullptr, 0, &operation->overlapped, nullptr) == 0);
}

// The sender goes to JavaScript's memory too: the address and its length.
// https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsarecvfrom
DWORD receive_from(Operation* operation) {
  WSABUF bytes = {operation->length, static_cast<char*>(operation->memory)};
  Sender* sender = operation->sender;
  sender->length = sizeof sender->address;
  DWORD flags = 0;
  return outcome(operation, WSARecvFrom(operation->socket, &bytes, 1, nullptr, &flags,
                                        reinterpret_cast<sockaddr*>(&sender->address), &sender->length,
                                        &operation->overlapped, nullptr) == 0);
}

// https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasendto
DWORD send_to(Operation* operation) {
  WSABUF bytes = {operation->length, static_cast<char*>(operation->memory)};
  const auto* to = static_cast<const sockaddr*>(operation->addresses);
  return outcome(operation, WSASendTo(operation->socket, &bytes, 1, nullptr, 0, to, length_of(to),
                                      &operation->overlapped, nullptr) == 0);
}

// No call on it may be under way. https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-closesocket
int close_socket(Environment* environment, uint32_t number) {
  SOCKET socket = environment->sockets[number];
  environment->sockets[number] = INVALID_SOCKET;
  if (number < environment->free_socket) environment->free_socket = number;
  return closesocket(socket) == 0 ? 0 : error_now();
}

void close_sockets(Environment* environment) {
  for (uint32_t number = 0; number < environment->socket_count; number++)
    if (environment->sockets[number] != INVALID_SOCKET) closesocket(environment->sockets[number]);
  free(environment->sockets);
}

int length_of(const void* address) {
  switch (static_cast<const sockaddr*>(address)->sa_family) {
  case AF_INET:
    return sizeof(sockaddr_in);
  case AF_INET6:
    return sizeof(sockaddr_in6);
  default:
    return sizeof(sockaddr_un);
  }
}
