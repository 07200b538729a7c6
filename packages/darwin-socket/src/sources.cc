// The calls that may have to wait. A call is tried. If the kernel has nothing, or no room, a dispatch source waits for
// it on a queue of the caller's quality of service, and the handler tries again there:
//
//     call ─► tried on this thread, or on the queue ─► EAGAIN ─► source ─► tried in its handler ─► completion
//
// A source is suspended while no call waits for it. See dispatch_source_create(3), dispatch_suspend(3).
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>

#include "dispatch.h"

namespace {

constexpr int kMostAccepted = 16;

dispatch_queue_t queue_of(uint8_t rank) {
  constexpr unsigned kQos[] = {QOS_CLASS_USER_INTERACTIVE, QOS_CLASS_USER_INITIATED, QOS_CLASS_UTILITY,
                               QOS_CLASS_BACKGROUND};
  return dispatch_get_global_queue(kQos[rank & 3], 0);
}

// Whether a call would have a result or an error now. See poll(2).
bool is_ready(const Half* half) {
  const Socket* socket = half->socket;
  pollfd asked = {socket->fd, static_cast<int16_t>(half == &socket->halves[kRead] ? POLLIN : POLLOUT), 0};
  return poll(&asked, 1, 0) != 0;
}

int64_t accept_some(Socket* socket) {
  while (socket->accepted_count < kMostAccepted) {
    int fd = accept(socket->fd, nullptr, nullptr);
    if (fd >= 0) {
      socket->accepted[socket->accepted_count++] = fd;
    } else if (errno != EINTR && errno != ECONNABORTED && errno != EPROTO) {  // a peer that has left is no error
      return socket->accepted_count > 0 ? socket->accepted_count : -errno;
    }
  }
  return socket->accepted_count;
}

int64_t connect_result(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  return -error;
}

socklen_t length_of(const sockaddr_storage* address) {
  return address->ss_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

int64_t perform_once(Half* half) {
  Socket* socket = half->socket;
  msghdr message = {};
  message.msg_iov = half->buffers;
  message.msg_iovlen = half->count;
  switch (half->call) {
  case Call::kWait:
    return is_ready(half) ? 0 : -EAGAIN;
  case Call::kReceive:
    return result_of(recv(socket->fd, half->one.iov_base, half->one.iov_len, 0));
  case Call::kReceiveFrom:
    message.msg_name = half->peer;
    message.msg_namelen = sizeof *half->peer;
    return result_of(recvmsg(socket->fd, &message, 0));
  case Call::kAccept:
    return accept_some(socket);
  case Call::kConnect:
    return is_ready(half) ? connect_result(socket->fd) : -EAGAIN;
  case Call::kSendTo:
    message.msg_name = half->peer;
    message.msg_namelen = length_of(half->peer);
    [[fallthrough]];
  case Call::kSend:
    return result_of(sendmsg(socket->fd, &message, kSendFlags));
  case Call::kNone:
    break;
  }
  return -EINVAL;
}

int64_t perform(Half* half) {
  int64_t result;
  do result = perform_once(half);
  while (result == -EINTR);
  return result == -EWOULDBLOCK ? -EAGAIN : result;
}

void end_call(Half* half) {
  half->call = Call::kNone;
  if (half->buffers != &half->one) free(half->buffers);
  half->buffers = nullptr;
}

void disarm(Half* half) {
  if (half->is_armed) dispatch_suspend(half->source);
  half->is_armed = false;
}

// A suspended source never runs its cancel handler, and must not be released: so it is resumed.
void drop_source(Half* half) {
  if (half->source == nullptr) return;
  dispatch_source_cancel(half->source);
  if (!half->is_armed) dispatch_resume(half->source);
  dispatch_release(half->source);
  half->source = nullptr;
  half->is_armed = false;
}

void gone(void* half) { release(static_cast<Half*>(half)->socket); }

void attempt(void* data);

// Lets the source wait. It has one use of the socket until its cancel handler has run: the fd is not closed before
// that.
void arm(Half* half) {
  if (half->is_armed) return;
  Socket* socket = half->socket;
  if (half->source == nullptr) {
    bool reads = half == &socket->halves[kRead];
    half->source = dispatch_source_create(reads ? DISPATCH_SOURCE_TYPE_READ : DISPATCH_SOURCE_TYPE_WRITE,
                                          static_cast<uintptr_t>(socket->fd), 0, queue_of(half->rank));
    __atomic_add_fetch(&socket->uses, 1, __ATOMIC_RELAXED);
    dispatch_set_context(half->source, half);
    dispatch_source_set_event_handler_f(half->source, attempt);
    dispatch_source_set_cancel_handler_f(half->source, gone);
  }
  half->is_armed = true;
  dispatch_resume(half->source);
}

// Called on a GCD thread. One that comes too late finds no call, or the next one, which it may try as well.
void attempt(void* data) {
  Half* half = static_cast<Half*>(data);
  Socket* socket = half->socket;
  pthread_mutex_lock(&socket->mutex);
  if (half->call != Call::kNone) {
    int64_t result = perform(half);
    if (result == -EAGAIN && half->waits) {
      arm(half);
    } else {
      disarm(half);
      end_call(half);
      post(socket->environment, &half->completion, result);
    }
  }
  pthread_mutex_unlock(&socket->mutex);
}

void attempt_once(void* data) {
  attempt(data);
  release(static_cast<Half*>(data)->socket);
}

void set_rank(Half* half, uint8_t rank) {
  if (half->rank == rank) return;
  half->rank = rank;
  bool was_armed = half->is_armed;
  drop_source(half);  // the queue of an activated source cannot be changed
  if (was_armed) arm(half);
}

// Begins a call. Returns its result, or undefined: its completion follows.
Napi::Value begin(Napi::Env env, Half* half, Call call, uint8_t rank, How how) {
  Socket* socket = half->socket;
  int64_t result = -EAGAIN;
  pthread_mutex_lock(&socket->mutex);
  half->call = call;
  half->waits = how != kOnQueue;
  set_rank(half, rank);
  if (how == kHere) result = perform(half);
  if (result != -EAGAIN) {
    end_call(half);
  } else if (how == kOnQueue || is_ready(half)) {
    // A ready socket needs no source, and a source that has reported the end of both directions does not report it
    // again.
    __atomic_add_fetch(&socket->uses, 1, __ATOMIC_RELAXED);
    dispatch_async_f(queue_of(half->rank), half, attempt_once);
  } else {
    arm(half);
  }
  pthread_mutex_unlock(&socket->mutex);
  return result == -EAGAIN ? env.Undefined() : Napi::Value::From(env, result);
}

sockaddr_storage* peer_of(Half* half) {
  if (half->peer == nullptr) half->peer = static_cast<sockaddr_storage*>(calloc(1, sizeof *half->peer));
  return half->peer;
}

void take_buffer(Half* half, Bytes buffer) {
  half->one = {buffer.data, buffer.length};
  half->buffers = &half->one;
  half->count = 1;
}

}  // namespace

void stop(Socket* socket) {
  pthread_mutex_lock(&socket->mutex);
  for (Half& half : socket->halves) {
    drop_source(&half);
    end_call(&half);
  }
  pthread_mutex_unlock(&socket->mutex);
}

// wait(socket, rank): 0 once there is something to read, or the end. It takes nothing.
Napi::Value Wait(Napi::Env env, Socket* socket, uint8_t rank) {
  return begin(env, &socket->halves[kRead], Call::kWait, rank, kAfterWaiting);
}

// receive(socket, rank, memory: Uint8Array, how): number of bytes, 0 at the end. See recv(2).
Napi::Value Receive(Napi::Env env, Socket* socket, uint8_t rank, Bytes memory, How how) {
  Half* half = &socket->halves[kRead];
  take_buffer(half, memory);
  return begin(env, half, Call::kReceive, rank, how);
}

// receiveFrom(socket, rank, memory: Uint8Array): number of bytes of a datagram; see `sender` too. See recvmsg(2).
Napi::Value ReceiveFrom(Napi::Env env, Socket* socket, uint8_t rank, Bytes memory) {
  Half* half = &socket->halves[kRead];
  peer_of(half);
  take_buffer(half, memory);
  return begin(env, half, Call::kReceiveFrom, rank, kAfterWaiting);
}

// send(socket, rank, buffers: Uint8Array[], how): number of bytes, perhaps not all. See sendmsg(2).
Napi::Value Send(Napi::Env env, Socket* socket, uint8_t rank, Napi::Array buffers, How how) {
  Half* half = &socket->halves[kWrite];
  uint32_t count = buffers.Length();
  half->count = static_cast<int>(count);
  half->buffers = count == 1 ? &half->one : static_cast<iovec*>(malloc(count * sizeof(iovec)));
  for (uint32_t i = 0; i < count; i++) {
    Bytes buffer = kiruna::argument<Bytes>(buffers.Get(i));
    half->buffers[i] = {buffer.data, buffer.length};
  }
  return begin(env, half, Call::kSend, rank, how);
}

// sendTo(socket, rank, bytes: Uint8Array, family, address, port): number of bytes. See sendmsg(2).
Napi::Value SendTo(Napi::Env env, Socket* socket, uint8_t rank, Bytes bytes, Family family, Text address, int port) {
  Half* half = &socket->halves[kWrite];
  int64_t error = write_address(family, address, port, peer_of(half));
  if (error < 0) return Napi::Value::From(env, error);
  take_buffer(half, bytes);
  return begin(env, half, Call::kSendTo, rank, kHere);
}

// accept(socket, rank): how many were accepted; `accepted` returns them. See accept(2).
Napi::Value Accept(Napi::Env env, Socket* socket, uint8_t rank) {
  if (socket->accepted == nullptr) socket->accepted = static_cast<int*>(malloc(kMostAccepted * sizeof(int)));
  return begin(env, &socket->halves[kRead], Call::kAccept, rank, kAfterWaiting);
}

// accepted(socket): the sockets.
Napi::Array Accepted(Napi::Env env, Socket* socket) {
  Napi::Array sockets = Napi::Array::New(env);
  for (int i = 0; i < socket->accepted_count; i++)
    sockets.Set(static_cast<uint32_t>(i), adopt(socket->environment, socket->accepted[i], socket->family));
  socket->accepted_count = 0;
  return sockets;
}

// connect(socket, rank, family, address, port): 0. See connect(2).
Napi::Value Connect(Napi::Env env, Socket* socket, uint8_t rank, Family family, Text text, int port) {
  sockaddr_storage address = {};
  int64_t length = write_address(family, text, port, &address);
  if (length < 0) return Napi::Value::From(env, length);
  int returned = connect(socket->fd, reinterpret_cast<sockaddr*>(&address), static_cast<socklen_t>(length));
  if (returned == 0) return Napi::Value::From(env, 0);
  if (errno != EINPROGRESS && errno != EINTR) return Napi::Value::From(env, -errno);
  return begin(env, &socket->halves[kWrite], Call::kConnect, rank, kAfterWaiting);
}

// cancel(socket, direction): whether the call was cancelled; if not, the completion follows.
bool Cancel(Napi::Env, Socket* socket, Direction direction) {
  Half* half = &socket->halves[direction];
  pthread_mutex_lock(&socket->mutex);
  bool is_under_way = half->call != Call::kNone;
  disarm(half);
  end_call(half);
  pthread_mutex_unlock(&socket->mutex);
  return is_under_way;
}

// setRank(socket, direction, rank)
void SetRank(Napi::Env, Socket* socket, Direction direction, uint8_t rank) {
  pthread_mutex_lock(&socket->mutex);
  set_rank(&socket->halves[direction], rank);
  pthread_mutex_unlock(&socket->mutex);
}

// hurry(socket): tries a read that waits on this thread. Its completion is posted as usual.
void Hurry(Napi::Env, Socket* socket) { attempt(&socket->halves[kRead]); }
