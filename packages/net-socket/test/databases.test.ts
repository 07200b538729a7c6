import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chownSync, existsSync, readdirSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ConnectionDuplex } from '@kiruna/net-socket'
import { AbstractConnector, Redis } from 'ioredis'
import pg from 'pg'
import { expect, onTestFinished, test } from 'vitest'
import { forEachImplementation, type Net } from './implementations.test-support.ts'
import { folder, run, whyWithout } from './servers.test-support.ts'

const withoutRedis = whyWithout('redis-server')
const postgresFolder = findPostgres()
if (postgresFolder === undefined) console.warn('skipped: PostgreSQL is not installed')

/** A server of its own, on a Unix-domain socket, which goes with the test. */
async function redisServer(): Promise<string> {
  const dir = folder()
  const path = join(dir, 'redis')
  const server = spawn('redis-server', ['--port', '0', '--unixsocket', path, '--save', '', '--dir', dir], {
    stdio: 'ignore',
  })
  onTestFinished(() => void server.kill('SIGKILL'))
  while (!(await listens(path))) await sleep(10)
  return path
}

/** Its path is there a moment before. */
function listens(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = createConnection(path, () => resolve(true)).on('error', () => resolve(false))
    socket.on('connect', () => socket.end())
  })
}

/** How ioredis is told to use other sockets. */
function redisOn(net: Net, path: string): Redis {
  class Connector extends AbstractConnector {
    constructor() {
      super(1000)
    }
    override async connect(): Promise<never> {
      const connection = await net.connect({ path }, 'user-visible')
      return (this.stream = connection.toDuplex() as never)
    }
  }
  const redis = new Redis({ Connector: Connector as never, maxRetriesPerRequest: 1 })
  redis.on('error', () => {})
  onTestFinished(() => redis.disconnect())
  return redis
}

function findPostgres(): string | undefined {
  const all = '/usr/lib/postgresql'
  if (!existsSync(all)) return undefined
  const folders = readdirSync(all).map(version => join(all, version, 'bin'))
  return folders.find(bin => existsSync(join(bin, 'initdb')) && existsSync(join(bin, 'postgres')))
}

/** It refuses to be root's. */
async function postgresServer(bin: string): Promise<string> {
  const dir = folder()
  const nobody = process.getuid!() === 0 ? { uid: 65534, gid: 65534 } : {}
  if (nobody.uid !== undefined) chownSync(dir, nobody.uid, nobody.gid)
  const data = join(dir, 'data')
  await run(join(bin, 'initdb'), ['-D', data, '-U', 'kiruna', '-A', 'trust', '--no-sync'], nobody)
  const server = spawn(join(bin, 'postgres'), ['-D', data, '-k', dir, '-c', 'listen_addresses=', '-F'], {
    ...nobody,
    stdio: 'ignore',
  })
  const exit = new Promise(resolve => server.on('exit', resolve))
  onTestFinished(async () => {
    server.kill('SIGQUIT')
    await exit
  })
  const path = join(dir, '.s.PGSQL.5432')
  while (!(await listens(path))) await sleep(20)
  return path
}

forEachImplementation(net => {
  test.skipIf(withoutRedis)('ioredis talks to a redis-server over it', async () => {
    const redis = redisOn(net, await redisServer())
    expect(await redis.ping()).toBe('PONG')
    const large = randomBytes(3_000_000)
    await redis.set('large', large)
    expect((await redis.getBuffer('large'))!.equals(large)).toBe(true)
    const counts = await Promise.all(Array.from({ length: 2000 }, () => redis.incr('count')))
    expect(counts).toEqual(Array.from({ length: 2000 }, (_, i) => i + 1))
    const pipeline = redis.pipeline()
    for (let i = 0; i < 2000; i++) pipeline.rpush('list', `value ${i}`)
    await pipeline.exec()
    expect(await redis.lrange('list', 1998, -1)).toEqual(['value 1998', 'value 1999'])
    await redis.quit()
  })

  test.skipIf(withoutRedis)('ioredis connects again when the server has closed the connection', async () => {
    const redis = redisOn(net, await redisServer())
    const id = await redis.client('ID')
    await redis.call('CLIENT', 'KILL', 'ID', String(id), 'SKIPME', 'no').catch(() => {})
    for (;;) {
      const now = await redis.client('ID').catch(() => id)
      if (now !== id) return
      await sleep(5)
    }
  })

  test.skipIf(postgresFolder === undefined)(
    'pg talks to a PostgreSQL server over it',
    { timeout: 60_000 },
    async () => {
      const path = await postgresServer(postgresFolder!)
      const open = async (): Promise<pg.Client> => {
        let duplex: ConnectionDuplex
        for (;;) {
          duplex = (await net.connect({ path }, 'user-visible')).toDuplex()
          const client = new pg.Client({
            user: 'kiruna',
            database: 'postgres',
            stream: () => duplex as never,
          })
          try {
            await client.connect()
            return client
          } catch (error) {
            if ((error as { code?: string }).code !== '57P03') throw error // it is starting up
            await sleep(50)
          }
        }
      }
      const client = await open()
      const { rows } = await client.query('select generate_series(1, 20000) as n')
      expect(rows.length).toBe(20_000)
      expect(rows.at(-1)).toEqual({ n: 20_000 })
      const large = randomBytes(2_000_000)
      const { rows: back } = await client.query('select $1::bytea as bytes', [large])
      expect(back[0].bytes.equals(large)).toBe(true)
      await expect(client.query('select nothing')).rejects.toMatchObject({ code: '42703' })
      for (let i = 0; i < 50; i++) {
        const { rows: sums } = await client.query('select $1::int + 1 as sum', [i])
        expect(sums[0].sum).toBe(i + 1)
      }
      await client.end()
    },
  )
})
