import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import http from 'node:http'
import http2 from 'node:http2'
import { type AddressInfo, createConnection } from 'node:net'
import { join } from 'node:path'
import { buffer, text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { forEachImplementation } from './implementations.test-support.ts'
import { folder, run, serve, whyWithout } from './servers.test-support.ts'

const withoutCurl = whyWithout('curl')
const withoutSocat = whyWithout('socat', '-V')

/** Says what was asked, and gives the body back. */
function echo(request: http.IncomingMessage, response: http.ServerResponse): void {
  response.setHeader('x-asked', `${request.method} ${request.url}`)
  if (request.headers['content-length'] !== undefined) {
    response.setHeader('content-length', request.headers['content-length'])
  }
  request.pipe(response)
}

forEachImplementation(net => {
  test.skipIf(withoutCurl)('curl is served by a http.Server, a large body too', async () => {
    const server = http.createServer(echo)
    const port = await serve(net, server)
    const path = join(folder(), 'body')
    const body = randomBytes(8_000_000)
    writeFileSync(path, body)
    const url = `http://127.0.0.1:${port}/large?1`
    const options = { encoding: 'buffer', maxBuffer: 2 ** 26 } as const
    const { stdout } = await run('curl', ['-sS', '--fail', '-T', path, url], options)
    expect(stdout.equals(body)).toBe(true)
    const chunked = ['-sS', '-H', 'transfer-encoding: chunked', '-H', 'expect: 100-continue', '-T', path, url]
    const { stdout: again } = await run('curl', chunked, options)
    expect(again.equals(body)).toBe(true)
  })

  test.skipIf(withoutCurl)('curl asks many times over one connection', async () => {
    const ports = new Set<number | undefined>()
    const server = http.createServer((request, response) => {
      ports.add(request.socket.remotePort)
      response.end(`${request.url} `)
    })
    const port = await serve(net, server)
    const { stdout } = await run('curl', ['-sS', `http://127.0.0.1:${port}/[1-50]`])
    expect(stdout.trim().split(' ')).toEqual(Array.from({ length: 50 }, (_, i) => `/${i + 1}`))
    expect(ports.size).toBe(1)
  })

  test.skipIf(withoutSocat)('socat asks over a Unix-domain socket, and ends its side at once', async () => {
    const path = join(folder(), 'http')
    await serve(net, http.createServer(echo), { path })
    const request = 'POST /socat HTTP/1.0\r\ncontent-length: 5\r\n\r\nhello'
    const asking = run('socat', ['-t', '5', '-', `UNIX-CONNECT:${path}`])
    asking.child.stdin!.end(request)
    const { stdout } = await asking
    expect(stdout).toContain('x-asked: POST /socat')
    expect(stdout.endsWith('\r\n\r\nhello')).toBe(true)
  })

  test('requests that come at once are answered in order', async () => {
    const server = http.createServer((request, response) => {
      setTimeout(() => response.end(`<${request.url}>`), request.url === '/1' ? 30 : 0)
    })
    const socket = createConnection({ port: await serve(net, server), host: '127.0.0.1' })
    for (const path of ['/1', '/2', '/3']) socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`)
    socket.write('GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
    const answers = (await text(socket)).match(/<.*?>/g)
    expect(answers).toEqual(['</1>', '</2>', '</3>', '</last>'])
  })

  test('a connection that is kept alive is closed when its time is over', async () => {
    const server = http.createServer({ keepAliveTimeout: 50 }, (_request, response) => response.end('x'))
    Object.assign(server, { keepAliveTimeoutBuffer: 0 }) // newer Node adds a second
    const socket = createConnection({ port: await serve(net, server), host: '127.0.0.1' })
    socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
    socket.resume()
    const startMs = performance.now()
    await once(socket, 'end')
    expect(performance.now() - startMs).toBeGreaterThan(45)
  })

  test('what is no request is answered with 400', async () => {
    const socket = createConnection({ port: await serve(net, http.createServer(echo)), host: '127.0.0.1' })
    socket.write('nonsense\r\n\r\n')
    expect(await text(socket)).toMatch(/^HTTP\/1.1 400 Bad Request\r\n/)
  })

  test('a request that does not come to an end is answered with 408, once the server listens', async () => {
    const server = http.createServer({ headersTimeout: 100, connectionsCheckingInterval: 20 }, echo)
    onTestFinished(() => void server.close())
    const socket = createConnection({ port: await serve(net, server), host: '127.0.0.1' })
    server.emit('listening')
    socket.write('GET / HTTP/1.1\r\nho')
    expect(await text(socket)).toMatch(/^HTTP\/1.1 408 Request Timeout\r\n/)
  })

  test('a connection is handed over by an upgrade', async () => {
    const server = http.createServer()
    server.on('upgrade', (_request, socket, head) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n')
      socket.write(head)
      socket.pipe(socket)
    })
    const socket = createConnection({ port: await serve(net, server), host: '127.0.0.1' })
    socket.write('GET / HTTP/1.1\r\nhost: x\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\nfirst ')
    await sleep(20)
    socket.end('then')
    expect((await text(socket)).split('\r\n\r\n')[1]).toBe('first then')
  })

  test('a http.Agent asks over it, and uses a connection again', async () => {
    const server = http.createServer(echo).listen(0, '127.0.0.1')
    onTestFinished(() => void server.close().closeAllConnections())
    await once(server, 'listening')
    let connectionCount = 0
    server.on('connection', () => connectionCount++)
    const { port } = server.address() as AddressInfo
    const agent = new http.Agent({ keepAlive: true })
    onTestFinished(() => agent.destroy())
    agent.createConnection = (_options, done) => {
      net.connect({ port, host: '127.0.0.1' }, 'user-visible').then(
        connection => done!(null, connection.toDuplex()),
        error => done!(error, undefined as never),
      )
      return undefined
    }
    const ask = async (body: Buffer) => {
      const request = http.request({ agent, method: 'POST', host: 'kiruna', path: '/agent' })
      request.end(body)
      const [response] = (await once(request, 'response')) as [http.IncomingMessage]
      expect(response.headers['x-asked']).toBe('POST /agent')
      expect((await buffer(response)).equals(body)).toBe(true)
    }
    for (let length = 0; length < 200_000; length += 20_000) await ask(randomBytes(length))
    expect(connectionCount).toBe(1)
    await Promise.all(Array.from({ length: 20 }, () => ask(randomBytes(50_000))))
    expect(connectionCount).toBeGreaterThan(1)
  })

  test('a request that is destroyed closes its connection', async () => {
    const server = http.createServer((_request, response) => response.write('some'))
    const port = await serve(net, server)
    const closed = new Promise<void>(resolve =>
      server.on('request', ({ socket }) => socket.on('close', resolve)),
    )
    const connection = await net.connect({ port, host: '127.0.0.1' }, 'user-visible')
    const duplex = connection.toDuplex()
    const request = http.get({ createConnection: () => duplex, path: '/' })
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    response.destroy()
    await Promise.all([closed, once(duplex, 'close')])
  })

  test('HTTP/2 runs on it at both ends', async () => {
    const server = http2.createServer()
    server.on('stream', stream => {
      stream.respond({ ':status': 200 })
      stream.pipe(stream)
    })
    const port = await serve(net, server)
    const connection = await net.connect({ port, host: '127.0.0.1' }, 'user-visible')
    const session = http2.connect('http://kiruna', { createConnection: () => connection.toDuplex() })
    const bodies = [1, 100_000, 1_000_000].map(length => randomBytes(length))
    const answers = await Promise.all(
      bodies.map(body => {
        const stream = session.request({ ':method': 'POST', ':path': '/' })
        stream.end(body)
        return buffer(stream)
      }),
    )
    expect(answers.every((answer, index) => answer.equals(bodies[index]!))).toBe(true)
    session.close()
    await once(session, 'close')
  })
})
