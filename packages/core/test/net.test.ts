import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { run } from './run-module.test-support.ts'

const core = fileURLToPath(new URL('..', import.meta.url))
const ownName = process.platform === 'darwin' ? 'dispatch' : 'io_uring'

/** Two ends of a connection, and a stream of user-visible jobs that lasts until it is stopped: or a second. */
const header = `
  import { post, spawn } from '@kiruna/core'
  import { bind, connect, implementation, listen } from '@kiruna/core/net'
  const listener = await listen({ port: 0, host: '127.0.0.1' }, 'user-blocking')
  const accepting = listener[Symbol.asyncIterator]().next()
  const client = await connect({ port: listener.address.port, host: '127.0.0.1' }, 'user-blocking')
  const server = (await accepting).value
  const end = performance.now() + 1000
  let going = false
  const job = () => {
    if (performance.now() < end && going) post('user-visible', job)
    else console.log('jobs end')
  }
  const start = () => { going = true; job() }
  const finish = async () => { await client.close(); await server.close(); await listener.close() }
`

describe.each(['', 'libuv'])('net, KIRUNA_IO=%s', io => {
  async function lines(source: string): Promise<string[]> {
    const { code, out, err } = await run(header + source, core, { KIRUNA_IO: io })
    expect({ code, err }).toEqual({ code: 0, err: '' })
    return out.split('\n').slice(0, -1)
  }

  test('which implementation is said, with a reason where it is not the OS’s own', async () => {
    const [answer] = await lines(`
      console.log(JSON.stringify(implementation()))
      await finish()`)
    const { name, reason } = JSON.parse(answer!)
    if (io === 'libuv') expect({ name, reason }).toEqual({ name: 'libuv', reason: 'KIRUNA_IO=libuv' })
    else if (name === 'libuv') expect(reason).toBeTypeOf('string')
    else expect({ name, reason }).toEqual({ name: ownName, reason: undefined })
  })

  test('a read at a bare priority goes on at that priority', async () => {
    const out = await lines(`
      await server.write('x')
      start()
      await client.read('background')
      going = false
      console.log('background goes on')
      await finish()`)
    expect(out).toEqual(['jobs end', 'background goes on'])
  })

  test('an urgent read does not wait for those jobs, and nor does a datagram', async () => {
    const out = await lines(`
      const socket = await bind({ host: '127.0.0.1' }, 'realtime')
      await server.write('x')
      await socket.send('y', socket.localAddress)
      start()
      await client.read('user-blocking')
      console.log('read')
      await socket.receive()
      console.log('received')
      going = false
      await finish()
      await socket.close()`)
    expect(out).toEqual(['read', 'received', 'jobs end'])
  })

  test('what an urgent read brings goes on before the background reads on', async context => {
    const [name, filled] = await lines(`
      console.log(implementation().name)
      const [connections, peers] = [[], []]
      for (let i = 0; i < 24; i++) {
        connections.push(await connect({ port: listener.address.port, host: '127.0.0.1' }, 'background'))
        peers.push((await listener[Symbol.asyncIterator]().next()).value)
        await peers[i].write(Buffer.alloc(200_000, 1))
        await connections[i].read()
      }
      const [urgent, ...others] = connections
      const filled = []
      for (let round = 0; round < 60; round++) {
        const buffers = others.map(() => Buffer.alloc(16384))
        const reads = []
        await new Promise(resolve => post('user-visible', () => {
          others.forEach((one, i) => reads.push(one.readInto(buffers[i], 'background')))
          void urgent.readInto(Buffer.alloc(16384), 'realtime').then(() => {
            filled.push(buffers.filter(bytes => bytes[0] === 1).length)
            resolve()
          })
        }))
        await Promise.all(reads)
        await Promise.all(peers.map(one => one.write(Buffer.alloc(16384, 1))))
      }
      console.log(filled.sort((a, b) => a - b)[30]) // now and then the urgent one has to wait for its peer
      await Promise.all([...connections, ...peers].map(one => one.close()))
      await finish()`)
    if (name !== 'io_uring') return context.skip(`on ${name} all that is there is read first`)
    expect(Number(filled)).toBeLessThanOrEqual(4)
  })

  test('the event loop has its turn while a hundred connections read on and on, also once one has closed', async () => {
    const [reads] = await lines(`
      const [connections, peers] = [[], []]
      for (let i = 0; i < 100; i++) {
        connections.push(await connect({ port: listener.address.port, host: '127.0.0.1' }, 'background'))
        peers.push((await listener[Symbol.asyncIterator]().next()).value)
        await peers[i].write(Buffer.alloc(100_000, 1))
      }
      const atOnce = { priority: 'user-visible', deliver: job => job() }
      let [reads, stops] = [0, false]
      const reading = connections.map(async connection => {
        const memory = Buffer.alloc(16)
        while (!stops && reads++ < 300_000) await connection.readInto(memory, atOnce)
      })
      const turn = () => new Promise(resolve => setImmediate(resolve))
      await turn()
      void client.close()
      const before = reads
      for (let i = 0; i < 3; i++) await turn()
      console.log(reads - before)
      stops = true
      await Promise.all(reading)
      await Promise.all([...connections, ...peers].map(one => one.close()))
      await finish()`)
    expect(Number(reads)).toBeLessThan(50_000)
  })

  test('a cancelled task’s read rejects with its reason, and the connection is still there', async () => {
    const out = await lines(`
      const task = spawn('background', async scope => {
        client.caller = scope
        await client.read()
      })
      setTimeout(() => task.cancel('enough'), 20)
      await task.catch(reason => console.log(reason))
      client.caller = 'background'
      await server.write('more')
      console.log(String(await client.read()))
      await finish()`)
    expect(out).toEqual(['enough', 'more'])
  })

  test('a raised task’s read goes on at its new priority', async () => {
    const out = await lines(`
      const task = spawn('background', async scope => {
        await client.read(scope)
        console.log('raised')
        going = false
      })
      await new Promise(resolve => setTimeout(resolve, 20))
      await server.write('x')
      start()
      task.priority = 'user-blocking'
      await task
      await finish()`)
    expect(out).toEqual(['raised', 'jobs end'])
  })
})
