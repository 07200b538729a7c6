// The system calls that do not wait, made on JavaScript's thread: addresses, binding and listening, and options.
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "dispatch.h"
#ifdef __APPLE__
constexpr int kKeepIdle = TCP_KEEPALIVE;
constexpr int kReuseUdp = SO_REUSEPORT;  // SO_REUSEADDR alone does not share a port there
#else
constexpr int kKeepIdle = TCP_KEEPIDLE;
constexpr int kReuseUdp = SO_REUSEADDR;
#endif

namespace {

size_t path_length(const sockaddr_un* address, size_t length) {
  size_t room = length > offsetof(sockaddr_un, sun_path) ? length - offsetof(sockaddr_un, sun_path) : 0;
  bool is_abstract = room > 0 && address->sun_path[0] == 0 && address->sun_path[room - 1] != 0;
  return is_abstract ? room : strnlen(address->sun_path, room);
}

// The number of a zone: a number already, or the name of an interface. See if_nametoindex(3).
uint32_t scope_of(const char* zone) {
  char* end = nullptr;
  unsigned long scope = strtoul(zone, &end, 10);
  return *zone != 0 && *end == 0 ? static_cast<uint32_t>(scope) : if_nametoindex(zone);
}

bool parse(const char* text, int port, sockaddr_in* address) {
  *address = {};
  address->sin_family = AF_INET;
  address->sin_port = htons(static_cast<uint16_t>(port));
  return inet_pton(AF_INET, text, &address->sin_addr) == 1;
}

// The zone follows a '%'. See inet_pton(3).
bool parse(char* text, int port, sockaddr_in6* address) {
  *address = {};
  address->sin6_family = AF_INET6;
  address->sin6_port = htons(static_cast<uint16_t>(port));
  char* zone = strchr(text, '%');
  if (zone != nullptr) {
    *zone++ = 0;
    address->sin6_scope_id = scope_of(zone);
  }
  return inet_pton(AF_INET6, text, &address->sin6_addr) == 1;
}

int set(const Socket* socket, int level, int name, const void* value, size_t length) {
  return setsockopt(socket->fd, level, name, value, static_cast<socklen_t>(length)) == 0 ? 0 : -errno;
}

// An address for JavaScript; undefined if it is none of these families.
Napi::Value read_address(Napi::Env env, const sockaddr_storage* address, size_t length) {
  Napi::Object value = Napi::Object::New(env);
  if (address->ss_family == AF_UNIX) {
    const sockaddr_un* unix_address = reinterpret_cast<const sockaddr_un*>(address);
    value.Set("family", "Unix");
    value.Set("path", Napi::String::New(env, unix_address->sun_path, path_length(unix_address, length)));
    return value;
  }
  char text[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE] = "";
  in_port_t port = 0;
  if (address->ss_family == AF_INET) {
    const sockaddr_in* inet = reinterpret_cast<const sockaddr_in*>(address);
    inet_ntop(AF_INET, &inet->sin_addr, text, sizeof text);
    port = inet->sin_port;
  } else if (address->ss_family == AF_INET6) {
    const sockaddr_in6* inet6 = reinterpret_cast<const sockaddr_in6*>(address);
    inet_ntop(AF_INET6, &inet6->sin6_addr, text, sizeof text);
    // A link-local address belongs to an interface: without its name one could not answer.
    if (IN6_IS_ADDR_LINKLOCAL(&inet6->sin6_addr) && inet6->sin6_scope_id != 0) {
      size_t end = strlen(text);
      text[end] = '%';
      if (if_indextoname(inet6->sin6_scope_id, text + end + 1) == nullptr) text[end] = 0;
    }
    port = inet6->sin6_port;
  } else {
    return env.Undefined();
  }
  value.Set("family", address->ss_family == AF_INET ? "IPv4" : "IPv6");
  value.Set("address", text);
  value.Set("port", ntohs(port));
  return value;
}

}  // namespace

int64_t write_address(Family family, Text text, int port, sockaddr_storage* address) {
  memset(address, 0, sizeof *address);
  if (family == kIPv4) {
    bool is_address = parse(text.data, port, reinterpret_cast<sockaddr_in*>(address));
    return is_address ? int64_t{sizeof(sockaddr_in)} : -EINVAL;
  }
  if (family == kIPv6) {
    bool is_address = parse(text.data, port, reinterpret_cast<sockaddr_in6*>(address));
    return is_address ? int64_t{sizeof(sockaddr_in6)} : -EINVAL;
  }
  sockaddr_un* unix_address = reinterpret_cast<sockaddr_un*>(address);
  if (text.length > sizeof unix_address->sun_path) return -ENAMETOOLONG;
  unix_address->sun_family = AF_UNIX;
  memcpy(unix_address->sun_path, text.data, text.length);
  // An abstract name is as long as the structure says; a path ends with a zero byte.
  return static_cast<int64_t>(offsetof(sockaddr_un, sun_path) + text.length + (text.data[0] == 0 ? 0 : 1));
}

template <> Family kiruna::argument(Napi::Value value) {
  Text name = argument<Text>(value);
  return strcmp(name.data, "IPv4") == 0 ? kIPv4 : strcmp(name.data, "IPv6") == 0 ? kIPv6 : kUnix;
}

