// The submissions of sockets, as in sqe.ts.
import { LEN, OFF, OP_FLAGS, OPCODE, prepMemory, type Submissions } from './sqe.ts'

// linux/io_uring.h, sys/socket.h
const IORING_OP_SENDMSG = 9
const IORING_OP_RECVMSG = 10
const IORING_OP_ACCEPT = 13
const IORING_OP_CONNECT = 16
const IORING_OP_SEND = 26
const IORING_OP_RECV = 27
const IORING_OP_SHUTDOWN = 34
const IORING_OP_SOCKET = 45
const IORING_RECVSEND_POLL_FIRST = 1
const SOCK_CLOEXEC = 0o2000000

/** Completes with a new fd, close-on-exec. `sqe` has the family in place of an fd. @see io_uring_prep_socket(3) */
export function prepSocket({ words }: Submissions, sqe: number, type: number): void {
  words[sqe + OPCODE] = IORING_OP_SOCKET
  words[sqe + OFF] = type | SOCK_CLOEXEC
}

/** @see io_uring_prep_connect(3), connect(2) */
export function prepConnect(to: Submissions, sqe: number, sockaddr: Buffer): void {
  prepMemory(to, sqe, IORING_OP_CONNECT, to.addressOf(sockaddr), 0)
  to.words[sqe + OFF] = sockaddr.length
}

/** Completes with a new fd, close-on-exec. @see io_uring_prep_accept(3), accept4(2) */
export function prepAccept({ words }: Submissions, sqe: number): void {
  words[sqe + OPCODE] = IORING_OP_ACCEPT
  words[sqe + OP_FLAGS] = SOCK_CLOEXEC
}

/**
 * Completes with the bytes received; 0 is the end.
 * @param flags MSG_DONTWAIT: EAGAIN instead of waiting
 * @param pollFirst nothing is expected yet: the kernel polls before it tries
 * @see io_uring_prep_recv(3), recv(2)
 */
export function prepRecv(
  to: Submissions,
  sqe: number,
  address: number,
  bytes: number,
  flags: number,
  pollFirst: boolean,
): void {
  prepMemory(to, sqe, IORING_OP_RECV | (pollFirst ? IORING_RECVSEND_POLL_FIRST << 16 : 0), address, bytes)
  to.words[sqe + OP_FLAGS] = flags
}

/**
 * Completes with the bytes that the kernel has taken.
 * @param flags MSG_DONTWAIT: EAGAIN instead of waiting
 * @see io_uring_prep_send(3), send(2)
 */
export function prepSend(to: Submissions, sqe: number, address: number, bytes: number, flags: number): void {
  prepMemory(to, sqe, IORING_OP_SEND, address, bytes)
  to.words[sqe + OP_FLAGS] = flags
}

/** @param msghdr its address; the kernel reads it when it takes the submission @see io_uring_prep_sendmsg(3) */
export function prepSendmsg(to: Submissions, sqe: number, msghdr: number, flags: number): void {
  prepMemory(to, sqe, IORING_OP_SENDMSG, msghdr, 1)
  to.words[sqe + OP_FLAGS] = flags
}

/** @param msghdr its address; the kernel writes to the struct as well @see io_uring_prep_recvmsg(3), recvmsg(2) */
export function prepRecvmsg(to: Submissions, sqe: number, msghdr: number, flags: number): void {
  prepMemory(to, sqe, IORING_OP_RECVMSG, msghdr, 1)
  to.words[sqe + OP_FLAGS] = flags
}

/** @param how SHUT_RD, SHUT_WR, SHUT_RDWR @see io_uring_prep_shutdown(3), shutdown(2) */
export function prepShutdown({ words }: Submissions, sqe: number, how: number): void {
  words[sqe + OPCODE] = IORING_OP_SHUTDOWN
  words[sqe + LEN] = how
}
