import { type ChildProcess, spawn } from 'node:child_process'
import type { NetTest } from './contract.ts'

export interface Exit {
  code: number | null
  signal: string | null
  stdout: string
  stderr: string
}

interface Options {
  /** A script of sh that runs the module as `"$@"`. */
  shell?: string
  /** A command that runs the module with its own arguments behind. */
  wrapper?: string[]
  /** Of the Node.js that runs it. */
  flags?: string[]
  /** How long it may take. */
  limitMs?: number
  /** Its stdin: a socket ('pipe' in Node.js), nothing, or an fd. */
  stdin?: 'pipe' | 'ignore' | number
  onStart?: (child: ChildProcess) => void
  /** Once it has printed `ready`. */
  onReady?: (child: ChildProcess) => void
}

/** Runs a module's text in a Node.js of its own, where `net`, `fs`, `spawn`, `sleep` and `folder` are at hand. */
export function inChild({ folder, url }: NetTest, text: string, options: Options = {}): Promise<Exit> {
  const source = `import * as fs from 'node:fs'
    import { spawn } from 'node:child_process'
    import { setTimeout as sleep } from 'node:timers/promises'
    import * as net from ${JSON.stringify(url)}
    const folder = ${JSON.stringify(folder)}
    ${text}`
  const { NODE_OPTIONS: _, ...env } = process.env
  const { shell, wrapper = [], flags = [], limitMs = 15_000, stdin = 'ignore', onStart, onReady } = options
  const script = shell === undefined ? [] : ['sh', '-c', shell, 'sh']
  const [command, ...given] = [
    ...wrapper,
    ...script,
    process.execPath,
    ...flags,
    '--input-type=module',
    '--eval',
    source,
  ]
  return new Promise((resolve, reject) => {
    const child = spawn(command!, given, { env, cwd: folder, stdio: [stdin, 'pipe', 'pipe'] })
    onStart?.(child)
    let [stdout, stderr, isReady] = ['', '', false]
    child.stdout!.setEncoding('utf8').on('data', text => {
      stdout += text
      if (isReady || !stdout.includes('ready')) return
      isReady = true
      onReady?.(child)
    })
    child.stderr!.setEncoding('utf8').on('data', text => (stderr += text))
    const late = setTimeout(() => child.kill('SIGKILL'), limitMs)
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(late)
      resolve({ code, signal, stdout, stderr })
    })
  })
}
