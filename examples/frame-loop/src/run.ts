import { GcPauses, Grid, randomFrom } from './measure.ts'
import { type Progress, progressLines, Screen } from './screen.ts'
import { type Digest, WordIndex } from './word-index.ts'

const frameMs = 1000 / 60
const openMs = 50
/** Each frame composes the screen; ten times a second it goes to the terminal. */
const framesPerDrawing = 6

/** What the parent asks of a half. */
export interface Order {
  half: 'naive' | 'kiruna'
  /** Every file, to be indexed in this order at least once. */
  paths: string[]
  /** Those that the user may open. */
  openable: string[]
  /** How long it lasts at least. */
  seconds: number
  /** The progress is drawn, on a terminal at stderr. */
  live: boolean
}

/** What a half has measured. */
export interface Result {
  elapsedMs: number
  /** Of each frame. */
  latenessMs: Float64Array
  framesDue: number
  framesMissed: number
  /** Of each file that the user opened, from the moment of the grid to its content. */
  openMs: Float64Array
  opensFailed: number
  filesRead: number
  bytesRead: number
  filesFailed: number
  /** How often the whole folder has been indexed. The first time is the one that is compared. */
  passes: number
  words: number
  digest: Digest
  /** Of each path in order: two numbers, occurrences and presences. */
  fileDigests: Uint32Array
  /** Indices of the paths that could not be read. */
  unreadable: number[]
  gcMs: Float64Array
  implementation: { name: string; reason?: string } | undefined
}

/** What both halves have in common: what is to be done, until when, and what has been measured. */
export class Run implements Progress {
  readonly order: Order
  worstFrameMs = 0
  lastOpenMs = 0
  filesRead = 0
  passes = 0
  readonly #screen: Screen
  readonly #random = randomFrom(1)
  readonly #gc = new GcPauses()
  readonly #latenessMs: number[] = []
  #framesDue = 0
  #framesMissed = 0
  readonly #openMs: number[] = []
  #opensFailed = 0
  #bytesRead = 0
  #filesFailed = 0
  /** How long it lasted; 0 until it is over. */
  #overMs = 0
  #index: WordIndex | undefined = undefined
  #firstIndex: WordIndex | undefined = undefined
  readonly #firstDigests = new Map<string, Digest>()
  readonly #unreadable = new Set<string>()
  // The clocks start last.
  readonly keys = new Grid(openMs)
  readonly frames = new Grid(frameMs)
  readonly startMs = performance.now()

  constructor(order: Order) {
    this.order = order
    this.#screen = new Screen(order.live)
  }

  get elapsedMs(): number {
    return performance.now() - this.startMs
  }

  /** The time is up and the folder has been indexed once. */
  get isOver(): boolean {
    if (this.#overMs === 0 && this.passes > 0 && this.elapsedMs >= this.order.seconds * 1000) {
      this.#overMs = this.elapsedMs
    }
    return this.#overMs > 0
  }

  /** From 0 to 1. */
  get share(): number {
    const timeShare = this.elapsedMs / (this.order.seconds * 1000)
    const firstPass = this.passes > 0 ? 1 : (this.filesRead + this.#filesFailed) / this.order.paths.length
    return Math.min(timeShare, firstPass, 1)
  }

  /** One frame: measured, then drawn. It belongs to the earliest point that had no frame yet. */
  frame(): void {
    const lateMs = performance.now() - this.frames.take()
    this.#latenessMs.push(lateMs)
    // A period late: missed, and so is each further point that went by.
    const missed = this.frames.skip()
    this.#framesMissed += missed
    this.#framesDue += 1 + missed
    if (lateMs > this.worstFrameMs) this.worstFrameMs = lateMs
    const lines = progressLines(this)
    if (this.#latenessMs.length % framesPerDrawing === 0) this.#screen.show(lines)
  }

  /** The file that the user opens now. */
  nextToOpen(): string {
    const { openable } = this.order
    return openable[Math.floor(this.#random() * openable.length)]!
  }

  /** Its content is there, or it cannot be read. @param keyMs when the user pressed the key */
  opened(keyMs: number, bytes: Uint8Array | undefined): void {
    if (bytes === undefined) {
      this.#opensFailed++
      return
    }
    this.lastOpenMs = performance.now() - keyMs
    this.#openMs.push(this.lastOpenMs)
  }

  /** The folder is indexed from its beginning. */
  beginPass(): WordIndex {
    this.#index = new WordIndex()
    this.#firstIndex ??= this.#index
    return this.#index
  }

  fileIndexed(path: string, lengthBytes: number): void {
    const digest = this.#index!.endFile()
    this.filesRead++
    this.#bytesRead += lengthBytes
    if (this.passes === 0) this.#firstDigests.set(path, digest)
  }

  /** What has been read of it until then is in the index, and in what is left out when the indexes are compared. */
  fileFailed(path: string): void {
    const digest = this.#index!.endFile()
    this.#filesFailed++
    if (this.passes > 0) return
    this.#firstDigests.set(path, digest)
    this.#unreadable.add(path)
  }

  endPass(): void {
    this.passes++
  }

  /** After the last frame: what is computed here disturbs none. */
  result(implementation?: Result['implementation']): Result {
    const gcMs = this.#gc.stop()
    this.#screen.clear()
    const { paths } = this.order
    const fileDigests = new Uint32Array(paths.length * 2)
    const unreadable: number[] = []
    paths.forEach((path, i) => {
      const { occurrences, presences } = this.#firstDigests.get(path)!
      fileDigests.set([occurrences, presences], i * 2)
      if (this.#unreadable.has(path)) unreadable.push(i)
    })
    return {
      elapsedMs: this.#overMs,
      latenessMs: Float64Array.from(this.#latenessMs),
      framesDue: this.#framesDue,
      framesMissed: this.#framesMissed,
      openMs: Float64Array.from(this.#openMs),
      opensFailed: this.#opensFailed,
      filesRead: this.filesRead,
      bytesRead: this.#bytesRead,
      filesFailed: this.#filesFailed,
      passes: this.passes,
      words: this.#firstIndex!.words,
      digest: this.#firstIndex!.digest(),
      fileDigests,
      unreadable,
      gcMs,
      implementation,
    }
  }
}
