import { execFile, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { ConnectionDuplex } from '@kiruna/net-socket'
import { onTestFinished } from 'vitest'
import type { Net } from './implementations.test-support.ts'

export const run = promisify(execFile)

/** Gives each connection that comes to a server of Node's, as its own listener would. Returns the port. */
export async function serve(
  net: Net,
  server: { emit(name: 'connection', duplex: ConnectionDuplex): boolean },
  target: { port: number; host?: string } | { path: string } = { port: 0, host: '127.0.0.1' },
): Promise<number> {
  const listener = await net.listen(target, 'user-visible')
  const open = new Set<ConnectionDuplex>()
  const serving = (async () => {
    for await (const connection of listener) {
      const duplex = connection.toDuplex({ allowHalfOpen: true })
      open.add(duplex)
      duplex.on('close', () => open.delete(duplex))
      server.emit('connection', duplex)
    }
  })()
  onTestFinished(async () => {
    await listener.close()
    await serving
    for (const duplex of open) duplex.destroy()
  })
  return listener.address.family === 'Unix' ? 0 : listener.address.port
}

/** Why a program cannot be run here; undefined where it can. */
export function whyWithout(program: string, argument = '--version'): string | undefined {
  const { error } = spawnSync(program, [argument], { stdio: 'ignore' })
  if (error === undefined) return undefined
  const reason = `${program} is not installed`
  console.warn(`skipped: ${reason}`)
  return reason
}

/** A folder that goes with the test. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'kiruna-net-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}
