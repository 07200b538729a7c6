import assert from 'node:assert/strict'
import { setTimeout } from 'node:timers/promises'
import { file, MiB, pattern } from '../files.ts'
import { inChild } from './child.ts'
import type { StreamContract } from './contract.ts'
import { fifo, sha256 } from './pipes.ts'

/** Reads and writes of all kinds that nobody answers. */
const pending = `
  fs.closeSync(0); fs.openSync(folder + '/stdin', fs.constants.O_RDWR) // a pipe that is its own writer
  stream.read(0, 'background').next()
  stream.all(folder + '/lonely', 'user-blocking').catch(() => {})
  stream.write(folder + '/lonely 2', 'background').write('x').catch(() => {})
  const full = fs.openSync(folder + '/full', fs.constants.O_RDWR)
  stream.write(full, 'background').write(Buffer.alloc(1e6)).catch(() => {})
  await sleep(50)
  console.log('ready')`

export const processes: StreamContract[] = [
  {
    name: 'stdin as a pipe: what another program prints comes through as it was',
    async run(_, test) {
      const content = pattern(5 * MiB, 3)
      const path = file(test, 'sent', content)
      const { stdout, stderr, code } = await inChild(
        test,
        `import { createHash } from 'node:crypto'
         const hash = createHash('sha256')
         for await (const bytes of stream.read(0, 'user-visible')) hash.update(bytes)
         console.log(hash.digest('hex'))`,
        { shell: `cat '${path}' | "$@"` },
      )
      assert.deepEqual({ stdout, stderr, code }, { stdout: `${sha256(content)}\n`, stderr: '', code: 0 })
    },
  },
  {
    name: 'what a loop leaves of stdin is for the next program',
    async run(_, test) {
      const { stdout, stderr } = await inChild(
        test,
        `for await (const line of stream.read(0, 'background', { chunkBytes: 6 })) {
           console.log('first ' + line)
           break
         }`,
        { shell: `printf 'line1\\nline2\\nline3\\n' | { sleep 0.1; "$@"; cat; }` },
      )
      assert.deepEqual({ stdout, stderr }, { stdout: 'first line1\n\nline2\nline3\n', stderr: '' })
    },
  },
  {
    name: 'stdin as a socket is read, left and read on, and its flags are as they were',
    async run(_, test) {
      if (process.platform !== 'linux') return test.skip('only Linux shows what is open, and how')
      const { stdout, stderr, code } = await inChild(
        test,
        `const flags = () => fs.readFileSync('/proc/self/fdinfo/0', 'latin1').split('\\n')[1]
         const before = flags()
         for await (const bytes of stream.read(0, 'background', { chunkBytes: 4 })) {
           console.log('ready ' + bytes)
           break
         }
         await sleep(50)
         console.log(flags() === before)
         console.log(String(await stream.all(0, 'background')))
         await sleep(50)
         console.log(flags() === before)`,
        {
          stdin: 'pipe',
          onReady: async child => {
            await setTimeout(200)
            child.stdin!.end(' and more')
          },
          onStart: child => child.stdin!.write('1234'),
        },
      )
      assert.deepEqual(
        { stdout, stderr, code },
        { stdout: 'ready 1234\ntrue\n and more\ntrue\n', stderr: '', code: 0 },
      )
    },
  },
  {
    name: 'an aborted write to a socket leaves its flags as they were',
    async run(_, test) {
      if (process.platform !== 'linux') return test.skip('only Linux shows what is open, and how')
      const { stdout, stderr, code } = await inChild(
        test,
        `const flags = () => fs.readFileSync('/proc/self/fdinfo/0', 'latin1').split('\\n')[1]
         const before = flags()
         const controller = new AbortController()
         const out = stream.write(0, { priority: 'background', signal: controller.signal })
         const write = out.write(Buffer.alloc(1e7)) // nobody reads that
         await sleep(20)
         controller.abort('enough')
         console.log(await write.catch(reason => reason), await out.end().catch(reason => reason))
         await sleep(20)
         console.log(flags() === before)`,
        { stdin: 'pipe' },
      )
      assert.deepEqual({ stdout, stderr, code }, { stdout: 'enough enough\ntrue\n', stderr: '', code: 0 })
    },
  },
  {
    name: 'stdout as a pipe that its reader closes is EPIPE',
    async run(_, test) {
      const { stdout, stderr } = await inChild(
        test,
        `const out = stream.write(1, 'background')
         let error
         while (error === undefined) await out.write('yes\\n'.repeat(1000)).catch(reason => { error = reason })
         console.error(error.code, (await out.end().catch(reason => reason)) === error)`,
        { shell: `"$@" | head -n 2` },
      )
      assert.deepEqual({ stdout, stderr }, { stdout: 'yes\nyes\n', stderr: 'EPIPE true\n' })
    },
  },
  {
    name: 'a pending read keeps the process alive until it is answered, and an idle stream does not',
    async run(_, test) {
      const { stdout, stderr, code } = await inChild(
        test,
        `const iterator = stream.read(0, 'background', { chunkBytes: 2 })
         iterator.next().then(({ value }) => console.log('got ' + value))
         const out = stream.write(folder + '/out', 'background')
         await out.write('idle') // and never ended`,
        { shell: `{ sleep 0.3; printf 1234; sleep 1; } | { "$@"; echo over; cat > /dev/null; }` },
      )
      assert.deepEqual({ stdout, stderr, code }, { stdout: 'got 12\nover\n', stderr: '', code: 0 })
    },
  },
  ...(
    [
      ['process.exit', 'process.exit(7)', { code: 7, signal: null }],
      [
        'an uncaught exception',
        "setImmediate(() => { throw new Error('uncaught') })",
        { code: 1, signal: null },
      ],
      ['SIGTERM', "process.kill(process.pid, 'SIGTERM')", { code: null, signal: 'SIGTERM' }],
    ] as const
  ).map(
    ([how, end, expected]): StreamContract => ({
      name: `with reads and writes that nobody answers the process ends at once: ${how}`,
      async run(_, test) {
        for (const name of ['stdin', 'lonely', 'lonely 2', 'full']) fifo(test, name)
        let readyMs = 0
        const exit = await inChild(test, `${pending}; ${end}`, {
          onReady: () => (readyMs = performance.now()),
        })
        assert.deepEqual(
          { code: exit.code, signal: exit.signal, stdout: exit.stdout },
          { ...expected, stdout: 'ready\n' },
        )
        assert.ok(performance.now() - readyMs < 5000)
      },
    }),
  ),
  {
    name: 'a worker is terminated with reads and writes that nobody answers, and leaves its fds as they were',
    async run(_, test) {
      if (process.platform !== 'linux') return test.skip('only Linux shows what is open, and how')
      for (const name of ['lonely', 'lonely 2', 'borrowed', 'full']) fifo(test, name)
      file(test, 'file', 'content')
      const { stdout, stderr, code } = await inChild(
        test,
        `import { Worker } from 'node:worker_threads'
         const [fd, full] = ['/borrowed', '/full'].map(name => fs.openSync(folder + name, fs.constants.O_RDWR))
         const count = () => fs.readdirSync('/proc/self/fd').length
         await stream.all(folder + '/file', 'background') // what it needs is set up
         await sleep(20)
         const before = count()
         for (let round = 0; round < 3; round++) {
           const worker = new Worker(\`
             import('node:worker_threads').then(async ({ parentPort, workerData }) => {
               const { url, folder, fd, full } = workerData
               const stream = await import(url)
               stream.read(fd, 'background').next()
               stream.read(fd, 'user-visible').next()
               stream.all(folder + '/lonely', 'user-blocking').catch(() => {})
               stream.write(folder + '/lonely 2', 'background').write('x').catch(() => {})
               stream.write(full, 'background').write(Buffer.alloc(1e6)).catch(() => {})
               setTimeout(() => parentPort.postMessage('ready'), 50)
             })\`, { eval: true, workerData: { url: ${JSON.stringify(test.url)}, folder, fd, full } })
           await new Promise(resolve => worker.once('message', resolve))
           await worker.terminate()
         }
         for (let waits = 0; waits < 100 && count() > before; waits++) await sleep(10)
         fs.writeSync(fd, 'all of it')
         const iterator = stream.read(fd, 'background')
         console.log(count() - before, String((await iterator.next()).value))`,
      )
      assert.deepEqual({ stdout, stderr, code }, { stdout: '0 all of it\n', stderr: '', code: 0 })
    },
  },
  {
    name: 'the end of a worker closes nothing that another thread has opened meanwhile',
    async run(_, test) {
      for (const name of ['fifo', 'borrowed']) fifo(test, name)
      file(test, 'file', 'content')
      const { stdout, stderr, code } = await inChild(
        test,
        `import { Worker } from 'node:worker_threads'
         const fd = fs.openSync(folder + '/borrowed', fs.constants.O_RDWR)
         const worker = new Worker(\`
           import('node:worker_threads').then(async ({ parentPort, workerData: { url, folder, fd } }) => {
             const stream = await import(url)
             const out = stream.write(folder + '/fifo', 'background')
             const all = stream.all(folder + '/fifo', 'background')
             await out.write('bytes')
             await out.end()
             await all
             const borrowed = stream.write(fd, 'background')
             await borrowed.write('bytes')
             await borrowed.end()
             for await (const _ of stream.read(fd, 'background', { chunkBytes: 2 })) break
             const controller = new AbortController()
             const next = stream.read(folder + '/fifo', { priority: 'background', signal: controller.signal }).next()
             setTimeout(() => controller.abort(), 20)
             await next.catch(() => {})
             await stream.all(folder + '/file', 'background')
             setTimeout(() => parentPort.postMessage('ready'), 50)
             setInterval(() => {}, 1000)
           })\`, { eval: true, workerData: { url: ${JSON.stringify(test.url)}, folder, fd } })
         await new Promise(resolve => worker.once('message', resolve))
         const files = Array.from({ length: 50 }, () => fs.openSync(folder + '/file'))
         await worker.terminate()
         for (const fd of files) fs.fstatSync(fd)
         console.log('all open')`,
      )
      assert.deepEqual({ stdout, stderr, code }, { stdout: 'all open\n', stderr: '', code: 0 })
    },
  },
  {
    name: 'an aborted read and an aborted write do not keep the process alive',
    async run(_, test) {
      for (const name of ['lonely', 'borrowed', 'full']) fifo(test, name)
      const { stdout, stderr, code } = await inChild(
        test,
        `const [fd, full] = ['/borrowed', '/full'].map(name => fs.openSync(folder + name, fs.constants.O_RDWR))
         const controller = new AbortController()
         const caller = { priority: 'background', signal: controller.signal }
         const pending = [
           stream.read(fd, caller).next(),
           stream.all(folder + '/lonely', caller),
           stream.write(folder + '/lonely 2', caller).write('x'),
           stream.write(full, caller).write(Buffer.alloc(1e6)),
         ]
         Promise.allSettled(pending.slice(0, 2)).then(() => console.log('aborted'))
         for (const one of pending) one.catch(() => {})
         setTimeout(() => controller.abort(), 50)`,
      )
      assert.deepEqual({ stdout, stderr, code }, { stdout: 'aborted\n', stderr: '', code: 0 })
    },
  },
  {
    name: 'what is left unfinished is no unhandled rejection',
    async run(_, test) {
      fifo(test)
      file(test, 'file', pattern(MiB))
      const { stdout, stderr, code } = await inChild(
        test,
        `for await (const _ of stream.read(folder + '/file', 'background', { chunkBytes: 1000 })) break
         stream.read(folder + '/missing', 'background')
         stream.write(folder + '/missing/file', 'background')
         const controller = new AbortController()
         const caller = { priority: 'background', signal: controller.signal }
         const iterator = stream.read(folder + '/fifo', caller)
         iterator.next().catch(() => {})
         const out = stream.write(folder + '/fifo 2', caller)
         await out.write('x')
         await sleep(20)
         controller.abort()
         await iterator.return()
         await out[Symbol.asyncDispose]().catch(reason => console.log(reason === controller.signal.reason))
         for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate)
         console.log('done')`,
      )
      assert.deepEqual({ stdout, stderr, code }, { stdout: 'true\ndone\n', stderr: '', code: 0 })
    },
  },
]
