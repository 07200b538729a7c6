import assert from 'node:assert/strict'
import { inChild } from './child.ts'
import type { NetContract } from './contract.ts'

/** `KIRUNA_RUNS=100000` opens and closes so many. */
const connections = Number(process.env.KIRUNA_RUNS ?? 1500)

export const stress: NetContract[] = [
  {
    name: 'thousands of connections, opened, used and closed, leave no fd and no memory',
    async run(_, test) {
      if (process.platform !== 'linux') return test.skip('only Linux shows what is open')
      const { stdout, stderr, code } = await inChild(
        test,
        `const path = folder + '/socket'
         const listener = await net.listen({ path }, 'user-visible')
         void (async () => {
           for await (const connection of listener) void echo(connection)
         })()
         async function echo(connection) {
           try {
             for await (const bytes of connection) await connection.write(bytes)
             await connection.end()
           } catch {} // it was left in the middle
           await connection.close()
         }
         async function use(index) {
           const client = await net.connect({ path }, index % 2 ? 'background' : 'user-blocking')
           if (index % 4 === 0) return client.close()
           const read = client.read()
           await client.write('x')
           if (index % 4 === 1) {
             read.catch(() => {})
             return client.close()
           }
           await read
           await client.end()
           if (index % 4 === 2 && (await client.read()) !== null) throw new Error('no end')
           await client.close()
         }
         async function useAll(count) {
           let next = 0
           const worker = async () => { while (next < count) await use(next++) }
           await Promise.all(Array.from({ length: 50 }, worker))
         }
         const count = () => fs.readdirSync('/proc/self/fd').length
         const settled = async () => {
           for (let waits = 0; waits < 20; waits++) { await sleep(5); gc() }
           const { rss, heapUsed, arrayBuffers } = process.memoryUsage()
           return { rss, used: heapUsed + arrayBuffers, fds: count() }
         }
         await useAll(500)
         const before = await settled()
         await useAll(${connections})
         const after = await settled()
         const grownMiB = { used: (after.used - before.used) / 2 ** 20, rss: (after.rss - before.rss) / 2 ** 20 }
         if (grownMiB.used > 1 || grownMiB.rss > 100) // a heap has its ups and downs
           console.log(grownMiB)
         console.log(after.fds - before.fds)
         await listener.close()`,
        { flags: ['--expose-gc'], limitMs: 15_000 + connections * 5 },
      )
      assert.deepEqual({ stdout, stderr, code }, { stdout: '0\n', stderr: '', code: 0 })
    },
  },
]
