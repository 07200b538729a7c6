import { askerOf, type Caller, type Rank } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { coded } from '@kiruna/priority/error'
import { type Link, LinkedList } from '@kiruna/priority/linked-list'
import { checkBytes } from './arguments.ts'
import { Reads } from './reading-half.ts'
import { Waiting } from './waiting.ts'

/** The most buffers that one send takes. */
export const mostBuffers = 64

class Write extends Waiting<void> {
  bytes: Uint8Array = nothing
  lengthBytes = 0
  /** How many of them the kernel has. */
  sentBytes = 0
  link: Link<Write> | undefined = undefined
  /** The OS has it. */
  isTaken = false
  /** Its signal has aborted while the OS had it. */
  abortedWith: { reason: unknown } | undefined = undefined
}

interface Ending {
  promise: Promise<void>
  resolve(): void
  reject(reason: unknown): void
}

/**
 * A connection's writing half, on top of its reading half. Writes are sent in the order of the calls, whatever their
 * priority, and those that wait when a send begins are sent together:
 *
 *     write() ─► queue ─► sendSoon ─► takeToSend ─► (the OS) ─► sent ─► settled, and the rest again from sendSoon
 */
export abstract class Writes extends Reads {
  readonly #queue = new LinkedList<Write>()
  #queuedBytes = 0
  /** `sendSoon` has been called, and `sent`, `sendCancelled` or `sendFailed` has not followed yet. */
  #isSending = false
  /** A write that the OS has was aborted: it is dropped when the OS is done with it. */
  #hasAborted = false
  #failure: { reason: unknown } | undefined = undefined
  #ending: Ending | undefined = undefined
  #shutdownState: 'open' | 'under way' | 'done' = 'open'

  /**
   * There is something to send. The implementation calls `takeToSend` when it is this connection's turn, at the end of
   * this tick at the earliest, so that the writes of one turn are sent together.
   */
  protected abstract sendSoon(): void
  /** A write was aborted: `sendCancelled` follows, or `sent` with less, or another outcome if that was quicker. */
  protected abstract cancelSend(): void
  /** All has been sent: ends the writing side. `shutDown` follows. @see shutdown(2) */
  protected abstract shutdown(): void
  /** `writeRank` may have changed. */
  protected abstract writeRankChanged(): void

  /** Bytes that were given to `write` and that the OS has not taken yet. */
  get queuedBytes(): number {
    return this.#queuedBytes
  }

