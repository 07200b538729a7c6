import { types } from 'node:util'
import { type Asker, deliver } from '@kiruna/priority'
import { checkBuffer, detached } from '@kiruna/priority/arguments'
import { coded, invalidType } from '@kiruna/priority/error'
import { type Abortable, follow, unfollow } from '@kiruna/priority/follow-signal'
import type { Link } from '@kiruna/priority/linked-list'

/** What `stream.write` returns. */
export interface Writer extends AsyncDisposable {
  /**
   * Writes all of the bytes, in the order of the calls. A string is written as UTF-8. Do not change the bytes before it
   * resolves.
   * @throws EPIPE, ENOSPC, EIO … (`err.code`), and the same from every write that follows; the signal's reason;
   *   ERR_STREAM_WRITE_AFTER_END; ERR_INVALID_ARG_TYPE
   */
  write(bytes: string | Uint8Array): Promise<void>
  /**
   * Closes what `stream.write` opened, once all has been written. Idempotent.
   * @throws the error of a write that has failed
   */
  end(): Promise<void>
}

/** A sink that has been opened. */
export interface Writing {
  /** Writes all of the bytes, at least one. */
  write(bytes: Uint8Array, asker: Asker): Promise<void>
  close(): Promise<void>
}

interface Entry {
  /** undefined: the end. */
  bytes: Uint8Array | undefined
  lengthBytes: number
  resolve(): void
  reject(reason: unknown): void
}

/** Makes one write after the other. The first one opens the sink, or else `end` does. */
export class QueuedWriter implements Writer {
  readonly #open: (asker: Asker) => Promise<Writing>
  readonly #asker: Asker
  readonly #waiting: Entry[] = []
  #running = false
  #following: Link<Abortable> | undefined = undefined
  #sink: Writing | undefined = undefined
  #failure: { reason: unknown } | undefined = undefined
  /** A write has been rejected with `#failure`. */
  #isFailureReported = false
  #ended: Promise<void> | undefined = undefined

  constructor(open: (asker: Asker) => Promise<Writing>, asker: Asker) {
    this.#open = open
    this.#asker = asker
  }

  write(bytes: string | Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      const memory = typeof bytes === 'string' ? Buffer.from(bytes) : bytes
      if (!types.isUint8Array(memory)) throw invalidType('bytes', 'a string or a Uint8Array', bytes)
      checkBuffer(memory)
      if (this.#ended !== undefined) throw coded(Error, 'ERR_STREAM_WRITE_AFTER_END', 'write after end')
      this.#enter({ bytes: memory, lengthBytes: memory.length, resolve, reject })
    })
  }

  end(): Promise<void> {
    this.#ended ??= new Promise((resolve, reject) =>
      this.#enter({ bytes: undefined, lengthBytes: 0, resolve, reject }),
    )
    return this.#ended
  }

  /** As `end`, but what a write has been rejected with is not thrown a second time. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.end()
    } catch (reason) {
      if (!this.#isFailureReported || reason !== this.#failure?.reason) throw reason
    }
  }

  /** @internal writes that have not begun reject at once; the one under way rejects by itself */
  abort(reason: unknown): void {
    this.#failure ??= { reason }
    for (const entry of this.#waiting.splice(0)) {
      deliver(this.#asker, () => this.#fail(entry))
    }
  }

  #enter(entry: Entry): void {
    const signal = this.#asker.signal
    if (signal?.aborted) this.#failure ??= { reason: signal.reason }
    this.#waiting.push(entry)
    if (this.#running) return
    if (signal !== undefined && !signal.aborted) this.#following = follow(signal, this)
    void this.#run()
  }

  async #run(): Promise<void> {
    this.#running = true
    for (let entry = this.#waiting.shift(); entry !== undefined; entry = this.#waiting.shift()) {
      try {
        if (this.#failure !== undefined) throw this.#failure.reason
        await this.#perform(entry)
        entry.resolve()
      } catch (reason) {
        this.#failure ??= { reason }
        await this.#close().catch(ignored)
        this.#fail(entry)
      }
    }
    if (this.#failure !== undefined) await this.#close().catch(ignored) // aborted when all was written
    this.#running = false
    if (this.#waiting.length > 0) void this.#run()
    else if (this.#following !== undefined) unfollow(this.#asker.signal!, this.#following)
  }

  async #perform({ bytes, lengthBytes }: Entry): Promise<void> {
    // They were checked at the call, but may have been transferred while they waited.
    if (bytes !== undefined && bytes.length !== lengthBytes) throw detached()
    this.#sink ??= await this.#open(this.#asker)
    if (bytes === undefined) await this.#close()
    else if (bytes.length > 0) await this.#sink.write(bytes, this.#asker)
    else await new Promise<void>(resolve => deliver(this.#asker, resolve))
  }

  async #close(): Promise<void> {
    const sink = this.#sink
    this.#sink = undefined
    await sink?.close()
  }

  #fail({ bytes, reject }: Entry): void {
    if (bytes !== undefined) this.#isFailureReported = true
    reject(this.#failure!.reason)
  }
}

const ignored = () => {}
