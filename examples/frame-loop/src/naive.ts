import { readFile } from 'node:fs/promises'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import type { Run } from './run.ts'
import { textLength } from './word-index.ts'

/** A frame, a user and an indexer as most people write them today. */
export async function naive(run: Run): Promise<void> {
  const frame = () => {
    if (run.frames.isDue) run.frame()
    timer = setTimeout(frame, run.frames.leftMs)
  }
  let timer = setTimeout(frame, run.frames.leftMs)
  const user = useFiles(run)
  await indexFolder(run)
  clearTimeout(timer)
  await user
}

async function useFiles(run: Run): Promise<void> {
  const opening: Promise<void>[] = []
  while (!run.isOver) {
    await sleep(run.keys.leftMs)
    while (run.keys.isDue && !run.isOver) opening.push(openFile(run, run.keys.take()))
  }
  await Promise.all(opening)
}

async function openFile(run: Run, keyMs: number): Promise<void> {
  const bytes = await readFile(run.nextToOpen()).catch(() => undefined)
  run.opened(keyMs, bytes)
}

async function indexFolder(run: Run): Promise<void> {
  while (!run.isOver) {
    const index = run.beginPass()
    for (const path of run.order.paths) {
      const bytes = await readFile(path).catch(() => undefined)
      if (bytes === undefined) run.fileFailed(path)
      else {
        index.add(bytes, 0, textLength(bytes))
        run.fileIndexed(path, bytes.length)
      }
      await turn()
      if (run.isOver) return
    }
    run.endPass()
  }
}
