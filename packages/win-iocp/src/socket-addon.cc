// What native.ts declares for sockets. The first functions are told of by `take`, as those of addon.cc; the others are
// done at once, and return 0, or whatever they say, or a negative error number.
#include "arguments.h"

#include <afunix.h>
#include <string.h>
#include <ws2tcpip.h>

namespace {

constexpr uint32_t kMostBuffers = 64;

int error_now() { return uv_translate_sys_error(WSAGetLastError()); }

int result_of(int result) { return result == SOCKET_ERROR ? error_now() : result; }

// From three arguments: the family, an address or a path, a port.
int read_address(const Arguments& arguments, int index, sockaddr_storage* address) {
  memset(address, 0, sizeof *address);
  char text[sizeof(sockaddr_un::sun_path) + 1] = {};
  arguments.utf8(index + 1, text, sizeof text);
  int port = arguments.integer(index + 2);
  switch (arguments.integer(index)) {
  case AF_INET:
    return uv_ip4_addr(text, port, reinterpret_cast<sockaddr_in*>(address));
  case AF_INET6:
    return uv_ip6_addr(text, port, reinterpret_cast<sockaddr_in6*>(address));
  default: {
    auto* path = reinterpret_cast<sockaddr_un*>(address);
    path->sun_family = AF_UNIX;
    memcpy(path->sun_path, text, sizeof path->sun_path);
    return 0;
  }
  }
}

// The other way round: [family, address or path, port].
napi_value write_address(napi_env env, const sockaddr_storage* address) {
  napi_value triple, text;
  char name[INET6_ADDRSTRLEN];
  uint16_t port = 0;
  napi_create_array_with_length(env, 3, &triple);
  if (address->ss_family == AF_UNIX) {
    const auto* path = reinterpret_cast<const sockaddr_un*>(address)->sun_path;
    napi_create_string_utf8(env, path, strnlen(path, sizeof(sockaddr_un::sun_path)), &text);
  } else {
    uv_ip_name(reinterpret_cast<const sockaddr*>(address), name, sizeof name);
    napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &text);
    port = ntohs(reinterpret_cast<const sockaddr_in*>(address)->sin_port);  // both families have it there
  }
  napi_set_element(env, triple, 0, number(env, address->ss_family));
  napi_set_element(env, triple, 1, text);
  napi_set_element(env, triple, 2, number(env, port));
  return triple;
}

// acceptSocket(slot, rank, listener, socket)
napi_value Accept(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Operation* operation = arguments.operation();
  operation->call = accept;
  operation->socket = arguments.socket(2);
  operation->accept_with = arguments.socket(3);
  begin_here(operation);
  return nullptr;
}

// The address is the operation's from here on.
void take_address(const Arguments& arguments, int index, Operation* operation) {
  operation->addresses = malloc(sizeof(sockaddr_storage));
  read_address(arguments, index, static_cast<sockaddr_storage*>(operation->addresses));
}

// connectSocket(slot, rank, socket, family, address, port)
napi_value Connect(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Operation* operation = arguments.operation();
  operation->socket = arguments.socket(2);
  take_address(arguments, 3, operation);
  bool is_unix = arguments.integer(3) == AF_UNIX;
  operation->call = is_unix ? connect_unix : connect_inet;
  if (is_unix)
    begin_in_pool(operation);
  else
    begin_here(operation);
  return nullptr;
}

// waitToReceive(slot, rank, socket)
napi_value WaitToReceive(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Operation* operation = arguments.operation();
  operation->call = wait_to_receive;
  operation->socket = arguments.socket(2);
  begin_here(operation);
  return nullptr;
}

// waitToSend(slot, rank, socket, byte)
napi_value WaitToSend(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Operation* operation = arguments.operation();
  operation->call = wait_to_send;
  operation->socket = arguments.socket(2);
  operation->byte = static_cast<char>(arguments.word(3));
  begin_here(operation);
  return nullptr;
}

// receiveFrom(slot, rank, socket, bytes, sender)
napi_value ReceiveFrom(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Operation* operation = arguments.operation();
  operation->call = receive_from;
  operation->socket = arguments.socket(2);
  arguments.memory(3, operation);
  void* sender = nullptr;
  napi_get_typedarray_info(env, arguments.values[4], nullptr, nullptr, &sender, nullptr, nullptr);
  operation->sender = static_cast<Sender*>(sender);
  begin_here(operation);
  return nullptr;
}

// sendTo(slot, rank, socket, bytes, family, address, port)
napi_value SendTo(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Operation* operation = arguments.operation();
  operation->call = send_to;
  operation->socket = arguments.socket(2);
  arguments.memory(3, operation);
  take_address(arguments, 4, operation);
  begin_here(operation);
  return nullptr;
}

// openSocket(family, type, isToAccept): a socket's number
napi_value Open(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  bool is_to_accept = false;
  napi_get_value_bool(env, arguments.values[2], &is_to_accept);
  uint32_t socket = 0;
  int error = open_socket(environment_of(env), arguments.integer(0), arguments.integer(1), is_to_accept, &socket);
  return number(env, error < 0 ? error : static_cast<double>(socket));
}

