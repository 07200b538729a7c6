import { type ChildOptions, type Exit, runModule } from '../child.ts'
import type { NetTest } from './contract.ts'

/** Runs a module's text in a Node.js of its own, where `net`, `fs`, `spawn`, `sleep` and `folder` are at hand. */
export function inChild({ folder, url }: NetTest, text: string, options: ChildOptions = {}): Promise<Exit> {
  const source = `import * as fs from 'node:fs'
    import { spawn } from 'node:child_process'
    import { setTimeout as sleep } from 'node:timers/promises'
    import * as net from ${JSON.stringify(url)}
    const folder = ${JSON.stringify(folder)}
    ${text}`
  return runModule(folder, source, options)
}