// socket(family, isDatagram): a socket, or a negative errno. See socket(2).
int64_t OpenSocket(Napi::Env env, Family family, bool is_datagram) {
  int fd = socket(family, is_datagram ? SOCK_DGRAM : SOCK_STREAM, 0);
#ifdef __APPLE__
  // As much as possible. It is 9,216 bytes by default there, and no datagram can be longer. See udp(4).
  int longest = 65535;
  if (is_datagram && fd >= 0) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &longest, sizeof longest);
#endif
  return fd < 0 ? -errno : adopt(Environment::of(env), fd, family);
}

// bind(socket, family, address, port): 0, or a negative errno. See bind(2).
int64_t Bind(Napi::Env, Socket* socket, Family family, Text text, int port) {
  sockaddr_storage address;
  int64_t length = write_address(family, text, port, &address);
  if (length < 0) return length;
  return result_of(bind(socket->fd, reinterpret_cast<sockaddr*>(&address), static_cast<socklen_t>(length)));
}

// listen(socket, backlog): 0, or a negative errno. See listen(2).
int64_t Listen(Napi::Env, Socket* socket, int backlog) { return result_of(listen(socket->fd, backlog)); }

// shutdown(socket): 0, or a negative errno. Ends the writing side. See shutdown(2).
int64_t Shutdown(Napi::Env, Socket* socket) { return result_of(shutdown(socket->fd, SHUT_WR)); }

// name(socket, ofPeer): its address, or its peer's; undefined if it is not connected any more. See getsockname(2).
Napi::Value Name(Napi::Env env, Socket* socket, bool of_peer) {
  sockaddr_storage address = {};
  socklen_t length = sizeof address;
  int returned = (of_peer ? getpeername : getsockname)(socket->fd, reinterpret_cast<sockaddr*>(&address), &length);
  return returned == 0 ? read_address(env, &address, length) : env.Undefined();
}

// sender(socket): the sender of the last datagram.
Napi::Value Sender(Napi::Env env, Socket* socket) {
  return read_address(env, socket->halves[kRead].peer, sizeof(sockaddr_storage));
}

// setsockopt(socket, option, value): 0, or a negative errno. The options are numbered as in native.ts.
int Setsockopt(Napi::Env, Socket* socket, uint32_t option, int value) {
  constexpr struct {
    int level, name;
  } kOptions[] = {{IPPROTO_TCP, TCP_NODELAY},
                  {SOL_SOCKET, SO_KEEPALIVE},
                  {IPPROTO_TCP, kKeepIdle},
                  {SOL_SOCKET, SO_REUSEADDR},
                  {SOL_SOCKET, kReuseUdp},
                  {IPPROTO_IPV6, IPV6_V6ONLY},
                  {SOL_SOCKET, SO_BROADCAST},
                  {IPPROTO_IP, IP_TTL},
                  {IPPROTO_IP, IP_MULTICAST_TTL},
                  {IPPROTO_IP, IP_MULTICAST_LOOP},
                  {IPPROTO_IPV6, IPV6_UNICAST_HOPS},
                  {IPPROTO_IPV6, IPV6_MULTICAST_HOPS},
                  {IPPROTO_IPV6, IPV6_MULTICAST_LOOP}};
  const auto& [level, name] = kOptions[option];
  return set(socket, level, name, &value, sizeof value);
}

// changeMembership(socket, isJoining, family, group, interface): 0, or a negative errno. The interface is an address
// of IPv4, or of IPv6 with a zone; '' leaves it to the system. See ip(7) struct ip_mreq, ipv6(7) struct ipv6_mreq.
int ChangeMembership(Napi::Env, Socket* socket, bool is_joining, Family family, Text group, Text at) {
  bool has_interface = at.length > 0;
  if (family == kIPv4) {
    sockaddr_in inet = {}, on = {};
    if (!parse(group.data, 0, &inet) || (has_interface && !parse(at.data, 0, &on))) return -EINVAL;
    ip_mreq membership = {inet.sin_addr, on.sin_addr};
    int name = is_joining ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP;
    return set(socket, IPPROTO_IP, name, &membership, sizeof membership);
  }
  sockaddr_in6 inet6 = {}, on = {};
  if (!parse(group.data, 0, &inet6) || (has_interface && !parse(at.data, 0, &on))) return -EINVAL;
  ipv6_mreq membership = {inet6.sin6_addr, has_interface ? on.sin6_scope_id : inet6.sin6_scope_id};
  return set(socket, IPPROTO_IPV6, is_joining ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP, &membership, sizeof membership);
}

// setInterface(socket, family, address): 0, or a negative errno. For outgoing multicast. See ip(7), ipv6(7).
int SetInterface(Napi::Env, Socket* socket, Family family, Text text) {
  if (family == kIPv4) {
    sockaddr_in inet;
    if (!parse(text.data, 0, &inet)) return -EINVAL;
    return set(socket, IPPROTO_IP, IP_MULTICAST_IF, &inet.sin_addr, sizeof inet.sin_addr);
  }
  sockaddr_in6 inet6;
  if (!parse(text.data, 0, &inet6)) return -EINVAL;
  return set(socket, IPPROTO_IPV6, IPV6_MULTICAST_IF, &inet6.sin6_scope_id, sizeof inet6.sin6_scope_id);
}
