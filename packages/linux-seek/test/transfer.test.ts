// What the README forbids: a buffer that goes elsewhere while the kernel writes into it. Nothing can keep it from going:
// Node-API gives no hold on an ArrayBuffer's memory, and what is marked as untransferable once is so for ever. node:fs
// has the same hazard. What is shown here is that it stays one memory: the bytes follow it, to nobody else.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import { afterAll, beforeAll, expect, test } from 'vitest'
import * as seek from '../src/seek.ts'

let folder = ''
let fifo = ''
let end = -1
let pipe: seek.File

beforeAll(async () => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-transfer-'))
  fifo = join(folder, 'fifo')
  execFileSync('mkfifo', [fifo])
  end = fs.openSync(fifo, fs.constants.O_RDWR | fs.constants.O_NONBLOCK)
  pipe = await seek.open(fifo, 'realtime', { flags: fs.constants.O_RDWR })
})
afterAll(async () => {
  await pipe.close()
  fs.closeSync(end)
  fs.rmSync(folder, { recursive: true })
})

const turn = () => new Promise(resolve => setImmediate(resolve))

const transfers: [string, (memory: ArrayBuffer) => ArrayBuffer][] = [
  ['structuredClone', memory => structuredClone(memory, { transfer: [memory] })],
  [
    'postMessage',
    memory => {
      const { port1, port2 } = new MessageChannel()
      port1.postMessage(memory, [memory])
      const moved = receiveMessageOnPort(port2)!.message
      port1.close()
      return moved
    },
  ],
  ['transfer', memory => memory.transfer()],
  ['transferToFixedLength', memory => memory.transferToFixedLength()],
]

test.each(transfers)(
  '%s while a read is in flight: the bytes land where the memory went',
  async (_, transfer) => {
    for (const lengthBytes of [100, 100_000]) {
      const memory = new ArrayBuffer(lengthBytes)
      const read = pipe.read(new Uint8Array(memory), 0, 'realtime').catch(error => error.code)
      await turn()
      const moved = transfer(memory)
      expect(memory.byteLength).toBe(0)
      expect(moved.byteLength).toBe(lengthBytes)
      const neighbour = new Uint8Array(lengthBytes)
      const bytes = Buffer.alloc(Math.min(lengthBytes, 60_000), 7)
      expect(fs.writeSync(end, bytes)).toBe(bytes.length)
      // Where it is short, the next piece finds out.
      expect(await read).toBe(lengthBytes === bytes.length ? lengthBytes : 'ERR_INVALID_STATE')
      expect(new Uint8Array(moved)[0]).toBe(7)
      expect(neighbour.every(byte => byte === 0)).toBe(true)
      // What nobody read.
      try {
        while (fs.readSync(end, bytes) > 0);
      } catch {}
    }
  },
)

test('a read of many pieces stops at the next piece', async () => {
  const memory = new ArrayBuffer(200_000)
  const read = pipe.read(new Uint8Array(memory), 0, 'background')
  await turn()
  const moved = new Uint8Array(structuredClone(memory, { transfer: [memory] }))
  fs.writeSync(end, 'abc')
  await expect(read).rejects.toMatchObject({ code: 'ERR_INVALID_STATE' })
  fs.writeSync(end, 'stays')
  await turn()
  expect(Buffer.from(moved).toString('latin1', 0, 6)).toBe('abc\0\0\0')
  const rest = Buffer.alloc(10)
  expect(rest.toString('latin1', 0, fs.readSync(end, rest))).toBe('stays')
})

test('a buffer of the library’s own cannot go while it is filled: nobody has it', async () => {
  const path = join(folder, 'file')
  fs.writeFileSync(path, Buffer.alloc(300_000, 1))
  const bytes = await seek.readAll(path, 'realtime')
  expect(bytes.length).toBe(300_000)
  expect(
    structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] }).byteLength,
  ).toBeGreaterThan(0)
})
