import assert from 'node:assert/strict'
import {
  createServer,
  connect as nodeConnect,
  type Server,
  type Socket,
  type TcpNetConnectOpts,
} from 'node:net'
import { join } from 'node:path'
import type { Caller } from '@kiruna/priority'
import type { Connection, Listener, Net, NetTest } from './contract.ts'

/** How two can find each other. */
export type Family = 'IPv4' | 'IPv6' | 'Unix' | 'abstract'
export const families: Family[] = ['IPv4', 'IPv6', 'Unix', 'abstract']

let unique = 0

/** Where to listen for it. */
export function placeOf(
  family: Family,
  { folder }: NetTest,
): { port: number; host: string } | { path: string } {
  if (family === 'IPv4') return { port: 0, host: '127.0.0.1' }
  if (family === 'IPv6') return { port: 0, host: '::1' }
  const name = `${process.pid}-${++unique}`
  // What node:net takes a path for there, and win-iocp has for it.
  if (process.platform === 'win32') return { path: `\\\\.\\pipe\\kiruna-${name}` }
  return { path: family === 'Unix' ? join(folder, name) : `\0kiruna-${name}` }
}

/** How to reach a listener. */
export function targetOf({ address }: Listener): { port: number; host: string } | { path: string } {
  if (address.family === 'Unix') return { path: address.path }
  return { port: address.port, host: address.address }
}

export interface Pair {
  client: Connection
  server: Connection
  listener: Listener
  close(): Promise<void>
}

/** Two ends of one connection, both of the implementation that is tested. */
export async function pair(
  net: Net,
  test: NetTest,
  caller: Caller = 'user-visible',
  family: Family = 'IPv4',
): Promise<Pair> {
  const listener = await net.listen(placeOf(family, test), caller)
  const accepted = accept(listener)
  const client = await net.connect(targetOf(listener), caller)
  const server = await accepted
  const close = async () => void (await Promise.all([client.close(), server.close(), listener.close()]))
  return { client, server, listener, close }
}

export async function accept(listener: Listener): Promise<Connection> {
  const { value, done } = await listener[Symbol.asyncIterator]().next()
  assert.ok(!done, 'the listener has ended')
  return value
}

export interface WithNode {
  connection: Connection
  /** The other end, node:net's. */
  socket: Socket
  close(): Promise<void>
}

/** A connection to a socket of node:net's. The socket reads nothing until it is told to. */
export async function withNode(net: Net, caller: Caller = 'user-visible'): Promise<WithNode> {
  const { server, port, next } = await nodeServer()
  const socket = next()
  const connection = await net.connect({ port, host: '127.0.0.1' }, caller)
  const close = async () => {
    const other = await socket
    other.destroy()
    await connection.close()
    await new Promise(resolve => server.close(resolve))
  }
  return { connection, socket: await socket, close }
}

export interface NodeServer {
  server: Server
  port: number
  /** The next socket that connects. */
  next(): Promise<Socket>
}

export async function nodeServer(): Promise<NodeServer> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const next = () =>
    new Promise<Socket>(resolve =>
      server.once('connection', socket => {
        socket.on('error', () => {}) // what its other end does to it is looked at there
        resolve(socket)
      }),
    )
  return { server, port, next }
}

/** A socket of node:net's that is connected to a listener. */
export function nodeSocket(listener: Listener): Promise<Socket> {
  const target = targetOf(listener)
  return new Promise((resolve, reject) => {
    const socket = nodeConnect({ ...target, allowHalfOpen: true } as TcpNetConnectOpts, () => {
      socket.off('error', reject).on('error', () => {})
      resolve(socket)
    })
    socket.once('error', reject)
  })
}

/** Reads until so many bytes have come. */
export async function readBytes(
  connection: Connection,
  lengthBytes: number,
  caller?: Caller,
): Promise<Buffer> {
  const all: Buffer[] = []
  for (let left = lengthBytes; left > 0; ) {
    const bytes = await connection.read(caller)
    if (bytes === null) break
    all.push(bytes)
    left -= bytes.length
  }
  return Buffer.concat(all)
}

/** Reads until the end. */
export async function readAll(connection: Connection): Promise<Buffer> {
  const all: Buffer[] = []
  for await (const bytes of connection) all.push(bytes)
  return Buffer.concat(all)
}
