import { execFile } from 'node:child_process'
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const packages = fileURLToPath(new URL('../..', import.meta.url))

const asModule = ['--input-type=module', '-e']

export interface Ended {
  /** The exit code, or the signal. */
  code: unknown
  out: string
  err: string
}

/**
 * Runs a module's text in a process of its own, in this folder, with `every`, `post` and `spawn` at hand. As in
 * production: a machine that holds it up is no reason to warn.
 */
export function runModule(source: string, nodeOptions: string[] = []): Promise<Ended> {
  const header = `import { every, post, spawn } from '../src/default-scheduler.ts'\n`
  return run(header + source, fileURLToPath(new URL('.', import.meta.url)), {}, [
    process.execPath,
    ...nodeOptions,
    ...asModule,
  ])
}

/** Runs a module's text in a process of its own. */
export function run(
  source: string,
  cwd: string,
  env: Record<string, string> = {},
  [command, ...given]: [string, ...string[]] = [process.execPath, ...asModule],
): Promise<Ended> {
  // NODE_PATH: pnpm's way into the workspace, from anywhere.
  const { NODE_OPTIONS: _, NODE_PATH: __, KIRUNA_IO: ___, ...inherited } = process.env
  return new Promise(resolve => {
    execFile(
      command,
      [...given, source],
      { cwd, env: { ...inherited, NODE_ENV: 'production', ...env }, timeout: 15_000 },
      (error, out, err) => resolve({ code: error === null ? 0 : (error.code ?? error.signal), out, err }),
    )
  })
}

/** Packages as a package manager would install them in this folder, but for their addons. */
export function install(folder: string, names: string[]): void {
  for (const name of names) {
    for (const part of ['package.json', 'dist']) {
      const from = join(packages, name, part)
      cpSync(from, join(folder, 'node_modules/@kiruna', name, part), { recursive: true })
    }
  }
}
