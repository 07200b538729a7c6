import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { expect, onTestFinished, test } from 'vitest'
import { forEachImplementation } from './implementations.test-support.ts'

const local = { host: '127.0.0.1' }

forEachImplementation((net, url) => {
  const inFlight = `
    const { bind } = await import(${JSON.stringify(url)})
    const sockets = await Promise.all(Array.from({ length: 50 }, () => bind({ host: '127.0.0.1' }, 'realtime')))
    for (const socket of sockets) {
      void socket.receive().catch(() => {})
      for (const { localAddress } of sockets) void socket.send(Buffer.alloc(1000), localAddress).catch(() => {})
    }`

  test('the process exits with receives and sends in flight', async () => {
    const { NODE_OPTIONS: _, ...env } = process.env
    for (const then of [
      'process.exit(7)',
      'setImmediate(() => process.exit(7))',
      'setTimeout(() => process.exit(7), 5)',
    ]) {
      const given = ['--input-type=module', '--eval', `${inFlight}; ${then}`]
      const ended = promisify(execFile)(process.execPath, given, { env, timeout: 10_000 })
      await expect(ended, then).rejects.toMatchObject({ code: 7, stderr: '' })
    }
  })

  test('a worker is terminated with receives and sends in flight, and leaves no fd', async () => {
    const before = readdirSync('/proc/self/fd').length
    for (let round = 0; round < 5; round++) {
      const source = `(async () => { ${inFlight}; require('node:worker_threads').parentPort.postMessage('') })()`
      const worker = new Worker(source, { eval: true })
      await new Promise(resolve => worker.once('message', resolve))
      await worker.terminate()
    }
    await sleep(50)
    expect(readdirSync('/proc/self/fd').length).toBeLessThan(before + 20)
  })

  test('a datagram arrives though nobody else holds its bytes', async () => {
    const [one, other] = [await net.bind(local, 'background'), await net.bind(local, 'background')]
    onTestFinished(async () => {
      await one.close()
      await other.close()
    })
    for (let round = 0; round < 100; round++) {
      const send = one.send(Buffer.alloc(20_000, round), other.localAddress)
      const receive = other.receive()
      ;(globalThis as unknown as { gc(): void }).gc()
      await send
      const { bytes } = await receive
      expect(bytes.length).toBe(20_000)
      expect(bytes.every(byte => byte === round)).toBe(true)
    }
  })

  test('an aborted send rejects with the reason, or has gone', async () => {
    const [one, other] = [await net.bind(local, 'background'), await net.bind(local, 'background')]
    onTestFinished(async () => {
      await one.close()
      await other.close()
    })
    for (let round = 0; round < 100; round++) {
      const controller = new AbortController()
      const caller = { priority: 'background' as const, signal: controller.signal }
      const to = round % 2 === 0 ? other.localAddress : { port: other.localAddress.port, host: 'localhost' }
      const outcome = one.send(`${round}`, to, caller).then(
        () => 'sent',
        reason => reason,
      )
      if (round % 3 === 0) await sleep(0)
      controller.abort('enough')
      const told = await outcome
      if (told === 'sent') expect(String((await other.receive()).bytes)).toBe(`${round}`)
      else expect(told).toBe('enough')
    }
  })

  test('sockets opened and closed by the thousand leave no fd and no memory', {
    timeout: 60_000,
  }, async () => {
    const round = async (count: number) => {
      for (let i = 0; i < count; i += 20) {
        const sockets = await Promise.all(Array.from({ length: 20 }, () => net.bind(local, 'background')))
        const receives = sockets.map(socket => socket.receive().catch(() => {}))
        await Promise.all(sockets.map(socket => socket.send('x', sockets[0]!.localAddress)))
        await Promise.all(sockets.map(socket => socket.close()))
        await Promise.all(receives)
      }
      ;(globalThis as unknown as { gc(): void }).gc()
      return { fds: readdirSync('/proc/self/fd').length, heap: process.memoryUsage().heapUsed }
    }
    const before = await round(1000)
    const after = await round(3000)
    expect(after.fds).toBeLessThanOrEqual(before.fds + 3)
    expect(after.heap - before.heap).toBeLessThan(2_000_000)
  })
})
