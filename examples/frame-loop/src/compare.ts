import type { Result } from './run.ts'
import type { Digest } from './word-index.ts'

export interface Comparison {
  equal: boolean
  /** Files that both halves could read and that nobody has changed. */
  compared: number
  /** The others. */
  leftOut: number
  /** One whose words the halves do not agree on, if they disagree. */
  differing: string | undefined
}

/**
 * Compares the indexes that the halves have built. What a file gave to an index can be taken out of its digest again:
 * so those that only one half could read, and those that somebody has changed meanwhile, are left out.
 * @param changed indices of `paths`
 */
export function compare(paths: string[], naive: Result, kiruna: Result, changed: Set<number>): Comparison {
  const leftOut = new Set([...naive.unreadable, ...kiruna.unreadable, ...changed])
  const [ours, theirs] = [without(kiruna, leftOut), without(naive, leftOut)]
  const equal =
    ours.occurrences === theirs.occurrences &&
    ours.presences === theirs.presences &&
    (leftOut.size > 0 || naive.words === kiruna.words)
  const differing = paths.find((_, i) => !leftOut.has(i) && !sameFile(naive, kiruna, i))
  return { equal, compared: paths.length - leftOut.size, leftOut: leftOut.size, differing }
}

function without({ digest, fileDigests }: Result, files: Set<number>): Digest {
  let { occurrences, presences } = digest
  for (const i of files) {
    occurrences = (occurrences - fileDigests[i * 2]!) >>> 0
    presences = (presences - fileDigests[i * 2 + 1]!) >>> 0
  }
  return { occurrences, presences }
}

function sameFile(naive: Result, kiruna: Result, i: number): boolean {
  return (
    naive.fileDigests[i * 2] === kiruna.fileDigests[i * 2] &&
    naive.fileDigests[i * 2 + 1] === kiruna.fileDigests[i * 2 + 1]
  )
}
