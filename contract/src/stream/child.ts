import { type ChildOptions, type Exit, runModule } from '../child.ts'
import { NotHere } from '../contract.ts'
import type { StreamTest } from './contract.ts'

/** Runs a module's text in a Node.js of its own, where `stream`, `fs`, `sleep` and `folder` are at hand. */
export function inChild(
  { folder, url }: StreamTest,
  text: string,
  options: ChildOptions = {},
): Promise<Exit> {
  const source = `import * as fs from 'node:fs'
    import { setTimeout as sleep } from 'node:timers/promises'
    import * as stream from ${JSON.stringify(url)}
    const folder = ${JSON.stringify(folder)}
    ${text}`
  const { shell, wrapper = [] } = options
  if (process.platform === 'win32' && (shell !== undefined || wrapper.length > 0)) {
    throw new NotHere(`Windows has no ${wrapper[0] ?? 'sh'}`)
  }
  return runModule(folder, source, options)
}
