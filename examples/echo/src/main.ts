import { parseArgs } from 'node:util'
import { type Scope, spawn } from '@kiruna/core'
import { bind, implementation, type Listener, listen } from '@kiruna/core/net'
import { Counts } from './counts.ts'
import { serve, serveDatagrams } from './echo.ts'
import { serveStatus } from './status.ts'

const help = `Gives back what it is sent: over TCP, UDP and a Unix-domain socket, and says over http how much that was.

usage: node src/main.ts [options]

  --port N     of TCP and UDP; 7007. 0: one that is free
  --http N     of the status page, and of POST /echo; 7080
  --host NAME  where all of them listen; 127.0.0.1
  --path PATH  a Unix-domain socket as well
  --help       prints this

SIGINT and SIGTERM end it.`

const options = parse(process.argv.slice(2))
if (options === undefined) console.log(help)
else {
  // A bare name is enough where nothing more urgent is about; here it is the parent of everything.
  const server = spawn('user-blocking', scope => main(scope, options), { name: 'server' })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => server.cancel(signal))
  await server.catch(reason => {
    if (reason !== 'SIGINT' && reason !== 'SIGTERM') fail(reason)
  })
}

async function main(scope: Scope, { host, port, http, path }: Options): Promise<void> {
  const counts = new Counts()
  const tcp = await listen({ host, port }, scope)
  const udp = await bind({ host, port: portOf(tcp) }, scope)
  const status = await listen({ host, port: http }, scope)
  const unix = path === undefined ? undefined : await listen({ path }, scope)

  scope.spawn(child => serve(tcp, child, counts), { name: 'tcp' })
  scope.spawn(child => serveDatagrams(udp, child, counts), { name: 'udp' })
  if (unix !== undefined) scope.spawn(child => serve(unix, child, counts), { name: 'unix' })
  scope.spawn(() => serveStatus(status, counts), { name: 'status', priority: 'background' })

  const { name, reason } = implementation()
  const on = path === undefined ? '' : `, and on ${path}`
  console.log(`echo: TCP and UDP on ${host}:${portOf(tcp)}${on}`)
  console.log(`echo: http on ${host}:${portOf(status)}`)
  console.log(`echo: by ${name}${reason === undefined ? '' : `, because ${reason}`}`)
}

interface Options {
  host: string
  port: number
  http: number
  path: string | undefined
}

/** @returns undefined: help is wanted */
function parse(args: string[]): Options | undefined {
  try {
    const { values } = parseArgs({
      args,
      options: {
        port: { type: 'string', default: '7007' },
        http: { type: 'string', default: '7080' },
        host: { type: 'string', default: '127.0.0.1' },
        path: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    if (values.help) return undefined
    const { host, path } = values
    return { host, path, port: portGiven(values.port, '--port'), http: portGiven(values.http, '--http') }
  } catch (error) {
    fail(error)
  }
}

function portGiven(text: string, name: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) < 65_536) return Number(text)
  throw new Error(`${name} takes a number from 0 to 65535, not '${text}'`)
}

function portOf({ address }: Listener): number {
  return address.family === 'Unix' ? 0 : address.port
}

function fail(error: unknown): never {
  console.error(`echo: ${(error as Error).message}`)
  process.exit(1)
}
