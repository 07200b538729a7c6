import { setTimeout } from 'node:timers/promises'
import type { Bench, OwnRound } from '../main.ts'
import { inTurn, median } from '../rivals.ts'
import type { Column, Table, Target } from '../table.ts'
import { build, Program, type Server, serverPath, servers } from './processes.ts'

const rounds = 5
const seconds = 1.5
const idleConnections = 10_000
const limitName = 'C on a raw ring, the limit'

const programs = process.platform === 'linux' ? build() : undefined

/** Loopback, the same client in C for all, in a process of its own. */
export const sockets: Bench[] = [
  {
    name: 'sockets-echo',
    run: () => withPrograms(async () => [await echo(1, 64), await echo(64, 1024)]),
    async own(compare) {
      await withPrograms(() => compare([ownEcho(1, 64), ownEcho(64, 1024)]))
    },
  },
  {
    name: 'sockets-realtime',
    run: () => withPrograms(async () => [await realtime()]),
    async own(compare) {
      const run: OwnRound['run'] = async env => {
        const { alone, loadedP50, loaded, downloaded } = await realtimeRound(ours('realtime', env))
        return [alone, loadedP50, loaded, downloaded]
      }
      await withPrograms(() => compare([{ question: realtimeQuestion, columns: realtimeColumns, run }]))
    },
  },
  {
    name: 'sockets-idle',
    run: () => withPrograms(async () => [await idle()]),
    async own(compare) {
      const run: OwnRound['run'] = async env => [(await idleRound(ours('background', env))).kibibytes]
      await withPrograms(() => compare([{ question: idleQuestion, columns: idleColumns, run }]))
    },
  },
]

const echoColumns: Column[] = [
  { title: 'thousands a second', better: 'more' },
  { title: 'p50 µs', better: 'less' },
  { title: 'p99 µs', better: 'less' },
  { title: 'CPU µs each', better: 'less' },
]
const realtimeQuestion = 'a realtime ping-pong of 64 bytes beside 64 background downloads at full speed'
const realtimeColumns: Column[] = [
  { title: 'p99 µs alone', better: 'less' },
  { title: 'p50 µs beside', better: 'less' },
  { title: 'p99 µs beside', better: 'less' },
  { title: 'MB/s downloaded', better: 'more' },
]
const idleQuestion = `${idleConnections.toLocaleString('en')} idle connections`
const idleColumns: Column[] = [{ title: 'KiB each', better: 'less' }]

function ours(priority: string, env: Record<string, string>): Server {
  return { ...servers(priority).at(-1)!, env }
}

function ownEcho(connections: number, bytes: number): OwnRound {
  return {
    question: echoQuestion(connections, bytes),
    columns: echoColumns,
    async run(env) {
      const { perSecond, p50, p99, cpuMicroseconds } = await echoRound(
        ours('user-visible', env),
        connections,
        bytes,
      )
      return [perSecond / 1000, p50, p99, cpuMicroseconds]
    },
  }
}

function echoQuestion(connections: number, bytes: number): string {
  return `echo, ${connections} ${connections === 1 ? 'connection' : 'connections'}, ${bytes} bytes a message`
}

interface Echo {
  messages: number
  perSecond: number
  p50: number
  p99: number
  cpuMicroseconds: number
}

async function withPrograms<T>(run: () => Promise<T>): Promise<T | []> {
  if (programs !== undefined) return run()
  console.warn('skipped: the clients of the sockets benches are in C, for Linux, and there is no compiler')
  return []
}

/** What a client sees that sends, waits for the same bytes and sends again, on each of its connections. */
async function measureEcho(server: Program, port: string, connections: number, bytes: number): Promise<Echo> {
  const client = new Program([programs!.load, 'echo', port, `${connections}`, `${bytes}`, `${seconds}`])
  await client.line() // begin
  const before = server.cpuMicroseconds
  const measured = JSON.parse(await client.line())
  return { ...measured, cpuMicroseconds: (server.cpuMicroseconds - before) / measured.messages }
}

async function echoRound({ command, env }: Server, connections: number, bytes: number): Promise<Echo> {
  const server = new Program(command, env)
  const [port] = (await server.line()).split(' ')
  const result = await measureEcho(server, port!, connections, bytes)
  await server.end()
  return result
}

async function echo(connections: number, bytes: number): Promise<Table> {
  const rivals: Server[] = [
    { name: limitName, command: [programs!.limit] },
    { name: 'the same, multishot', command: [programs!.limit, 'multishot'] },
    ...servers('user-visible'),
    { ...servers('user-blocking').at(-1)!, name: 'kiruna, user-blocking' },
  ]
  const measured = await measure(rivals, server => echoRound(server, connections, bytes))
  const of = (name: string, measure: keyof Echo) => medianOf(measured, name, measure)
  const ratio = (rival: string, measure: keyof Echo) => of('kiruna', measure) / of(rival, measure)
  const targets: Target[] =
    connections === 1
      ? [{ what: 'messages, times node:net,', is: ratio('node:net', 'perSecond'), bound: { atLeast: 1.2 } }]
      : [
          { what: 'messages, times node:net,', is: ratio('node:net', 'perSecond'), bound: { atLeast: 2.2 } },
          { what: 'messages, times Bun,', is: ratio('Bun.listen', 'perSecond'), bound: { atLeast: 1.1 } },
          {
            what: 'CPU, against node:net,',
            is: ratio('node:net', 'cpuMicroseconds'),
            bound: { atMost: 0.6 },
          },
        ]
  return {
    question: echoQuestion(connections, bytes),
    columns: echoColumns,
    medians: Object.fromEntries(
      rivals.map(({ name }) => [
        name,
        [of(name, 'perSecond') / 1000, of(name, 'p50'), of(name, 'p99'), of(name, 'cpuMicroseconds')],
      ]),
    ),
    targets: targets.filter(({ is }) => !Number.isNaN(is)),
  }
}

