import { mkdtempSync, realpathSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Windows by way of wine, which shows less than Windows does. */
export const isWine = process.env.KIRUNA_WINE === '1'

/** Where children and workers import the package from. */
export const seekUrl = new URL('../dist/seek.js', import.meta.url).href

/** Runs with an empty folder, and removes it: that fails as long as a file in it is open. */
export async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'kiruna-iocp-')))
  await run(folder)
  await rm(folder, { recursive: true, maxRetries: 10, retryDelay: 10 })
}
