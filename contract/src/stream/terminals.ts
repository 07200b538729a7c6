import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, openSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { isatty } from 'node:tty'
import { NotHere } from '../contract.ts'
import { rejection, turns } from '../outcomes.ts'
import { inChild } from './child.ts'
import type { StreamContract, StreamTest } from './contract.ts'
import { isNonblocking, text } from './pipes.ts'

interface Terminal {
  path: string
  fd: number
  /** Types on its keyboard. */
  type(text: string): void
  /** What it has shown. */
  shown(): string
  /** The terminal emulator goes away. */
  hangUp(): Promise<void>
}

/** A terminal emulator: what comes on its stdin is typed, what programs write goes to its stdout. */
const emulator = `
import os, pty, sys, select
master, slave = pty.openpty()
os.write(1, (os.ttyname(slave) + '\\n').encode())
while True:
    for fd in select.select([0, master], [], [])[0]:
        data = os.read(fd, 65536)
        if fd == 0 and not data: sys.exit()
        os.write(master if fd == 0 else 1, data)
`

async function withTerminal(test: StreamTest, run: (terminal: Terminal) => Promise<void>): Promise<void> {
  if (process.platform === 'win32') throw new NotHere('python3 makes no terminals on Windows')
  const child: ChildProcess = spawn('python3', ['-c', emulator], { stdio: ['pipe', 'pipe', 'ignore'] })
  child.on('error', () => {})
  try {
    const [first] = await Promise.race([once(child.stdout!, 'data'), once(child, 'close').then(() => [])])
    if (first === undefined) return test.skip('python3 does not make a terminal here')
    const path = String(first).trim()
    let shown = ''
    child.stdout!.on('data', data => (shown += data))
    const fd = openSync(path, constants.O_RDWR | constants.O_NOCTTY)
    assert.ok(isatty(fd))
    try {
      await run({
        path,
        fd,
        type: text => child.stdin!.write(text),
        shown: () => shown,
        async hangUp() {
          child.stdin!.end()
          await once(child, 'exit')
        },
      })
    } finally {
      closeSync(fd)
    }
  } finally {
    child.kill('SIGKILL')
  }
}

export const terminals: StreamContract[] = [
  {
    name: 'a terminal gives a line when it is typed, and its flags are as they were',
    run: (stream, test) =>
      withTerminal(test, async ({ path, fd, type }) => {
        for (const source of [fd, path]) {
          const iterator = stream.read(source, 'user-blocking')
          for (const line of ['one\n', 'two\n', 'ä\n']) {
            const next = text(iterator)
            await turns(3)
            type(line)
            assert.equal(await next, line)
          }
          await iterator.return!()
        }
        if (process.platform === 'linux') assert.equal(isNonblocking(fd), false)
      }),
  },
  {
    name: 'a read of a terminal that is left or aborted takes no line',
    run: (stream, test) =>
      withTerminal(test, async ({ fd, type }) => {
        const controller = new AbortController()
        const aborted = stream.read(fd, { priority: 'background', signal: controller.signal })
        const rejected = rejection(aborted.next())
        await turns(3)
        controller.abort('enough')
        assert.equal(await rejected, 'enough')
        const left = stream.read(fd, 'background')
        const next = text(left)
        await turns(3)
        await left.return!()
        assert.equal(await next, undefined)
        type('a line\n')
        const iterator = stream.read(fd, 'background', { chunkBytes: 4 })
        assert.equal(await text(iterator), 'a li')
        assert.equal(await text(iterator), 'ne\n')
        await iterator.return!()
      }),
  },
  {
    name: 'control-D is the end',
    run: (stream, test) =>
      withTerminal(test, async ({ fd, type }) => {
        const all = stream.all(fd, 'background')
        type('line\n')
        await setTimeout(20)
        type('\x04')
        assert.equal(String(await all), 'line\n')
      }),
  },
  {
    name: 'a terminal that hangs up is at its end for reads, and EIO for writes',
    run: (stream, test) =>
      withTerminal(test, async ({ fd, hangUp }) => {
        const pending = text(stream.read(fd, 'background'))
        await turns(5)
        await hangUp()
        assert.equal(await pending, undefined)
        const out = stream.write(fd, 'background')
        assert.equal((await rejection(out.write('bytes'))).code, 'EIO')
      }),
  },
  {
    name: 'what is written to a terminal is shown',
    run: (stream, test) =>
      withTerminal(test, async ({ path, fd, shown }) => {
        for (const [index, sink] of [fd, path].entries()) {
          const out = stream.write(sink, 'background', { flags: 'r+' })
          const text = `${'x'.repeat(20_000)}${index}\n`
          await out.write(text)
          await out.end()
          for (let waits = 0; waits < 500 && !shown().endsWith(`${index}\r\n`); waits++) await setTimeout(2)
          assert.equal(shown().slice(-text.length - 1), text.replace('\n', '\r\n'))
        }
        if (process.platform === 'linux') assert.equal(isNonblocking(fd), false)
      }),
  },
  {
    name: "of a terminal's other side, the end of the program in it is the end",
    async run(_, test) {
      const emulate = `
import os, pty, subprocess, sys
master, slave = pty.openpty()
child = subprocess.Popen(sys.argv[1:], stdin=master)
os.write(slave, b'shown')
import time; time.sleep(0.5)
os.close(slave)
sys.exit(child.wait())`
      const { stdout, stderr, code } = await inChild(
        test,
        `for await (const bytes of stream.read(0, 'background')) process.stdout.write(bytes)
         console.log(' end')`,
        { wrapper: ['python3', '-c', emulate] },
      )
      assert.deepEqual({ stdout, stderr, code }, { stdout: 'shown end\n', stderr: '', code: 0 })
    },
  },
]