/** A ping-pong of 64 bytes at realtime, alone and while 64 connections download at full speed in the background. */
async function realtimeRound({ command, env }: Server) {
  const server = new Program(command, env)
  const [port, downloadPort] = (await server.line()).split(' ')
  const alone = await measureEcho(server, port!, 1, 64)
  const feed = new Program([programs!.load, 'feed', downloadPort!, '64'])
  await feed.line()
  server.signal('SIGUSR2')
  const before = Number(await server.line())
  const startMs = performance.now()
  const loaded = await measureEcho(server, port!, 1, 64)
  server.signal('SIGUSR2')
  const downloaded = (Number(await server.line()) - before) / 1e6 / ((performance.now() - startMs) / 1000)
  await feed.end()
  await server.end()
  return { alone: alone.p99, loaded: loaded.p99, loadedP50: loaded.p50, downloaded }
}

async function realtime(): Promise<Table> {
  const rivals: Server[] = [
    { name: 'C on epoll, the limit', command: [programs!['limit-realtime']] },
    ...servers('realtime'),
    { name: 'kiruna, for await', command: [process.execPath, serverPath, 'loop', 'realtime'] },
  ]
  const measured = await measure(rivals, realtimeRound)
  type Measure = 'alone' | 'loaded' | 'loadedP50' | 'downloaded'
  const of = (name: string, measure: Measure) => medianOf(measured, name, measure)
  return {
    question: realtimeQuestion,
    columns: realtimeColumns,
    medians: Object.fromEntries(
      rivals.map(({ name }) => [
        name,
        [of(name, 'alone'), of(name, 'loadedP50'), of(name, 'loaded'), of(name, 'downloaded')],
      ]),
    ),
    targets: [
      {
        what: 'p99 beside, times alone,',
        is: of('kiruna', 'loaded') / of('kiruna', 'alone'),
        bound: { atMost: 2 },
      },
      {
        what: 'p99 beside, times better than node:net,',
        is: of('node:net', 'loaded') / of('kiruna', 'loaded'),
        bound: { atLeast: 5 },
      },
    ],
  }
}

const loopsName = 'the loops, no sockets'

/** Connections that wait for their peers: what each keeps of the process's memory. */
async function idleRound({ name, command, env }: Server) {
  const limit = ['sh', '-c', `ulimit -n ${idleConnections + 1100}; exec "$@"`, 'sh']
  const server = new Program([...limit, ...command], env)
  const [port] = (await server.line()).split(' ')
  const clients: Program[] = []
  const connect = async (count: number) => {
    const client = new Program([programs!.load, 'idle', port!, `${count}`])
    clients.push(client)
    await client.line()
  }
  if (name !== loopsName) await connect(1000) // what it needs is there after these
  await setTimeout(500)
  const before = server.residentKiB
  if (name === loopsName) {
    server.signal('SIGUSR2')
    await server.line()
  } else await connect(idleConnections)
  await setTimeout(700)
  const kibibytes = (server.residentKiB - before) / idleConnections
  await Promise.all([server, ...clients].map(one => one.end()))
  return { kibibytes }
}

async function idle(): Promise<Table> {
  const rivals: Server[] = [
    ...servers('background'),
    { name: loopsName, command: [process.execPath, serverPath, 'loops', 'background'] },
  ]
  const measured = await measure(rivals, idleRound)
  const of = (name: string) => medianOf(measured, name, 'kibibytes')
  return {
    question: idleQuestion,
    columns: idleColumns,
    medians: Object.fromEntries(rivals.map(({ name }) => [name, [of(name)]])),
    targets: [
      { what: 'memory, against node:net,', is: of('kiruna') / of('node:net'), bound: { atMost: 1 / 3 } },
    ],
  }
}

/** What each has measured, by its name. Each round is a process of its own. */
function measure<Measures>(
  rivals: Server[],
  run: (server: Server) => Promise<Measures>,
): Promise<Record<string, Measures[]>> {
  return inTurn(Object.fromEntries(rivals.map(server => [server.name, () => run(server)])), rounds, 0)
}

/** NaN of a rival that is not here. */
function medianOf<Measures>(
  measured: Record<string, Measures[]>,
  name: string,
  measure: keyof Measures,
): number {
  const values = measured[name]
  return values === undefined ? Number.NaN : median(values.map(one => one[measure] as number))
}
