import assert from 'node:assert/strict'
import { writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Priority } from '@kiruna/priority'
import { LaneEntry, lane } from '@kiruna/priority/lane'
import { file, pattern } from '../files.ts'
import { rejection, turns } from '../outcomes.ts'
import type { StreamContract } from './contract.ts'
import { fifo, pipe, text } from './pipes.ts'

/** Runs while the lane is full for all below user-blocking. */
async function withFullLane(run: () => Promise<void>): Promise<void> {
  class Holder extends LaneEntry {
    readonly asker = { priority: 'background' as const }
    start(): void {}
  }
  const holders = Array.from({ length: lane.depth }, () => new Holder())
  for (const holder of holders) lane.enter(holder)
  try {
    await run()
  } finally {
    for (const holder of holders) lane.leave(holder)
  }
}

export const callers: StreamContract[] = [
  {
    name: 'streams that wait for somebody hold up no file, however many they are',
    async run(stream, test) {
      const controller = new AbortController()
      const caller = { priority: 'background' as const, signal: controller.signal }
      const waiting: Promise<unknown>[] = []
      const pipes = []
      for (let index = 0; index < 12; index++) {
        const path = fifo(test, `fifo ${index}`)
        waiting.push(index % 2 === 0 ? stream.all(path, caller) : stream.write(path, caller).write('x'))
        const opened = pipe(test, { name: `pipe ${index}` })
        pipes.push(opened)
        if (index % 2 === 0) waiting.push(stream.read(opened.readFd, caller).next())
        else waiting.push(stream.write(opened.writeFd, caller).write(pattern(200_000)))
      }
      const rejections = waiting.map(rejection)
      await setTimeout(30)
      const path = file(test, 'file', pattern(300_000))
      for (const priority of ['background', 'user-visible', 'realtime'] as const) {
        assert.equal((await stream.all(path, priority)).length, 300_000)
        const out = stream.write(join(test.folder, 'out'), priority)
        await out.write(pattern(300_000))
        await out.end()
      }
      controller.abort('enough')
      for (const reason of await Promise.all(rejections)) assert.equal(reason, 'enough')
      for (const { close } of pipes) close()
    },
  },
  {
    name: 'a file waits for the lane, a pipe does not, and the urgent never do',
    async run(stream, test) {
      const path = file(test, 'file', 'content')
      const { readFd, writeFd, close } = pipe(test)
      await withFullLane(async () => {
        const controller = new AbortController()
        const caller = { priority: 'background' as const, signal: controller.signal }
        const iterator = stream.read(readFd, caller)
        await stream.write(writeFd, caller).write('through')
        assert.equal(await text(iterator), 'through')
        await iterator.return!()
        assert.equal(String(await stream.all(path, 'user-blocking')), 'content')
        let settled = false
        const reads = rejection(stream.all(path, caller)).finally(() => (settled = true))
        await setTimeout(20)
        assert.ok(!settled)
        controller.abort('enough')
        await turns(2)
        assert.ok(settled, 'it waits for the lane')
        assert.equal(await reads, 'enough')
      })
      close()
    },
  },
  {
    name: 'each read and each write goes on when its caller says so',
    async run(stream, test) {
      const { readFd, writeFd, close } = pipe(test)
      const jobs: (() => void)[] = []
      const asker = { priority: 'user-visible' as const, deliver: (job: () => void) => void jobs.push(job) }
      const iterator = stream.read(readFd, asker)
      let settled = 0
      const next = iterator.next().then(({ value }) => {
        settled++
        return String(value)
      })
      const write = stream
        .write(writeFd, asker)
        .write('bytes')
        .then(() => settled++)
      while (jobs.length < 2) await turns(1)
      await turns(20)
      assert.deepEqual([jobs.length, settled], [2, 0])
      for (const job of jobs) job()
      assert.equal(await next, 'bytes')
      await write
      await iterator.return!()
      close()
    },
  },
  {
    name: 'an abort rejects what has not begun in the same moment, when its caller says so',
    async run(stream, test) {
      const { writeFd, close } = pipe(test)
      const controller = new AbortController()
      const jobs: (() => void)[] = []
      const asker = {
        priority: 'user-visible' as const,
        signal: controller.signal,
        deliver: (job: () => void) => void jobs.push(job),
      }
      const out = stream.write(writeFd, asker)
      const writes = [pattern(1_000_000), 'more', 'and more'].map(bytes => rejection(out.write(bytes)))
      await setTimeout(10)
      controller.abort('enough')
      assert.ok(jobs.length >= 2, 'they wait for the write that has begun')
      while (jobs.length < 3) await turns(1)
      for (const job of jobs) job()
      assert.deepEqual(await Promise.all(writes), ['enough', 'enough', 'enough'])
      close()
    },
  },
  {
    name: 'of what comes together, the most urgent goes on first',
    async run(stream, test) {
      if (process.platform === 'win32') {
        return test.skip('a borrowed pipe is looked at by a thread of its own there: nothing comes together')
      }
      const asked: Priority[] = ['background', 'user-visible', 'user-blocking', 'realtime']
      const pipes = asked.map(name => pipe(test, { name }))
      const order: Priority[] = []
      const reads = asked.map(async (priority, index) => {
        const iterator = stream.read(pipes[index]!.readFd, priority)
        await iterator.next()
        order.push(priority)
        await iterator.return!()
      })
      await turns(10) // all of them wait
      for (const { writeFd } of pipes) writeSync(writeFd, 'x')
      await Promise.all(reads)
      assert.deepEqual(order, asked.reverse())
      for (const { close } of pipes) close()
    },
  },
]
