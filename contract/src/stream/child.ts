import { type ChildProcess, spawn } from 'node:child_process'
import { NotHere } from '../contract.ts'
import type { StreamTest } from './contract.ts'

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
  /** Its stdin: a socket ('pipe' in Node.js), nothing, or an fd. */
  stdin?: 'pipe' | 'ignore' | number
  onStart?: (child: ChildProcess) => void
  /** Once it has printed `ready`. */
  onReady?: (child: ChildProcess) => void
}

/** Runs a module's text in a Node.js of its own, where `stream`, `fs`, `sleep` and `folder` are at hand. */
export function inChild({ folder, url }: StreamTest, text: string, options: Options = {}): Promise<Exit> {
  const source = `import * as fs from 'node:fs'
    import { setTimeout as sleep } from 'node:timers/promises'
    import * as stream from ${JSON.stringify(url)}
    const folder = ${JSON.stringify(folder)}
    ${text}`
  const { NODE_OPTIONS: _, ...env } = process.env
  const { shell, wrapper = [], stdin = 'ignore', onStart, onReady } = options
  if (process.platform === 'win32' && (shell !== undefined || wrapper.length > 0)) {
    throw new NotHere(`Windows has no ${wrapper[0] ?? 'sh'}`)
  }
  const script = shell === undefined ? [] : ['sh', '-c', shell, 'sh']
  const [command, ...given] = [
    ...wrapper,
    ...script,
    process.execPath,
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
    const late = setTimeout(() => child.kill('SIGKILL'), 15_000)
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(late)
      resolve({ code, signal, stdout, stderr })
    })
  })
}
