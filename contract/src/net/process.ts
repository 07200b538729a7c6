import assert from 'node:assert/strict'
import { inChild } from './child.ts'
import type { NetContract } from './contract.ts'

/** Everything in flight: accepts, connects, reads, writes that wait for their peer. */
const pending = `
  const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
  const target = { port: listener.address.port, host: '127.0.0.1' }
  const iterator = listener[Symbol.asyncIterator]()
  const much = Buffer.alloc(8e6)
  for (let count = 0; count < 8; count++) {
    const client = await net.connect(target, count % 2 ? 'background' : 'realtime')
    const { value: server } = await iterator.next()
    client.read().catch(() => {})
    server.write(much).catch(() => {})
    if (count % 3 === 0) server.read('user-blocking').catch(() => {})
    if (count % 4 === 0) server.end().catch(() => {})
  }
  iterator.next().catch(() => {})
  for (let count = 0; count < 5; count++) net.connect(target, 'background').catch(() => {})
  await sleep(20)`

export const processes: NetContract[] = [
  ...(
    [
      ['process.exit', 'process.exit(7)', { code: 7, signal: null }],
      [
        'an uncaught exception',
        "setImmediate(() => { throw new Error('uncaught') })",
        { code: 1, signal: null },
      ],
      [
        'SIGTERM',
        "process.kill(process.pid, 'SIGTERM')",
        process.platform === 'win32' ? { code: 1, signal: null } : { code: null, signal: 'SIGTERM' },
      ],
    ] as const
  ).map(
    ([how, end, expected]): NetContract => ({
      name: `with everything in flight the process ends at once: ${how}`,
      async run(_, test) {
        let readyMs = 0
        const { code, signal } = await inChild(test, `${pending}; console.log('ready'); ${end}`, {
          onReady: () => (readyMs = performance.now()),
        })
        assert.deepEqual({ code, signal }, expected)
        assert.ok(performance.now() - readyMs < 5000)
      },
    }),
  ),
  {
    name: 'a worker is terminated with everything in flight, and leaves no fd open',
    async run(_, test) {
      if (process.platform !== 'linux') return test.skip('only Linux shows what is open')
      const { stdout, stderr, code } = await inChild(
        test,
        `import { Worker } from 'node:worker_threads'
         const count = () => fs.readdirSync('/proc/self/fd').length
         const run = async () => {
           const worker = new Worker(\`
             Promise.all([import('node:worker_threads'), import('node:timers/promises')]).then(
               async ([{ parentPort, workerData }, { setTimeout: sleep }]) => {
                 const net = await import(workerData)
                 ${pending.replaceAll('`', '\\`')}
                 parentPort.postMessage('ready')
               })\`, { eval: true, workerData: ${JSON.stringify(test.url)} })
           await new Promise(resolve => worker.once('message', resolve))
           await worker.terminate()
         }
         await run()
         await sleep(50)
         const before = count()
         for (let round = 0; round < 3; round++) await run()
         for (let waits = 0; waits < 100 && count() > before; waits++) await sleep(10)
         console.log(count() - before)`,
      )
      assert.deepEqual({ stdout, stderr, code }, { stdout: '0\n', stderr: '', code: 0 })
    },
  },
  {
    name: 'a read that waits keeps the process alive until it is answered; an idle connection and an idle listener do not',
    async run(_, test) {
      const { stdout, stderr, code } = await inChild(
        test,
        `const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
         const child = spawn(process.execPath, ['-e', \`
           const socket = require('node:net').connect(\${listener.address.port}, '127.0.0.1')
           setTimeout(() => socket.write('late'), 300)
           setTimeout(() => process.exit(), 10000)\`], { stdio: 'ignore' })
         process.on('exit', () => child.kill())
         child.unref()
         const { value: connection } = await listener[Symbol.asyncIterator]().next()
         await listener.close()
         console.log(String(await connection.read()))
         // and neither is closed`,
      )
      assert.deepEqual({ stdout, stderr, code }, { stdout: 'late\n', stderr: '', code: 0 })
    },
  },
  {
    name: 'an aborted read does not keep the process alive',
    async run(_, test) {
      const { stdout, stderr, code } = await inChild(
        test,
        `const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
         const accepted = listener[Symbol.asyncIterator]().next()
         const client = await net.connect({ port: listener.address.port, host: '127.0.0.1' }, 'background')
         await accepted
         await listener.close()
         const controller = new AbortController()
         client.read({ priority: 'background', signal: controller.signal }).catch(() => console.log('aborted'))
         await sleep(20)
         controller.abort()`,
      )
      assert.deepEqual({ stdout, stderr, code }, { stdout: 'aborted\n', stderr: '', code: 0 })
    },
  },
]
