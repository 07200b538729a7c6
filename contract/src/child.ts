import { type ChildProcess, spawn } from 'node:child_process'
import type { Test } from './contract.ts'

export interface Exit {
  code: number | null
  signal: string | null
  stdout: string
  stderr: string
}

export interface ChildOptions {
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

/**
 * Runs a module's text in a Node.js of its own, where `seek`, `fs` and `folder` are at hand.
 * @param limit a command of sh to run before, such as `ulimit -n 64`
 */
export function inChild({ folder, url }: Test, text: string, limit?: string): Promise<Exit> {
  const source = `import * as fs from 'node:fs'
    import * as seek from ${JSON.stringify(url)}
    const folder = ${JSON.stringify(folder)}
    ${text}`
  return runModule(folder, source, limit === undefined ? {} : { shell: `${limit}; exec "$@"` })
}

/** Runs a module's text in a Node.js of its own, in this folder. */
export function runModule(folder: string, source: string, options: ChildOptions): Promise<Exit> {
  const { NODE_OPTIONS: _, ...env } = process.env
  const { shell, wrapper = [], flags = [], limitMs = 15_000, stdin = 'ignore', onStart, onReady } = options
  const script = shell === undefined ? [] : ['sh', '-c', shell, 'sh']
  const node = [process.execPath, ...flags, '--input-type=module', '--eval', source]
  const [command, ...given] = [...wrapper, ...script, ...node]
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
