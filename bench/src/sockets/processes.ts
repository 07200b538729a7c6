import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url))
export const serverPath = here('server.ts')
/** As Linux counts a process's time, on every machine that Node runs on. */
const ticksPerSecond = 100

/** A process that prints lines. */
export class Program {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(command: string[], env: Record<string, string> = {}) {
    const [program, ...given] = command
    const stdio: ['ignore', 'pipe', 'inherit'] = ['ignore', 'pipe', 'inherit']
    this.#child = spawn(program!, given, { env: { ...process.env, ...env }, stdio })
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]()
    running.add(this.#child)
    this.#child.on('exit', () => running.delete(this.#child))
  }

  /** @throws Error it has ended */
  async line(): Promise<string> {
    const { value, done } = await this.#lines.next()
    if (done) throw new Error(`${this.#child.spawnargs.join(' ')} has ended`)
    return value
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exit = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exit
    await setTimeout(50) // what it had open is closed, and nobody else is measured with that
  }

  /** What all of its threads have used so far. */
  get cpuMicroseconds(): number {
    const stat = readFileSync(`/proc/${this.#child.pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return ((Number(fields[11]) + Number(fields[12])) / ticksPerSecond) * 1e6
  }

  /** What it has in memory. @see proc_pid_status(5) */
  get residentKiB(): number {
    return Number(/^VmRSS:\s*(\d+)/m.exec(readFileSync(`/proc/${this.#child.pid}/status`, 'latin1'))?.[1])
  }
}

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

export interface Server {
  name: string
  command: string[]
  env?: Record<string, string>
}

/** The programs in C, built where there is a compiler. undefined: there is none. */
export function build(): Record<'load' | 'limit' | 'limit-realtime', string> | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'kiruna-sockets-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  try {
    const built = (name: string) => {
      execFileSync('cc', ['-O2', '-o', join(folder, name), here(`${name}.c`)], { stdio: 'ignore' })
      return join(folder, name)
    }
    return { load: built('load'), limit: built('limit'), 'limit-realtime': built('limit-realtime') }
  } catch {
    return undefined
  }
}

/** Those that can run here: KIRUNA_BUN names Bun's program. */
export function servers(priority: string): Server[] {
  const bun = process.env.KIRUNA_BUN
  const all = [{ name: 'node:net', command: [process.execPath, serverPath, 'node', priority] }]
  if (bun !== undefined) all.push({ name: 'Bun.listen', command: [bun, serverPath, 'bun', priority] })
  all.push({ name: 'kiruna', command: [process.execPath, serverPath, 'kiruna', priority] })
  return all
}
