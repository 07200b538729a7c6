// The system calls that wait for nobody, made on JavaScript's thread: what a socket is called, where it listens, and its
// options.
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

constexpr size_t kLongestText = 256;  // of an address with a zone, or of a path

napi_value text_value(napi_env env, const char* text, size_t length) {
  napi_value value;
  napi_create_string_utf8(env, text, length, &value);
  return value;
}

void set_text(napi_env env, napi_value object, const char* name, const char* text, size_t length) {
  napi_set_named_property(env, object, name, text_value(env, text, length));
}

size_t path_length(const sockaddr_un* address, size_t length) {
  size_t room = length > offsetof(sockaddr_un, sun_path) ? length - offsetof(sockaddr_un, sun_path) : 0;
  bool is_abstract = room > 0 && address->sun_path[0] == 0 && address->sun_path[room - 1] != 0;
  return is_abstract ? room : strnlen(address->sun_path, room);
}

// The number of a zone, which is one already or the name of an interface. See if_nametoindex(3).
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

// Behind a '%' is the zone. See inet_pton(3).
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

}  // namespace

int64_t address_of(const Arguments& arguments, int first, sockaddr_storage* address) {
  char family[8], text[kLongestText];
  arguments.string(first, family, sizeof family);
  size_t length = arguments.string(first + 1, text, sizeof text);
  int port = arguments.integer(first + 2);
  memset(address, 0, sizeof *address);
  if (strcmp(family, "IPv4") == 0) {
    return parse(text, port, reinterpret_cast<sockaddr_in*>(address)) ? static_cast<int64_t>(sizeof(sockaddr_in))
                                                                      : -EINVAL;
  }
  if (strcmp(family, "IPv6") == 0) {
    return parse(text, port, reinterpret_cast<sockaddr_in6*>(address)) ? static_cast<int64_t>(sizeof(sockaddr_in6))
                                                                       : -EINVAL;
  }
  sockaddr_un* unix_address = reinterpret_cast<sockaddr_un*>(address);
  if (length > sizeof unix_address->sun_path) return -ENAMETOOLONG;
  unix_address->sun_family = AF_UNIX;
  memcpy(unix_address->sun_path, text, length);
  // An abstract name is as long as the structure says; a path ends with a zero byte.
  return static_cast<int64_t>(offsetof(sockaddr_un, sun_path) + length + (text[0] == 0 ? 0 : 1));
}

napi_value address_value(napi_env env, const sockaddr_storage* address, size_t length) {
  napi_value value;
  napi_create_object(env, &value);
  if (address->ss_family == AF_UNIX) {
    const sockaddr_un* unix_address = reinterpret_cast<const sockaddr_un*>(address);
    set_text(env, value, "family", "Unix", 4);
    set_text(env, value, "path", unix_address->sun_path, path_length(unix_address, length));
    return value;
  }
  char text[kLongestText] = "";
  in_port_t port = 0;
  if (address->ss_family == AF_INET) {
    const sockaddr_in* inet = reinterpret_cast<const sockaddr_in*>(address);
    inet_ntop(AF_INET, &inet->sin_addr, text, sizeof text);
    port = inet->sin_port;
  } else if (address->ss_family == AF_INET6) {
    const sockaddr_in6* inet6 = reinterpret_cast<const sockaddr_in6*>(address);
    inet_ntop(AF_INET6, &inet6->sin6_addr, text, sizeof text);
    // Such an address is of one interface: without its name nobody could be answered.
    if (IN6_IS_ADDR_LINKLOCAL(&inet6->sin6_addr) && inet6->sin6_scope_id != 0) {
      size_t end = strlen(text);
      text[end] = '%';
      if (if_indextoname(inet6->sin6_scope_id, text + end + 1) == nullptr) text[end] = 0;
    }
    port = inet6->sin6_port;
  } else {
    return nullptr;
  }
  set_text(env, value, "family", address->ss_family == AF_INET ? "IPv4" : "IPv6", 4);
  set_text(env, value, "address", text, NAPI_AUTO_LENGTH);
  napi_set_named_property(env, value, "port", number(env, ntohs(port)));
  return value;
}

// socket(family, isDatagram): a socket, or a negative error number. See socket(2).
napi_value OpenSocket(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  char name[8];
  arguments.string(0, name, sizeof name);
  int family = strcmp(name, "IPv4") == 0 ? AF_INET : strcmp(name, "IPv6") == 0 ? AF_INET6 : AF_UNIX;
  bool is_datagram = arguments.boolean(1);
  int fd = socket(family, is_datagram ? SOCK_DGRAM : SOCK_STREAM, 0);
#ifdef __APPLE__
  // As much as one can have. There it is 9,216 bytes at first, and no datagram is longer. See udp(4).
  int longest = 65535;
  if (is_datagram && fd >= 0) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &longest, sizeof longest);
