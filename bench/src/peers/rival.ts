/** A way to get background work done in a program that has more urgent things to do. */
export interface Rival {
  /** Queues one job. */
  post(job: () => void): void
  /** Calls `step` until it returns false, and lets others go in between. */
  loop(step: Step): Promise<void>
  /** Calls `tick` every `periodMs`, on a grid. */
  every(periodMs: number, tick: (lateMs: number) => void): void
  /** For another thread to ring when it has posted a message. */
  doorbell?: SharedArrayBuffer
  open(path: string): Promise<Reads>
}

/** Works until it wants to give way, or until `shouldYield` says that it should. Returns false when it has ended. */
export type Step = (shouldYield: () => boolean) => boolean

/** A file to be read at random positions. */
export interface Reads {
  /** Reads and calls `then`, again and again, until the next position is −1. */
  loop(buffer: Buffer, next: () => number, then: () => void): Promise<void>
  /** One that somebody waits for. */
  urgent(buffer: Buffer, position: number): Promise<unknown>
}
