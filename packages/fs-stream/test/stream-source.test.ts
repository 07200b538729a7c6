import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { borrow, checkPathOrFd } from '../src/stream-source.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'kiruna-source-'))
  writeFileSync(join(folder, 'file'), 'content')
})
afterAll(() => rmSync(folder, { recursive: true }))

const open = () => openSync(join(folder, 'file'), 'r')

test('the readers of an fd share a source, and what is given back is for the next of them', () => {
  const fd = open()
  const source = borrow(fd).addReader()
  expect(borrow(fd)).toBe(source)
  readSync(fd, Buffer.alloc(5))
  source.giveBack(Buffer.from('con'))
  source.giveBack(Buffer.from('te'))
  source.removeReader(() => {})
  const next = borrow(fd).addReader()
  expect([2, 2, 2, 2].map(bytes => next.takeBack(bytes)?.toString())).toEqual(['co', 'n', 'te', undefined])
  next.removeReader(() => {})
  closeSync(fd)
})

test('what is given back of a file that has been set elsewhere, or opened anew, is forgotten', () => {
  const fd = open()
  readSync(fd, Buffer.alloc(5))
  borrow(fd).addReader().giveBack(Buffer.from('conte'))
  borrow(fd).removeReader(() => {})
  closeSync(fd)
  const again = open()
  expect(again).toBe(fd)
  expect(borrow(again).takeBack(100)).toBe(undefined)
  closeSync(again)
})

test('a source closes when no read is under way any more', () => {
  const fd = open()
  const source = borrow(fd).addReader()
  const read = { takeTurn() {} }
  source.turns.enter(read)
  let closed = false
  source.removeReader(() => {
    closed = true
  })
  expect(closed).toBe(false)
  source.turns.leave(read)
  expect(closed).toBe(true)
  closeSync(fd)
})

test('little is copied out of the memory that is read into, and much is not', () => {
  const fd = open()
  const source = borrow(fd)
  const memory = source.takeMemory(1000)
  const little = source.cut(memory, 10)
  expect(little.buffer).not.toBe(memory.buffer)
  expect(source.takeMemory(1000)).toBe(memory)
  expect(source.cut(memory, 900).buffer).toBe(memory.buffer)
  expect(source.takeMemory(1000)).not.toBe(memory)
  closeSync(fd)
})

test('an fd is a number that may be one', () => {
  expect(checkPathOrFd(3)).toBe(3)
  expect(checkPathOrFd('file')).toBe('file')
  expect(() => checkPathOrFd(-1)).toThrow(RangeError)
})
