import type { Rank } from '@kiruna/priority'
import type { Native } from './native.ts'
import { type Completion, resultIsFd, SystemCalls } from './sqe.ts'

// linux/io_uring.h
const IORING_OP_SENDMSG = 9
const IORING_OP_RECVMSG = 10
const IORING_OP_ACCEPT = 13
const IORING_OP_CONNECT = 16
const IORING_OP_SEND = 26
const IORING_OP_RECV = 27
const IORING_OP_SHUTDOWN = 34
const IORING_OP_SOCKET = 45
const IORING_ACCEPT_MULTISHOT = 1
const IORING_RECVSEND_POLL_FIRST = 1

const SOCK_CLOEXEC = 0o2000000 // sys/socket.h

/** The calls of sockets, filled in as those of files are. */
export abstract class SocketCalls extends SystemCalls {
  protected readonly native: Native

  constructor(native: Native) {
    super()
    this.native = native
  }

  /** As `flushSoon`; but a turn that has had its time ends for what is urgent too, and what is not gathers for the next. */
  abstract flushWithTurn(rank: Rank): void

  /**
   * Writes the sockaddr of a socket, or of its peer, into `sockaddr`. As the next three, it is made at once.
   * @returns its length, or a negative errno
   * @see getsockname(2), getpeername(2)
   */
  getsockname(fd: number, sockaddr: Buffer, ofPeer: boolean): number {
    return this.native.getsockname(fd, sockaddr, ofPeer)
  }

  /** @returns 0, or a negative errno. @see bind(2) */
  bind(fd: number, sockaddr: Buffer): number {
    return this.native.bind(fd, sockaddr)
  }

  /** @returns 0, or a negative errno. @see listen(2) */
  listen(fd: number, backlog: number): number {
    return this.native.listen(fd, backlog)
  }

  /** @param value a number, or a structure. @returns 0, or a negative errno. @see setsockopt(2) */
  setsockopt(fd: number, level: number, name: number, value: number | Buffer): number {
    const bytes = typeof value === 'number' ? new Uint8Array(Int32Array.of(value).buffer) : value
    return this.native.setsockopt(fd, level, name, bytes)
  }

  /**
   * Completes with a new fd, close-on-exec.
   * @see io_uring_prep_socket(3), socket(2)
   */
  socket(family: number, type: number, completion: Completion, rank: Rank): void {
    const sqe = this.stage(IORING_OP_SOCKET, family, completion, resultIsFd)
    this.staged[sqe + 2] = type | SOCK_CLOEXEC
    this.flushWithTurn(rank)
  }

  /** @see io_uring_prep_connect(3), connect(2) */
  connect(fd: number, sockaddr: Buffer, completion: Completion, rank: Rank): void {
    const address = this.addressOf(sockaddr)
    const sqe = this.stage(IORING_OP_CONNECT, fd, completion)
    const words = this.staged
    words[sqe + 2] = sockaddr.length
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    this.flushWithTurn(rank)
  }

  /**
   * Completes with a new fd, close-on-exec, for each connection that comes, until it is cancelled or one fails.
   * @see io_uring_prep_multishot_accept(3), accept4(2)
   */
  accept(fd: number, completion: Completion, rank: Rank): void {
    const sqe = this.stage(IORING_OP_ACCEPT | (IORING_ACCEPT_MULTISHOT << 16), fd, completion, resultIsFd)
    this.staged[sqe + 7] = SOCK_CLOEXEC
    this.flushWithTurn(rank)
  }

  /**
   * Receives into memory at `address`. Completes with the bytes received, 0 is the end.
   * @param flags MSG_DONTWAIT: EAGAIN instead of waiting
   * @param pollFirst nothing is there yet: it waits without looking first
   * @see io_uring_prep_recv(3), recv(2)
   */
  recv(
    fd: number,
    address: number,
    lengthBytes: number,
    flags: number,
    pollFirst: boolean,
    completion: Completion,
    rank: Rank,
  ): void {
    const sqe = this.stage(
      IORING_OP_RECV | (pollFirst ? IORING_RECVSEND_POLL_FIRST << 16 : 0),
      fd,
      completion,
    )
    const words = this.staged
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = lengthBytes
    words[sqe + 7] = flags
    this.flushWithTurn(rank)
  }

  /**
   * Sends memory at `address`. Completes with the bytes that the kernel has taken.
   * @param flags MSG_DONTWAIT: EAGAIN instead of waiting
   * @see io_uring_prep_send(3), send(2)
   */
  send(
    fd: number,
    address: number,
    lengthBytes: number,
    flags: number,
    completion: Completion,
    rank: Rank,
  ): void {
    const sqe = this.stage(IORING_OP_SEND, fd, completion)
    const words = this.staged
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = lengthBytes
    words[sqe + 7] = flags
    this.flushWithTurn(rank)
  }

  /**
   * Sends what a struct msghdr at `address` lists. The kernel has read that when the submission is taken.
   * @see io_uring_prep_sendmsg(3), sendmsg(2)
   */
  sendmsg(fd: number, address: number, flags: number, completion: Completion, rank: Rank): void {
    const sqe = this.stage(IORING_OP_SENDMSG, fd, completion)
    const words = this.staged
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = 1
    words[sqe + 7] = flags
    this.flushWithTurn(rank)
  }

  /**
   * Receives into what a struct msghdr at `address` lists, and its sender's address: the struct is written to as well.
   * @param flags MSG_DONTWAIT: EAGAIN instead of waiting
   * @see io_uring_prep_recvmsg(3), recvmsg(2)
   */
  recvmsg(fd: number, address: number, flags: number, completion: Completion, rank: Rank): void {
    const sqe = this.stage(IORING_OP_RECVMSG, fd, completion)
    const words = this.staged
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = 1
    words[sqe + 7] = flags
    this.flushWithTurn(rank)
  }

  /** @see io_uring_prep_shutdown(3), shutdown(2) */
  shutdown(fd: number, how: number, completion: Completion, rank: Rank): void {
    const sqe = this.stage(IORING_OP_SHUTDOWN, fd, completion)
    this.staged[sqe + 6] = how
    this.flushWithTurn(rank)
  }
}