#endif
  return number(env, fd < 0 ? -errno : adopt(environment_of(env), fd, family));
}

// bind(socket, family, address, port): 0, or a negative error number. See bind(2).
napi_value Bind(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  sockaddr_storage address;
  int64_t length = address_of(arguments, 1, &address);
  if (length < 0) return number(env, length);
  int fd = socket_of(arguments)->fd;
  return number(env, result_of(bind(fd, reinterpret_cast<sockaddr*>(&address), static_cast<socklen_t>(length))));
}

// listen(socket, backlog): 0, or a negative error number. See listen(2).
napi_value Listen(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  return number(env, result_of(listen(socket_of(arguments)->fd, arguments.integer(1))));
}

// shutdown(socket): 0, or a negative error number. Nothing more is written. See shutdown(2).
napi_value Shutdown(napi_env env, napi_callback_info info) {
  return number(env, result_of(shutdown(socket_of(Arguments(env, info))->fd, SHUT_WR)));
}

// name(socket, ofPeer): its address, or its peer's; undefined where it is not connected any more. See getsockname(2).
napi_value Name(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  sockaddr_storage address = {};
  socklen_t length = sizeof address;
  sockaddr* into = reinterpret_cast<sockaddr*>(&address);
  int fd = socket_of(arguments)->fd;
  int returned = arguments.boolean(1) ? getpeername(fd, into, &length) : getsockname(fd, into, &length);
  return returned == 0 ? address_value(env, &address, length) : nullptr;
}

// sender(socket): who has sent the datagram that was received last.
napi_value Sender(napi_env env, napi_callback_info info) {
  return address_value(env, socket_of(Arguments(env, info))->halves[kRead].peer, sizeof(sockaddr_storage));
}

// setsockopt(socket, option, value): 0, or a negative error number. The options are numbered as in dispatch-native.ts.
napi_value Setsockopt(napi_env env, napi_callback_info info) {
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
  Arguments arguments(env, info);
  const auto& [level, name] = kOptions[arguments.integer(1)];
  int value = arguments.integer(2);
  return number(env, set(socket_of(arguments), level, name, &value, sizeof value));
}

// changeMembership(socket, isJoining, family, group, interface): 0, or a negative error number. The interface is an address
// of IPv4, or of IPv6 with a zone; '' leaves it to the system. See ip(7) struct ip_mreq, ipv6(7) struct ipv6_mreq.
napi_value ChangeMembership(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  char family[8], group[kLongestText], at[kLongestText];
  arguments.string(2, family, sizeof family);
  arguments.string(3, group, sizeof group);
  bool has_interface = arguments.string(4, at, sizeof at) > 0, is_joining = arguments.boolean(1);
  Socket* socket = socket_of(arguments);
  sockaddr_storage group_address = {}, at_address = {};
  if (strcmp(family, "IPv4") == 0) {
    sockaddr_in *inet = reinterpret_cast<sockaddr_in*>(&group_address),
                *on = reinterpret_cast<sockaddr_in*>(&at_address);
    if (!parse(group, 0, inet) || (has_interface && !parse(at, 0, on))) return number(env, -EINVAL);
    ip_mreq membership = {inet->sin_addr, on->sin_addr};
    int name = is_joining ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP;
    return number(env, set(socket, IPPROTO_IP, name, &membership, sizeof membership));
  }
  sockaddr_in6 *inet6 = reinterpret_cast<sockaddr_in6*>(&group_address),
               *on = reinterpret_cast<sockaddr_in6*>(&at_address);
  if (!parse(group, 0, inet6) || (has_interface && !parse(at, 0, on))) return number(env, -EINVAL);
  ipv6_mreq membership = {inet6->sin6_addr, has_interface ? on->sin6_scope_id : inet6->sin6_scope_id};
  int name = is_joining ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP;
  return number(env, set(socket, IPPROTO_IPV6, name, &membership, sizeof membership));
}

// setInterface(socket, family, address): 0, or a negative error number. What multicast leaves by. See ip(7), ipv6(7).
napi_value SetInterface(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  char family[8], text[kLongestText];
  arguments.string(1, family, sizeof family);
  arguments.string(2, text, sizeof text);
  Socket* socket = socket_of(arguments);
  if (strcmp(family, "IPv4") == 0) {
    sockaddr_in inet;
    if (!parse(text, 0, &inet)) return number(env, -EINVAL);
    return number(env, set(socket, IPPROTO_IP, IP_MULTICAST_IF, &inet.sin_addr, sizeof inet.sin_addr));
  }
  sockaddr_in6 inet6;
  if (!parse(text, 0, &inet6)) return number(env, -EINVAL);
  return number(env, set(socket, IPPROTO_IPV6, IPV6_MULTICAST_IF, &inet6.sin6_scope_id, sizeof inet6.sin6_scope_id));
}