  protected enterWrite(bytes: string | Uint8Array, caller: Caller | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const memory = checkBytes(bytes)
      const asker = caller === undefined ? undefined : askerOf(caller)
      if (this.#failure !== undefined) throw this.#failure.reason
      if (this.#ending !== undefined) throw coded(Error, 'ERR_STREAM_WRITE_AFTER_END', 'write after end')
      const write = new Write(this, asker, resolve, reject)
      if (!write.begin()) return
      write.bytes = memory
      write.lengthBytes = memory.byteLength
      write.link = this.#queue.add(write)
      this.#queuedBytes += write.lengthBytes
      if (!this.#isSending) this.#sendNext()
      else if (write.rank < this.#queue.first!.item.rank) this.writeRankChanged()
    })
  }

  protected enterEnd(): Promise<void> {
    if (this.#ending === undefined) {
      this.#ending = ending()
      if (this.#failure !== undefined) this.#ending.reject(this.#failure.reason)
      else if (!this.#isSending) this.#sendNext()
    }
    return this.#ending.promise
  }

  /** The rank of the most urgent write in the next send: the writes in front of it have to go first. */
  protected get writeRank(): Rank {
    let best: Rank = 3
    let link = this.#queue.first
    for (let count = 0; link !== undefined && best > 0 && count < mostBuffers; link = link.next, count++) {
      if (link.item.rank < best) best = link.item.rank
    }
    return best
  }

  /** Whether the OS has nothing of it. */
  protected get isWriteIdle(): boolean {
    return !this.#isSending && this.#shutdownState !== 'under way'
  }

  /**
   * The bytes to send now, in order, at most `mostBytes`. `sent` or `sendFailed` has to follow, unless it is empty:
   * then nothing waits any more.
   */
  protected takeToSend(mostBytes: number): Uint8Array[] {
    const buffers: Uint8Array[] = []
    let room = mostBytes
    for (let link = this.#queue.first; link !== undefined && room > 0 && buffers.length < mostBuffers; ) {
      const write = link.item
      link = link.next
      const { bytes, lengthBytes, sentBytes } = write
      // The buffer was checked at the call, but may have been transferred while this waited.
      if (bytes.byteLength !== lengthBytes) {
        this.#drop(write, detached())
        if (this.#failure !== undefined) break
        continue
      }
      write.isTaken = true
      const taken = Math.min(lengthBytes - sentBytes, room)
      if (taken === 0) continue
      buffers.push(taken === lengthBytes ? bytes : bytes.subarray(sentBytes, sentBytes + taken))
      room -= taken
    }
    if (buffers.length === 0) this.sent(0)
    return buffers
  }

  /** The OS has taken `lengthBytes` of the bytes of `takeToSend`. */
  protected sent(lengthBytes: number): void {
    this.#queuedBytes -= lengthBytes
    let link = this.#queue.first
    while (link?.item.isTaken) {
      const write = link.item
      const taken = Math.min(lengthBytes, write.lengthBytes - write.sentBytes)
      lengthBytes -= taken
      write.sentBytes += taken
      if (write.sentBytes < write.lengthBytes) break
      this.#queue.remove(link)
      write.succeed()
      link = this.#queue.first
    }
    for (; link?.item.isTaken; link = link.next) link.item.isTaken = false
    this.sendCancelled()
  }

  /** The OS has nothing more of the send. */
  protected sendCancelled(): void {
    this.#isSending = false
    if (this.#hasAborted) this.#dropAborted()
    if (this.#failure === undefined) this.#sendNext()
    else this.#failAll(this.#failure.reason)
    this.idle()
  }

  /** @param reason every write from now on fails with it */
  protected sendFailed(reason: unknown): void {
    this.#isSending = false
    for (const write of this.#queue) write.isTaken = false
    this.#failAll(reason)
    this.idle()
  }

  /** @param reason undefined: the writing side is shut down */
  protected shutDown(reason?: unknown): void {
    this.#shutdownState = 'done'
    if (reason === undefined) this.#ending!.resolve()
    else this.#ending!.reject(reason)
    this.idle()
  }

  /** Fails every write that the OS does not have, and every write from now on. */
  protected writesEnd(reason: unknown): void {
    this.#failAll(reason)
    if (this.#isSending) this.cancelSend()
  }

  protected override callerChanged(): void {
    super.callerChanged()
    for (const write of [...this.#queue]) write.callerChanged()
    if (this.#isSending) this.writeRankChanged()
  }

  /** Returns false if it is not a write. */
  protected abortWrite(one: Waiting<never>, reason: unknown): boolean {
    if (!(one instanceof Write)) return false
    if (one.isTaken) {
      one.abortedWith = { reason }
      this.#hasAborted = true
      this.cancelSend()
      return true
    }
    this.#drop(one, reason)
    if (this.#queue.first === undefined && this.#isSending) this.cancelSend()
    return true
  }

  override rankChanged(one: Waiting<never>): void {
    if (one instanceof Write) this.writeRankChanged()
    else super.rankChanged(one)
  }

  #sendNext(): void {
    if (this.#queue.first !== undefined) {
      this.#isSending = true
      try {
        this.sendSoon()
      } catch (error) {
        this.sendFailed(error) // no memory
      }
    } else if (this.#ending !== undefined && this.#shutdownState === 'open') {
      this.#shutdownState = 'under way'
      try {
        this.shutdown()
      } catch (error) {
        this.shutDown(error)
      }
    }
  }

  #dropAborted(): void {
    this.#hasAborted = false
    for (const write of [...this.#queue]) {
      if (write.abortedWith !== undefined) this.#drop(write, write.abortedWith.reason)
    }
  }

  /** Drops a write that the OS does not have. If a part of it was sent, nothing can follow it. */
  #drop(write: Write, reason: unknown): void {
    if (write.sentBytes > 0) {
      this.#failAll(reason)
      return
    }
    this.#remove(write)
    write.fail(reason)
  }

  #failAll(reason: unknown): void {
    this.#failure ??= { reason }
    for (const write of [...this.#queue]) {
      if (write.isTaken) continue // it fails when the OS is done with it
      this.#remove(write)
      write.fail(write.abortedWith === undefined ? reason : write.abortedWith.reason)
    }
    if (this.#shutdownState === 'open') this.#ending?.reject(this.#failure.reason)
  }

  #remove(write: Write): void {
    this.#queue.remove(write.link!)
    this.#queuedBytes -= write.lengthBytes - write.sentBytes
  }
}

function ending(): Ending {
  let resolve!: () => void
  let reject!: (reason: unknown) => void
  const promise = new Promise<void>((onEnd, onError) => {
    resolve = onEnd
    reject = onError
  })
  return { promise, resolve, reject }
}

const nothing = new Uint8Array(0)
