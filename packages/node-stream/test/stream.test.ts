import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import * as stream from '../src/stream.ts'

test('a socket that libuv would close is refused with the reason, and stays as it is', async () => {
  const server = createServer(socket => socket.end('hello')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect(server.address() as { port: number }).pause()
  await once(socket, 'connect')
  const { fd } = (socket as Socket & { _handle: { fd: number } })._handle
  expect(fd).toBeGreaterThan(2)
  const refused = { code: 'ERR_KIRUNA_UNAVAILABLE', message: expect.stringContaining('socket') }
  await expect(stream.read(fd, 'background').next()).rejects.toMatchObject(refused)
  await expect(stream.write(fd, 'background').write('x')).rejects.toMatchObject(refused)
  const data = once(socket, 'data')
  socket.resume()
  const [bytes] = await data
  expect(String(bytes)).toBe('hello')
  server.close()
})
