import { every, type Scope, spawn } from '@kiruna/core'
import { seek } from '@kiruna/core/io'
import type { Run } from './run.ts'
import { textLength, type WordIndex } from './word-index.ts'

/** So much is indexed between two looks at what is more urgent: about 0.1 ms. */
const stepBytes = 8 * 1024
/** Read at once; the same memory for every file, so that the garbage collector has nothing to do. */
const bufferBytes = 32 * 1024

/** The same frame, user and indexer, each with its priority. */
export async function kiruna(run: Run): Promise<void> {
  const frame = every(run.frames.periodMs, () => run.frame()) // realtime
  const user = spawn('user-blocking', scope => useFiles(run, scope), { name: 'user' })
  await spawn('background', scope => indexFolder(run, scope), { name: 'index' })
  frame.stop()
  await user
}

async function useFiles(run: Run, scope: Scope): Promise<void> {
  const opening: Promise<void>[] = []
  while (!run.isOver) {
    await scope.sleep(run.keys.leftMs)
    while (run.keys.isDue && !run.isOver) opening.push(openFile(run, run.keys.take(), scope))
  }
  await Promise.all(opening)
}

async function openFile(run: Run, keyMs: number, scope: Scope): Promise<void> {
  const bytes = await seek.readAll(run.nextToOpen(), scope).catch(() => undefined)
  run.opened(keyMs, bytes)
}

async function indexFolder(run: Run, scope: Scope): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(bufferBytes)
  while (!run.isOver) {
    const index = run.beginPass()
    for (const path of run.order.paths) {
      const lengthBytes = await indexFile(path, index, buffer, scope).catch(() => undefined)
      if (lengthBytes === undefined) run.fileFailed(path)
      else run.fileIndexed(path, lengthBytes)
      if (run.isOver) return
    }
    run.endPass()
  }
}

async function indexFile(path: string, index: WordIndex, buffer: Buffer, scope: Scope): Promise<number> {
  const file = await seek.open(path, scope)
  try {
    let isText = true
    for (let position = 0; ; ) {
      const length = await file.read(buffer, position, scope)
      if (position === 0) isText = textLength(buffer.subarray(0, length)) > 0
      for (let from = 0; from < length && isText; from += stepBytes) {
        index.add(buffer, from, Math.min(from + stepBytes, length))
        if (scope.shouldYield()) await scope.yield()
      }
      position += length
      if (length < buffer.length) return position
    }
  } finally {
    await file.close()
  }
}
