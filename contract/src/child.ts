import { spawn } from 'node:child_process'
import type { Test } from './contract.ts'

interface Exit {
  code: number | null
  signal: string | null
  stdout: string
  stderr: string
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
  const { NODE_OPTIONS: _, ...env } = process.env
  const node = [process.execPath, '--input-type=module', '--eval', source]
  const [command, ...given] = limit === undefined ? node : ['sh', '-c', `${limit}; exec "$@"`, 'sh', ...node]
  return new Promise((resolve, reject) => {
    const child = spawn(command!, given, {
      env,
      cwd: folder,
      timeout: 15_000,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let [stdout, stderr] = ['', '']
    child.stdout.setEncoding('utf8').on('data', text => (stdout += text))
    child.stderr.setEncoding('utf8').on('data', text => (stderr += text))
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
  })
}
