import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const cwd = fileURLToPath(new URL('..', import.meta.url))

/** TCP both ways at once, a Unix-domain socket, http at both ends, and datagrams: each says what has come. */
const source = `
  import { mkdtempSync, rmSync } from 'node:fs'
  import http from 'node:http'
  import { tmpdir } from 'node:os'
  import { join } from 'node:path'
  const { bind, connect, implementation, listen } = await import('@kiruna/core/net')
  console.log(implementation().name)

  const folder = mkdtempSync(join(tmpdir(), 'kiruna-runtime-'))
  for (const target of [{ port: 0, host: '127.0.0.1' }, { path: join(folder, 'socket') }]) {
    const listener = await listen(target, 'user-visible')
    const echoing = (async () => {
      for await (const connection of listener) {
        for await (const bytes of connection) await connection.write(bytes)
        await connection.end()
        await connection.close()
      }
    })()
    const connection = await connect(target.path ? target : { port: listener.address.port }, 'realtime')
    const sent = Buffer.alloc(5_000_000, 'some of it ')
    const writing = connection.write(sent).then(() => connection.end())
    const received = []
    for await (const bytes of connection) received.push(bytes)
    await writing
    console.log(Buffer.concat(received).equals(sent))
    await connection.close()
    await listener.close()
    await echoing
  }
  rmSync(folder, { recursive: true })

  const listener = await listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
  const server = http.createServer((request, response) => request.pipe(response))
  const serving = (async () => {
    for await (const connection of listener) server.emit('connection', connection.toDuplex())
  })()
  const { port } = listener.address
  const duplex = (await connect({ port, host: '127.0.0.1' }, 'user-visible')).toDuplex()
  const answer = await new Promise((resolve, reject) => {
    const headers = { connection: 'close', 'content-length': 1_000_000 }
    const request = http.request({ createConnection: () => duplex, method: 'POST', headers }, response => {
      let length = 0
      response.on('data', bytes => (length += bytes.length)).on('end', () => resolve(length))
    })
    request.on('error', reject).end(Buffer.alloc(1_000_000))
  })
  console.log(answer)
  duplex.destroy()
  await listener.close()
  await serving

  const one = await bind({ host: '127.0.0.1' }, 'user-visible')
  const other = await bind({}, 'user-visible')
  await one.send('datagram', { port: other.localAddress.port })
  const datagram = await other.receive()
  await other.send('answer', datagram)
  console.log(String(datagram.bytes), String((await one.receive()).bytes))
  await Promise.all([one.close(), other.close()])
  console.log('end')`

test.for<[string, string | undefined, string[]]>([
  ['Node', process.execPath, ['--input-type=module', '-e']],
  ['Bun', process.env.KIRUNA_BUN, ['-e']],
  ['Deno', process.env.KIRUNA_DENO, ['eval', '--ext=mjs']],
])('%s, on libuv: connections, http, datagrams', async ([name, program, given], context) => {
  if (program === undefined) {
    const variable = `KIRUNA_${name.toUpperCase()}`
    console.log(`skipped: ${variable} does not name a ${name}`)
    return context.skip(`${variable} is not set`)
  }
  const { NODE_OPTIONS: _, NODE_PATH: __, ...inherited } = process.env
  const options = { cwd, env: { ...inherited, KIRUNA_IO: 'libuv' }, timeout: 15_000 }
  const { stdout } = await promisify(execFile)(program, [...given, source], options)
  expect(stdout.split('\n')).toEqual(['libuv', 'true', 'true', '1000000', 'datagram answer', 'end', ''])
})
