// Socket calls that do not wait for a peer, made at once: the ring has setsockopt only from Linux 6.7 on, bind and
// listen from 6.11, getsockname from 6.19.
#include <sys/socket.h>

#include "ring.h"

// getsockname(fd: number, sockaddr: Uint8Array, ofPeer: boolean): number length | negative errno.
// See getsockname(2), getpeername(2).
int GetSockName(Napi::Env, int fd, kiruna::Bytes name, bool of_peer) {
  sockaddr* address = reinterpret_cast<sockaddr*>(name.data);
  socklen_t length = static_cast<socklen_t>(name.length);
  int returned = of_peer ? getpeername(fd, address, &length) : getsockname(fd, address, &length);
  return returned < 0 ? -errno : static_cast<int>(length);
}

// bind(fd: number, sockaddr: Uint8Array): number 0 | negative errno. See bind(2).
int Bind(Napi::Env, int fd, kiruna::Bytes name) {
  return result_of(bind(fd, reinterpret_cast<sockaddr*>(name.data), static_cast<socklen_t>(name.length)));
}

// listen(fd: number, backlog: number): number 0 | negative errno. See listen(2).
int Listen(Napi::Env, int fd, int backlog) { return result_of(listen(fd, backlog)); }

// setsockopt(fd: number, level: number, name: number, value: Uint8Array): number 0 | negative errno. See setsockopt(2).
int SetSockOpt(Napi::Env, int fd, int level, int name, kiruna::Bytes value) {
  return result_of(setsockopt(fd, level, name, value.data, static_cast<socklen_t>(value.length)));
}