// bindSocket(socket, family, address, port)
napi_value Bind(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  sockaddr_storage address;
  int error = read_address(arguments, 1, &address);
  if (error != 0) return number(env, error);
  return number(env, result_of(bind(arguments.socket(0), reinterpret_cast<sockaddr*>(&address), length_of(&address))));
}

// listenSocket(socket, backlog)
napi_value Listen(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  return number(env, result_of(listen(arguments.socket(0), arguments.integer(1))));
}

// accepted(socket, listener)
napi_value Accepted(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  return number(env, accepted(environment_of(env), arguments.socket(0), arguments.socket(1)));
}

// connected(socket)
napi_value Connected(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  return number(env, connected(arguments.socket(0)));
}

// receive(socket, memory): bytes, 0 at the end
napi_value Receive(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  void* memory = nullptr;
  size_t length = 0;
  napi_get_typedarray_info(env, arguments.values[1], nullptr, &length, &memory, nullptr, nullptr);
  return number(env, result_of(recv(arguments.socket(0), static_cast<char*>(memory), static_cast<int>(length), 0)));
}

// send(socket, buffers: Uint8Array[]): bytes, perhaps fewer
// https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasend
napi_value Send(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  WSABUF buffers[kMostBuffers];
  uint32_t count = 0;
  napi_get_array_length(env, arguments.values[1], &count);
  if (count > kMostBuffers) count = kMostBuffers;
  for (uint32_t i = 0; i < count; i++) {
    napi_value element;
    size_t length = 0;
    void* memory = nullptr;
    napi_get_element(env, arguments.values[1], i, &element);
    napi_get_typedarray_info(env, element, nullptr, &length, &memory, nullptr, nullptr);
    buffers[i] = {static_cast<ULONG>(length), static_cast<char*>(memory)};
  }
  DWORD sent = 0;
  int result = WSASend(arguments.socket(0), buffers, count, &sent, 0, nullptr, nullptr);
  return number(env, result == 0 ? static_cast<double>(sent) : error_now());
}

// shutdownSocket(socket): it sends no more
napi_value Shutdown(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  return number(env, result_of(shutdown(arguments.socket(0), SD_SEND)));
}

// closeSocket(socket): from here on the number may be another's.
napi_value Close(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  return number(env, close_socket(environment_of(env), arguments.word(0)));
}

// setOption(socket, level, name, value: number | Uint8Array)
napi_value SetOption(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  DWORD word = 0;
  void* memory = &word;
  size_t length = sizeof word;
  napi_valuetype type;
  napi_typeof(env, arguments.values[3], &type);
  if (type == napi_number)
    word = static_cast<DWORD>(arguments.integer(3));
  else
    napi_get_typedarray_info(env, arguments.values[3], nullptr, &length, &memory, nullptr, nullptr);
  return number(env, result_of(setsockopt(arguments.socket(0), arguments.integer(1), arguments.integer(2),
                                          static_cast<char*>(memory), static_cast<int>(length))));
}

// socketName(socket, isPeer): [family, address or path, port]
napi_value Name(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  bool is_peer = false;
  napi_get_value_bool(env, arguments.values[1], &is_peer);
  sockaddr_storage address = {};
  int length = sizeof address;
  auto* name = reinterpret_cast<sockaddr*>(&address);
  int result = (is_peer ? getpeername : getsockname)(arguments.socket(0), name, &length);
  return result == 0 ? write_address(env, &address) : number(env, error_now());
}

// senderOf(sender): [family, address, port]
napi_value SenderOf(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  void* sender = nullptr;
  napi_get_typedarray_info(env, arguments.values[0], nullptr, nullptr, &sender, nullptr, nullptr);
  return write_address(env, &static_cast<Sender*>(sender)->address);
}

// addressBytes(family, address): an in_addr or in6_addr, with the number behind a '%' behind it
napi_value AddressBytes(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  sockaddr_storage address;
  read_address(arguments, 0, &address);
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
  napi_value buffer;
  napi_create_buffer_copy(env, length, bytes, nullptr, &buffer);
  return buffer;
}

}  // namespace

void export_sockets(napi_env env, napi_value exports) {
  const struct {
    const char* name;
    napi_callback function;
  } functions[] = {
      {"acceptSocket", Accept},
      {"connectSocket", Connect},
      {"waitToReceive", WaitToReceive},
      {"waitToSend", WaitToSend},
      {"receiveFrom", ReceiveFrom},
      {"sendTo", SendTo},
      {"openSocket", Open},
      {"bindSocket", Bind},
      {"listenSocket", Listen},
      {"accepted", Accepted},
      {"connected", Connected},
      {"receive", Receive},
      {"send", Send},
      {"shutdownSocket", Shutdown},
      {"closeSocket", Close},
      {"setOption", SetOption},
      {"socketName", Name},
      {"senderOf", SenderOf},
      {"addressBytes", AddressBytes},
  };
  for (const auto& [name, function] : functions) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
    napi_set_named_property(env, exports, name, value);
  }
}
