import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import tls from 'node:tls'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { forEachImplementation } from './implementations.test-support.ts'
import { run, serve, whyWithout } from './servers.test-support.ts'

const withoutOpenssl = whyWithout('openssl', 'version')
const withoutCurl = whyWithout('curl')
const files = mkdtempSync(join(tmpdir(), 'kiruna-tls-'))
afterAll(() => rmSync(files, { recursive: true }))

/** A certificate for 'kiruna', which nobody has signed but itself. */
function certificate(): { key: Buffer; cert: Buffer } {
  const [key, cert] = [join(files, 'key'), join(files, 'cert')]
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '2',
    ].concat(['-subj', '/CN=kiruna', '-addext', 'subjectAltName=DNS:kiruna', '-keyout', key, '-out', cert]),
    { stdio: 'ignore' },
  )
  return { key: readFileSync(key), cert: readFileSync(cert) }
}

describe.skipIf(withoutOpenssl)('TLS', () => {
  const { key, cert } = withoutOpenssl === undefined ? certificate() : { key: '', cert: '' }

  forEachImplementation(net => {
    test('a client runs on it', async () => {
      const server = tls.createServer({ key, cert }, socket => socket.pipe(socket)).listen(0, '127.0.0.1')
      onTestFinished(() => void server.close())
      await once(server, 'listening')
      const { port } = server.address() as AddressInfo
      const connection = await net.connect({ port, host: '127.0.0.1' }, 'user-visible')
      const socket = tls.connect({ socket: connection.toDuplex(), ca: cert, servername: 'kiruna' })
      await once(socket, 'secureConnect')
      expect(socket.authorized).toBe(true)
      const body = randomBytes(3_000_000)
      socket.end(body)
      expect((await buffer(socket)).equals(body)).toBe(true)
    })

    test('a server runs on it, and a client at its other end', async () => {
      const server = tls.createServer({ key, cert }, socket => socket.pipe(socket))
      const port = await serve(net, server)
      const connection = await net.connect({ port, host: '127.0.0.1' }, 'user-visible')
      const socket = tls.connect({ socket: connection.toDuplex(), ca: cert, servername: 'kiruna' })
      const body = randomBytes(3_000_000)
      socket.end(body)
      expect((await buffer(socket)).equals(body)).toBe(true)
    })

    test('a TLSSocket is made of it for the server’s side', async () => {
      const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
      onTestFinished(() => listener.close())
      const { port } = listener.address as AddressInfo
      const client = tls.connect({ port, host: '127.0.0.1', ca: cert, servername: 'kiruna' })
      const { value: connection } = await listener[Symbol.asyncIterator]().next()
      const secureContext = tls.createSecureContext({ key, cert })
      const socket = new tls.TLSSocket(connection!.toDuplex(), { isServer: true, secureContext })
      socket.on('data', bytes => socket.end(`you said ${bytes}`))
      client.write('hello')
      expect(String(await buffer(client))).toBe('you said hello')
    })

    test('a client that does not know the certificate is an error, and closes it', async () => {
      const server = tls.createServer({ key, cert })
      const errors: string[] = []
      server.on('tlsClientError', error => errors.push(error.message))
      const port = await serve(net, server)
      const connection = await net.connect({ port, host: '127.0.0.1' }, 'user-visible')
      const duplex = connection.toDuplex()
      const socket = tls.connect({ socket: duplex, servername: 'kiruna' })
      const [error] = await once(socket, 'error')
      expect(error.code).toBe('DEPTH_ZERO_SELF_SIGNED_CERT')
      if (!duplex.closed) await once(duplex, 'close')
    })

    test.skipIf(withoutCurl)('curl is served by a https.Server', async () => {
      const server = https.createServer({ key, cert }, (request, response) => {
        response.end(`${request.method} ${(request.socket as tls.TLSSocket).encrypted}`)
      })
      const port = await serve(net, server)
      const resolve = ['--resolve', `kiruna:${port}:127.0.0.1`, '--cacert', join(files, 'cert')]
      const { stdout } = await run('curl', ['-sS', ...resolve, `https://kiruna:${port}/`])
      expect(stdout).toBe('GET true')
    })
  })
})
