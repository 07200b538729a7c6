import { errnoOf, systemError } from './error.ts'

const EBADF = errnoOf('EBADF')

/**
 * Counts what is under way on an open file. Closing refuses new operations at once and waits for those: an fd that is
 * closed under an operation may be somebody else's a moment later.
 */
export class InUse {
  #count = 0
  #closed: Promise<void> | undefined = undefined
  #idle: (() => void) | undefined = undefined

  /** @throws EBADF, as a closed FileHandle does */
  enter(syscall: string): void {
    if (this.#closed !== undefined) {
      const error = systemError(EBADF, syscall)
      error.message = 'file closed'
      throw error
    }
    this.#count++
  }

  /** How much is under way. */
  get count(): number {
    return this.#count
  }

  leave(): void {
    if (--this.#count === 0) this.#idle?.()
  }

  /** Idempotent: `finish` runs once, when nothing is under way. */
  close(finish: () => Promise<void>): Promise<void> {
    this.#closed ??= (
      this.#count === 0
        ? Promise.resolve()
        : new Promise<void>(resolve => {
            this.#idle = resolve
          })
    ).then(finish)
    return this.#closed
  }
}
