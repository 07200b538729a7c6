import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { Duplex, Readable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { withPeer } from './duplex.test-support.ts'
import { forEachImplementation } from './implementations.test-support.ts'
import { run } from './servers.test-support.ts'

forEachImplementation((net, url) => {
  test('bytes go through it both ways, all of them and in order', async () => {
    const { connection, peer } = await withPeer(net)
    const duplex = connection.toDuplex()
    peer.pipe(peer)
    const sent = randomBytes(5_000_000)
    const hash = createHash('sha256')
    await Promise.all([pipeline(Readable.from(cut(sent)), duplex), pipeline(duplex, hash)])
    expect(hash.digest('hex')).toBe(createHash('sha256').update(sent).digest('hex'))
    expect(duplex.bytesRead).toBe(sent.length)
    expect(duplex.bytesWritten).toBe(sent.length)
  })

  test('a slow reader holds up its peer: what is read ahead stays below the mark', async () => {
    const { connection, peer } = await withPeer(net)
    const duplex = connection.toDuplex({ highWaterMark: 100_000 })
    duplex.once('readable', () => {})
    const sent = 64_000_000
    const written = new Promise(resolve => peer.write(Buffer.alloc(sent), resolve))
    await sleep(200)
    expect(duplex.readableLength).toBeGreaterThan(0)
    expect(duplex.readableLength).toBeLessThan(100_000 + 64 * 1024)
    expect(peer.writableLength).toBeGreaterThan(0)
    peer.end()
    duplex.removeAllListeners('readable')
    let received = 0
    for await (const bytes of duplex) received += bytes.length
    expect(received).toBe(sent)
    await written
  })

  test('a slow peer holds up its writer: write returns false, and drain follows when it reads', async () => {
    const { connection, peer } = await withPeer(net)
    const duplex = connection.toDuplex()
    const piece = Buffer.alloc(256 * 1024, 'x')
    let sent = 0
    const deadline = Date.now() + 10_000
    while (duplex.write(piece) || (await drained(duplex, 100))) {
      sent += piece.length
      if (Date.now() > deadline) throw new Error('it takes everything')
    }
    expect(duplex.writableLength).toBeGreaterThan(0)
    expect(duplex.writableLength).toBeLessThanOrEqual(piece.length)
    peer.resume()
    await once(duplex, 'drain')
    expect(sent).toBeGreaterThan(0)
  })

  test('what is corked arrives in one piece', async () => {
    const { connection, peer } = await withPeer(net)
    const duplex = connection.toDuplex()
    const first = once(peer, 'data')
    duplex.cork()
    for (let i = 0; i < 50; i++) duplex.write(`line ${i}\n`)
    duplex.uncork()
    const [bytes] = await first
    expect(String(bytes)).toBe(Array.from({ length: 50 }, (_, i) => `line ${i}\n`).join(''))
  })

  test('a string is written in its encoding', async () => {
    const { connection, peer } = await withPeer(net)
    const duplex = connection.toDuplex()
    duplex.write('c3a9', 'hex')
    duplex.end('é', 'latin1')
    expect((await buffer(peer)).toString('hex')).toBe('c3a9e9')
  })

  test('the connection is locked then', async () => {
    const { connection } = await withPeer(net)
    connection.toDuplex()
    const calls = [
      () => connection.read(),
      () => connection.readInto(Buffer.alloc(1)),
      () => connection.write('x'),
      () => connection.end(),
    ]
    for (const call of calls) {
      await expect(call()).rejects.toMatchObject({ code: 'ERR_LOCKED' })
    }
    expect(() => connection.toDuplex()).toThrow(expect.objectContaining({ code: 'ERR_LOCKED' }))
  })

  test('bad options are errors, and lock nothing', async () => {
    const { connection, peer } = await withPeer(net)
    const outOfRange = expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' })
    const invalidType = expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' })
    expect(() => connection.toDuplex({ highWaterMark: -1 })).toThrow(outOfRange)
    expect(() => connection.toDuplex({ allowHalfOpen: 1 as never })).toThrow(invalidType)
    peer.write('still a connection')
    expect(String(await connection.read())).toBe('still a connection')
    const duplex = connection.toDuplex()
    expect(() => duplex.setTimeout(-1)).toThrow(outOfRange)
    expect(() => duplex.setTimeout(Number.POSITIVE_INFINITY)).toThrow(outOfRange)
    expect(duplex.setTimeout(2 ** 31).timeout).toBe(2 ** 31 - 1) // with a warning, as a net.Socket
    expect(() => duplex.setTimeout('1' as never)).toThrow(invalidType)
  })

  test('the connection’s close destroys it, without an error', async () => {
    const { connection } = await withPeer(net)
    const duplex = connection.toDuplex()
    const closed = once(duplex, 'close')
    await connection.close()
    expect(await closed).toEqual([false])
    expect(duplex.destroyed).toBe(true)
  })

  test('destroy ends what waits: the write says so to its callback', async () => {
    const { connection } = await withPeer(net)
    const duplex = connection.toDuplex()
    const told = new Promise<NodeJS.ErrnoException | null | undefined>(resolve => {
      duplex.write(Buffer.alloc(50_000_000), resolve)
    })
    expect(duplex.bytesWritten).toBe(50_000_000)
    await sleep(20)
    duplex.destroy()
    expect(await once(duplex, 'close')).toEqual([false])
    expect(await told).toMatchObject({ code: 'ERR_SOCKET_CLOSED' })
  })

  test('what was written just before it is destroyed arrives', async () => {
    const { connection, peer } = await withPeer(net)
    const duplex = connection.toDuplex()
    for (const text of ['this ', 'and ', 'that']) duplex.write(text)
    duplex.destroy(new Error('mine')).on('error', () => {})
    expect(await text(peer)).toBe('this and that')
  })

  test('destroySoon sends all before it closes', async () => {
    const { connection, peer } = await withPeer(net)
    const duplex = connection.toDuplex()
    duplex.write(Buffer.alloc(3_000_000))
    duplex.destroySoon()
    expect((await buffer(peer)).length).toBe(3_000_000)
    if (!duplex.closed) await once(duplex, 'close')
    expect(duplex.destroyed).toBe(true)
  })

  test('it says who is who, and in what state it is', async () => {
    const { connection, peer } = await withPeer(net)
    const duplex = connection.toDuplex({ allowHalfOpen: true })
    expect(duplex.remoteAddress).toBe(peer.localAddress)
    expect(duplex.remotePort).toBe(peer.localPort)
    expect(duplex.remoteFamily).toBe(peer.localFamily)
    expect(duplex.localAddress).toBe(peer.remoteAddress)
    expect(duplex.localPort).toBe(peer.remotePort)
    expect(duplex.localFamily).toBe('IPv4')
    expect(duplex.address()).toEqual({ address: '127.0.0.1', family: 'IPv4', port: peer.remotePort })
    expect([duplex.connecting, duplex.pending, duplex.readyState]).toEqual([false, false, 'open'])
    duplex.end()
    expect(duplex.readyState).toBe('readOnly')
    peer.end()
    duplex.resume()
    await once(duplex, 'close')
    expect(duplex.readyState).toBe('closed')
    expect(duplex.setNoDelay().setKeepAlive(true, 1000).unref().ref()).toBe(duplex)
  })

  test('a client that calls connect hears that it is', async () => {
    const { connection } = await withPeer(net)
    const duplex = connection.toDuplex()
    const events: string[] = []
    duplex.on('ready', () => events.push('ready'))
    await new Promise<void>(resolve => {
      duplex.on('connect', () => events.push('connect')).connect(5432, 'db', () => resolve())
    })
    await sleep(1)
    expect(events).toEqual(['connect', 'ready'])
  })

  test('data is handed over when the connection’s caller says so', async () => {
    const { connection, peer } = await withPeer(net)
    const jobs: (() => void)[] = []
    const duplex = connection.toDuplex()
    connection.caller = { priority: 'background', deliver: job => void jobs.push(job) }
    let received = ''
    duplex.on('data', bytes => (received += bytes))
    peer.write('wait')
    while (jobs.length === 0) await sleep(1)
    await sleep(20)
    expect(received).toBe('')
    connection.caller = 'realtime'
    for (const job of jobs.splice(0)) job()
    await sleep(1)
    expect(received).toBe('wait')
    peer.write(' no longer')
    while (received !== 'wait no longer') await sleep(1)
  })

  test('it keeps the process alive, but not after unref', async () => {
    const server = createServer(socket => setTimeout(() => socket.write('x'), 150)).listen(0, '127.0.0.1')
    onTestFinished(() => void server.close())
    await once(server, 'listening')
    const outputOf = async (then: string) => {
      const source = `
        const { connect } = await import(${JSON.stringify(url)})
        const target = { port: ${(server.address() as AddressInfo).port}, host: '127.0.0.1' }
        const duplex = (await connect(target, 'background')).toDuplex()
        duplex.once('data', () => console.log('data') || duplex.destroy())
        ${then}`
      const { NODE_OPTIONS: _, ...env } = process.env
      const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', source], { env })
      return stdout
    }
    expect(await outputOf('')).toBe('data\n')
    expect(await outputOf('duplex.unref()')).toBe('')
    expect(await outputOf('setTimeout(() => duplex.unref(), 20)')).toBe('')
    expect(await outputOf('duplex.unref().ref()')).toBe('data\n')
  })

  test('the end of its caller destroys it, with the reason', async () => {
    for (const reason of [new Error('enough'), null]) {
      const { connection } = await withPeer(net)
      const controller = new AbortController()
      connection.caller = { priority: 'background', signal: controller.signal }
      const duplex = connection.toDuplex()
      const errors: Error[] = []
      duplex.on('error', error => errors.push(error)).resume()
      await sleep(5)
      const closed = new Promise(resolve => duplex.on('close', resolve))
      controller.abort(reason)
      expect(await closed).toBe(reason !== null)
      expect(errors).toEqual(reason === null ? [] : [reason])
    }
  })

  test('web streams run on it', async () => {
    const { connection, peer } = await withPeer(net)
    peer.pipe(peer)
    const { readable, writable } = Duplex.toWeb(connection.toDuplex({ allowHalfOpen: true }))
    const writer = writable.getWriter()
    void writer.write(Buffer.alloc(1_000_000, 'a')).then(() => writer.close())
    let length = 0
    for await (const bytes of readable as AsyncIterable<Uint8Array>) length += bytes.length
    expect(length).toBe(1_000_000)

    const other = await withPeer(net)
    other.peer.end('through Readable.toWeb')
    const web = Readable.toWeb(other.connection.toDuplex())
    expect(await text(web as AsyncIterable<Uint8Array>)).toBe('through Readable.toWeb')
  })
})

/** In pieces of all lengths. */
function* cut(bytes: Buffer): Generator<Buffer> {
  for (let at = 0, length = 1; at < bytes.length; at += length, length = ((length * 7 + 13) % 200_000) + 1) {
    yield bytes.subarray(at, at + length)
  }
}

/** Whether 'drain' comes within so long. */
async function drained(stream: Duplex, withinMs: number): Promise<boolean> {
  const controller = new AbortController()
  const drain = once(stream, 'drain', { signal: controller.signal }).then(
    () => true,
    () => false,
  )
  const isDrained = await Promise.race([drain, sleep(withinMs, false)])
  controller.abort()
  return isDrained
}
