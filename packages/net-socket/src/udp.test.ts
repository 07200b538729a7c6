import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { networkInterfaces } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Priority } from '@kiruna/priority'
import { describe, expect, onTestFinished, test } from 'vitest'
import { forEachImplementation, type Net } from './implementations.test-support.ts'
import type { BindOptions } from './udp.ts'
import type { UdpSocket } from './udp-socket.ts'

const external = Object.values(networkInterfaces())
  .flat()
  .find(one => one!.family === 'IPv4' && !one!.internal)

forEachImplementation((net, url) => {
  const bind = (options: BindOptions = { host: '127.0.0.1' }) => bindFor(net, options)

  test('a datagram arrives whole, and is answered', async () => {
    const [one, other] = [await bind(), await bind()]
    const { port } = other.localAddress
    for (const bytes of ['hello', Buffer.alloc(0), Buffer.alloc(65_507, 'x'), Uint8Array.of(1, 2)]) {
      await one.send(bytes, { port, host: '127.0.0.1' })
      const datagram = await other.receive()
      expect(datagram.bytes.equals(Buffer.from(bytes as string))).toBe(true)
      expect(datagram).toMatchObject({ address: '127.0.0.1', family: 'IPv4', port: one.localAddress.port })
      await other.send('answer', datagram)
      expect(String((await one.receive()).bytes)).toBe('answer')
    }
  })

  test('they are received in the order in which they came', async () => {
    const [one, other] = [await bind(), await bind()]
    for (let i = 0; i < 50; i++) await one.send(`${i}`, other.localAddress)
    const received = await Promise.all(Array.from({ length: 50 }, () => other.receive()))
    expect(received.map(({ bytes }) => String(bytes))).toEqual(Array.from({ length: 50 }, (_, i) => `${i}`))
  })

  test('those of one turn are all sent', async () => {
    const [one, other] = [await bind(), await bind()]
    const sends = Array.from({ length: 100 }, (_, i) => one.send(`${i}`, other.localAddress))
    const got: number[] = []
    while (got.length < 100) got.push(Number((await other.receive()).bytes))
    await Promise.all(sends)
    expect(got.sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i))
  })

  test('without a host it is there for both families, and an IPv4 address is written as one', async () => {
    const both = await bind({})
    const [four, six] = [await bind({ host: '127.0.0.1' }), await bind({ host: '::1' })]
    const { port } = both.localAddress
    expect(both.localAddress).toMatchObject({ address: '::', family: 'IPv6' })
    for (const [socket, host] of [
      [four, '127.0.0.1'],
      [six, '::1'],
    ] as const) {
      await socket.send('ping', { port, host })
      const datagram = await both.receive()
      expect(datagram).toMatchObject({ ...socket.localAddress, bytes: Buffer.from('ping') })
      await both.send('pong', datagram)
      expect(String((await socket.receive()).bytes)).toBe('pong')
    }
    await both.send('by name', { port: four.localAddress.port, host: '127.0.0.1' })
    await four.receive()
    await four.send('to this machine', { port })
    expect(String((await both.receive()).bytes)).toBe('to this machine')
  })

  test('a name is looked up, and one that is not there is ENOTFOUND', async () => {
    const [one, other] = [await bind(), await bind()]
    await one.send('by name', { port: other.localAddress.port, host: 'localhost' })
    expect(String((await other.receive()).bytes)).toBe('by name')
    await expect(one.send('x', { port: 9, host: 'nobody.invalid' })).rejects.toMatchObject({
      code: expect.stringMatching(/^(ENOTFOUND|EAI_AGAIN)$/),
    })
  })

  test('ipv6Only has nothing of IPv4', async () => {
    const six = await bind({ ipv6Only: true })
    const four = await bind({ host: '127.0.0.1', port: six.localAddress.port }) // the port is free there
    expect(four.localAddress.port).toBe(six.localAddress.port)
  })

  test('a loop has all that comes until the socket is closed', async () => {
    const [one, other] = [await bind(), await bind()]
    const received: string[] = []
    const loop = (async () => {
      for await (const { bytes } of other) received.push(String(bytes))
    })()
    for (const text of ['a', 'b', 'c']) await one.send(text, other.localAddress)
    while (received.length < 3) await sleep(1)
    await other.close()
    await loop
    expect(received).toEqual(['a', 'b', 'c'])
  })

  test('an abort ends a receive, which has taken nothing', async () => {
    const [one, other] = [await bind(), await bind()]
    for (let round = 0; round < 200; round++) {
      const controller = new AbortController()
      const receive = other.receive({ priority: 'user-visible', signal: controller.signal })
      const outcome = receive.then(
        ({ bytes }) => String(bytes),
        reason => reason,
      )
      const send = one.send(`${round}`, other.localAddress)
      if (round % 3 === 0) await send
      if (round % 2 === 0) await sleep(0)
      controller.abort('enough')
      await send
      const got = await outcome
      if (got === 'enough') expect(String((await other.receive()).bytes)).toBe(`${round}`)
      else expect(got).toBe(`${round}`)
    }
  })

  test('a caller that has been aborted does nothing', async () => {
    const signal = AbortSignal.abort('before')
    const caller = { priority: 'background' as const, signal }
    await expect(net.bind({ host: '127.0.0.1' }, caller)).rejects.toBe('before')
    const socket = await bind()
    await expect(socket.receive(caller)).rejects.toBe('before')
    await expect(socket.send('x', socket.localAddress, caller)).rejects.toBe('before')
    await socket.send('y', socket.localAddress)
    expect(String((await socket.receive()).bytes)).toBe('y')
  })

  test('the most urgent of those that wait has the next datagram', async () => {
    const [one, other] = [await bind(), await bind()]
    const order: Priority[] = []
    const receives = (['background', 'user-visible', 'realtime', 'user-blocking'] as const).map(
      async priority => {
        await other.receive(priority)
        order.push(priority)
      },
    )
    for (let i = 0; i < 4; i++) {
      await one.send('x', other.localAddress)
      while (order.length <= i) await sleep(1)
    }
    await Promise.all(receives)
    expect(order).toEqual(['realtime', 'user-blocking', 'user-visible', 'background'])
  })

  test('a receive goes on when its caller says so, also one that it is given later', async () => {
    const [one, other] = [await bind(), await bind()]
    const jobs: (() => void)[] = []
    let received = ''
    void other.receive().then(({ bytes }) => (received = String(bytes)))
    other.caller = { priority: 'background', deliver: job => void jobs.push(job) }
    await one.send('later', other.localAddress)
    while (jobs.length === 0) await sleep(1)
    expect(received).toBe('')
    jobs[0]!()
    await sleep(1)
    expect(received).toBe('later')
    expect(() => {
      other.caller = 'urgent' as never
    }).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
  })

  test('closing ends what waits, and what comes after it rejects', async () => {
    const socket = await bind()
    const receives = [socket.receive(), socket.receive('realtime')].map(one =>
      expect(one).rejects.toMatchObject({ code: 'ERR_SOCKET_DGRAM_NOT_RUNNING' }),
    )
    const send = socket.send('on its way', { port: 9, host: '127.0.0.1' })
    await Promise.all([socket.close(), socket.close(), send, ...receives])
    const notRunning = { code: 'ERR_SOCKET_DGRAM_NOT_RUNNING' }
    await expect(socket.receive()).rejects.toMatchObject(notRunning)
    await expect(socket.send('x', { port: 9 })).rejects.toMatchObject(notRunning)
    await expect(socket.addMembership('224.0.0.251')).rejects.toMatchObject(notRunning)
    const again = await bind({ host: '127.0.0.1', port: socket.localAddress.port })
    expect(again.localAddress).toEqual(socket.localAddress)
  })

  test('a port in use, an address that is not ours and a datagram too long are node:dgram’s errors', async () => {
    const { localAddress } = await bind()
    const used = await net
      .bind({ port: localAddress.port, host: '127.0.0.1' }, 'user-visible')
      .catch(error => error)
    const theirs = createSocket('udp4')
    theirs.bind(localAddress.port, '127.0.0.1')
    const [expected] = await once(theirs, 'error')
    expect({ ...used, message: used.message }).toEqual({ ...expected, message: expected.message })
    theirs.close()
    const foreign = net.bind({ host: '192.0.2.1' }, 'user-visible')
    await expect(foreign).rejects.toMatchObject({
      code: 'EADDRNOTAVAIL',
      syscall: 'bind',
      address: '192.0.2.1',
    })
    const socket = await bind()
    const tooLong = socket.send(Buffer.alloc(65_508), { port: 9, host: '127.0.0.1' })
    await expect(tooLong).rejects.toMatchObject({ code: 'EMSGSIZE', syscall: 'send', port: 9 })
  })

  test('bad arguments are errors before anything happens', async () => {
    const socket = await bind()
    const [type, value, range] = ['ERR_INVALID_ARG_TYPE', 'ERR_INVALID_ARG_VALUE', 'ERR_OUT_OF_RANGE']
    const port = 'ERR_SOCKET_BAD_PORT'
    const calls: [call: () => Promise<unknown>, code: string][] = [
      [() => net.bind(undefined as never, 'background'), type!],
      [() => net.bind({ port: 65_536 }, 'background'), port],
      [() => net.bind({ port: '1' as never }, 'background'), type!],
      [() => net.bind({ host: '' }, 'background'), value!],
      [() => net.bind({ host: 1 as never }, 'background'), type!],
      [() => net.bind({ broadcast: 1 as never }, 'background'), type!],
      [() => net.bind({ ttl: 0 }, 'background'), range!],
      [() => net.bind({ multicastTtl: 256 }, 'background'), range!],
      [() => net.bind({}, 'urgent' as never), value!],
      [() => net.bind({}, undefined as never), type!],
      [() => socket.send('x', { port: 0 }), port],
      [() => socket.send('x', { port: 1.5 }), port],
      [() => socket.send('x', undefined as never), type!],
      [() => socket.send('x', { port: 9, host: '' }), value!],
      [() => socket.send(7 as never, { port: 9 }), type!],
      [() => socket.send('x', { port: 9 }, 'urgent' as never), value!],
      [() => socket.receive('urgent' as never), value!],
      [() => socket.addMembership(1 as never), type!],
      [() => socket.addMembership('224.0.0.251', 1 as never), type!],
    ]
    for (const [call, code] of calls) {
      let promise: Promise<unknown>
      expect(() => (promise = call())).not.toThrow()
      await expect(promise!, String(call)).rejects.toMatchObject({ code })
    }
  })

  test('what nobody asks for is bounded, and the rest is dropped', async () => {
    const [one, other] = [await bind(), await bind()]
    for (let i = 0; i < 3000; i++) await one.send(Buffer.alloc(1000), other.localAddress)
    await sleep(20)
    const { droppedCount } = other
    let received = 0
    const controller = new AbortController()
    for (;;) {
      const next = other.receive({ priority: 'background', signal: controller.signal })
      const got = await Promise.race([
        next.then(
          () => true,
          () => false,
        ),
        sleep(50, false),
      ])
      if (!got) break
      received++
    }
    controller.abort()
    expect(received).toBeGreaterThan(0)
    expect(received).toBeLessThan(3000)
    expect(droppedCount).toBeLessThanOrEqual(3000 - received)
  })

  describe('groups', () => {
    test('a datagram to a group comes to its members, and no longer when they have left', async () => {
      const group = '239.255.13.7'
      const member = await bind({ host: '0.0.0.0', reuseAddress: true })
      const { port } = member.localAddress
      const second = await bind({ host: '0.0.0.0', port, reuseAddress: true })
      const sender = await bind({ host: '127.0.0.1', multicastInterface: '127.0.0.1', multicastTtl: 0 })
      for (const socket of [member, second]) await socket.addMembership(group, '127.0.0.1')
      await sender.send('to all', { port, host: group })
      expect(String((await member.receive()).bytes)).toBe('to all')
      expect(String((await second.receive()).bytes)).toBe('to all')
      await member.dropMembership(group, '127.0.0.1')
      await second.close()
      await sender.send('to nobody', { port, host: group })
      await sender.send('to one', { port, host: '127.0.0.1' })
      expect(String((await member.receive()).bytes)).toBe('to one')
    })

    test('an IPv6 group, on the interface that is given', async () => {
      const member = await bind({ host: '::', ipv6Only: true })
      const { port } = member.localAddress
      await member.addMembership('ff02::4711', '::%lo')
      const sender = await bind({ host: '::1', multicastInterface: '::%lo', multicastLoopback: true })
      const sent = await sender.send('six', { port, host: 'ff02::4711%lo' }).then(
        () => true,
        error => error.code, // no multicast on this loopback
      )
      if (sent !== true) {
        expect(['ENETUNREACH', 'EADDRNOTAVAIL']).toContain(sent)
        return
      }
      expect(String((await member.receive()).bytes)).toBe('six')
    })

    test('what is no group, and what is no member, are node:dgram’s errors', async () => {
      const socket = await bind({ host: '0.0.0.0' })
      await expect(socket.addMembership('not an address')).rejects.toMatchObject({ code: 'EINVAL' })
      await expect(socket.addMembership('127.0.0.1')).rejects.toMatchObject({
        code: 'EINVAL',
        syscall: 'addMembership',
      })
      await expect(socket.dropMembership('239.255.13.8', '127.0.0.1')).rejects.toMatchObject({
        code: 'EADDRNOTAVAIL',
        syscall: 'dropMembership',
      })
      await socket.addMembership('239.255.13.8', '127.0.0.1')
      await expect(socket.addMembership('239.255.13.8', '127.0.0.1')).rejects.toMatchObject({
        code: 'EADDRINUSE',
      })
    })
  })

  test.skipIf(external === undefined)('a broadcast takes the option for it', async () => {
    const to = { port: 9, host: '255.255.255.255' }
    const without = await bind({ host: '0.0.0.0' })
    await expect(without.send('x', to)).rejects.toMatchObject({ code: 'EACCES' })
    const socket = await bind({ host: '0.0.0.0', broadcast: true, ttl: 1 })
    await socket.send('x', to).catch(error => expect(error.code).toBe('ENETUNREACH'))
  })

  test('a bound socket does not keep the process alive, a receive does, but not after unref', async () => {
    const source = (then: string) => `
      const { bind } = await import(${JSON.stringify(url)})
      const socket = await bind({ host: '127.0.0.1' }, 'background')
      process.on('exit', () => console.log('exit'))
      ${then}`
    expect(await outputOf(source(''))).toBe('exit\n')
    expect(await outputOf(source('socket.unref(); socket.receive()'))).toBe('exit\n')
    expect(await outputOf(source('socket.receive(); socket.unref()'))).toBe('exit\n')
    const waits = source(`
      setTimeout(() => socket.send('x', socket.localAddress), 100).unref()
      socket.receive().then(() => console.log('received'))`)
    expect(await outputOf(waits)).toBe('received\nexit\n')
  })
})

async function bindFor(net: Net, options: BindOptions): Promise<UdpSocket> {
  const socket = await net.bind(options, 'user-visible')
  onTestFinished(() => socket.close())
  return socket
}

async function outputOf(source: string): Promise<string> {
  const { NODE_OPTIONS: _, ...env } = process.env
  const child = spawn(process.execPath, ['--input-type=module', '--eval', source], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 10_000,
  })
  let output = ''
  child.stdout.on('data', text => (output += text))
  await once(child, 'close')
  return output
}
