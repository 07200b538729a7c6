import {
  type Asker,
  askerOf,
  type Caller,
  GuardedAsker,
  priorities,
  type Rank,
  rankOf,
} from '@kiruna/priority'
import { type Link, LinkedList } from '@kiruna/priority/linked-list'
import { type Owner, Waiting } from './waiting.ts'

/** A read that waits. null is the end. */
export class Read<T> extends Waiting<T | null> {
  link: Link<Read<T>> | undefined = undefined

  /** Takes what it has room for: `succeed` follows. Returns the rest, for the next read. */
  take(_bytes: T): T | undefined {
    return undefined
  }
}

/** A read for a loop, which needs no second promise. */
class Iteration<T> extends Read<T> {
  protected override settleWith(bytes: T | null): unknown {
    return bytes === null ? { done: true, value: undefined } : { done: false, value: bytes }
  }
}

/** The reading half of a connection or a UDP socket: which reads wait, and which one gets what is received. */
export abstract class Reads<T = Buffer> implements Owner {
  #asker: Asker
  readonly #waiting = new LinkedList<Read<T>>()
  #isReceiving = false
  /** Received and not taken: for the next read. */
  #left: T | undefined = undefined
  /** Nothing more is received: every read from now on is the end, or fails with the reason. */
  #ended: { reason?: unknown } | undefined = undefined
  #isClosed = false

  /** @param caller of the call that opened it: it starts at the caller's priority, and outlives the caller */
  constructor(caller: Asker) {
    this.#asker = askerOf(priorities[rankOf(caller.priority)]!)
  }

  /** @internal the caller of reads and writes that name none */
  get asker(): Asker {
    return this.#asker
  }

  /**
   * The caller of reads and writes that name none; at first the priority at which it was opened. Calls that wait follow
   * a change.
   * @throws TypeError, as every function that takes a caller
   */
  get caller(): Caller {
    return this.#asker instanceof GuardedAsker ? this.#asker.caller : this.#asker
  }

  set caller(caller: Caller) {
    this.#asker = askerOf(caller)
    this.callerChanged()
  }

  /**
   * Asks the OS for the next bytes. Called again only after `received`, `receivedEnd`, `receiveFailed` or
   * `receiveCancelled`.
   * @see recv(2)
   */
  protected abstract startReceive(): void
  /**
   * No read waits any more. `receiveCancelled` follows, or another outcome if that was quicker. Unless it closes, the
   * receive may also go on, for the next reader.
   */
  protected abstract cancelReceive(isClosing: boolean): void
  /** A read waits again, or the rank of the most urgent one has changed. */
  protected abstract readRankChanged(): void

  /** Called when the OS may have nothing of it any more. */
  protected abstract idle(): void

  abstract handOver(one: Waiting<never>): void

  delivered(_one: Waiting<never>): void {}

  protected enterRead(caller: Caller | undefined): Promise<T | null> {
    return new Promise((resolve, reject) => {
      this.enter(new Read<T>(this, caller === undefined ? undefined : askerOf(caller), resolve, reject))
    })
  }

  protected enterIteration(): Promise<IteratorResult<T, undefined>> {
    return new Promise((resolve, reject) => {
      this.enter(new Iteration<T>(this, undefined, resolve as (value: unknown) => void, reject))
    })
  }

  protected enter(read: Read<T>): void {
    if (!read.begin()) return
    const left = this.#left
    if (left !== undefined) this.#give(left, read)
    else if (this.#ended !== undefined) this.#settleEnded(read)
    else {
      read.link = this.#waiting.add(read)
      if (!this.#isReceiving) this.#receiveNext()
      else this.readRankChanged()
    }
  }

  /** The rank of the most urgent read that waits. */
  protected get readRank(): Rank {
    return this.nextRead?.rank ?? 3
  }

  /** The read that gets the next bytes. */
  protected get nextRead(): Read<T> | undefined {
    return this.#mostUrgent()?.item
  }

  protected isRead(one: Waiting<never>): boolean {
    return one instanceof Read
  }

  protected get hasReaders(): boolean {
    return this.#waiting.first !== undefined
  }

  protected get isReceiving(): boolean {
    return this.#isReceiving
  }

  /** Receives one piece ahead. */
  protected receiveAhead(): void {
    if (this.#isReceiving || this.#left !== undefined || this.#ended !== undefined) return
    this.#receive()
  }

  /** @param bytes not empty; the reader owns them from now on */
  protected received(bytes: T): void {
    this.#isReceiving = false
    this.#left = bytes
    this.#giveLeft()
  }

  /** The read's own memory was filled. @param left what it has not taken */
  protected receivedBy(read: Read<T>, left: T | undefined): void {
    this.#isReceiving = false
    this.#waiting.remove(read.link!)
    this.#left = left
    this.#giveLeft()
  }

  /** Gives what was received to the reads that wait, and asks the OS for more. */
  #giveLeft(): void {
    if (this.#isClosed) this.#left = undefined
    while (this.#left !== undefined) {
      const link = this.#mostUrgent()
      if (link === undefined) break
      this.#waiting.remove(link)
      this.#give(this.#left, link.item)
    }
    this.#receiveNext()
    this.idle()
  }

  /** `#left` is set before the read settles, since the asker's own `deliver` may read again at once. */
  #give(bytes: T, read: Read<T>): void {
    this.#left = read.take(bytes)
    read.succeed(bytes)
  }

  protected receivedEnd(): void {
    this.#isReceiving = false
    this.readsEnd({})
    this.idle()
  }

  protected receiveFailed(reason: unknown): void {
    this.#isReceiving = false
    this.readsEnd({ reason })
    this.idle()
  }

  protected receiveCancelled(): void {
    this.#isReceiving = false
    this.#giveLeft()
  }

  /** Every read from now on fails with the reason; what was received is dropped. */
  protected readsClose(reason: unknown): void {
    this.#isClosed = true
    this.#left = undefined
    this.readsEnd({ reason })
  }

  /** Every read from now on ends, or fails with the reason. */
  protected readsEnd(ended: { reason?: unknown }): void {
    this.#ended ??= ended
    for (let link = this.#waiting.first; link !== undefined; link = this.#waiting.first) {
      this.#waiting.remove(link)
      this.#settleEnded(link.item)
    }
  }

  protected callerChanged(): void {
    for (const read of [...this.#waiting]) read.callerChanged()
    if (this.#waiting.first !== undefined) this.readRankChanged()
  }

  /** Rejects an aborted read at once. Returns false if it is not a read. */
  protected abortRead(one: Waiting<never>, reason: unknown): boolean {
    if (!(one instanceof Read)) return false
    this.#waiting.remove(one.link!)
    one.fail(reason)
    if (this.#waiting.first === undefined && this.#isReceiving) this.cancelReceive(false)
    return true
  }

  abstract abort(one: Waiting<never>, reason: unknown): void

  rankChanged(one: Waiting<never>): void {
    if (one instanceof Read && this.#isReceiving) this.readRankChanged()
  }

  #receiveNext(): void {
    if (this.#isReceiving || this.#waiting.first === undefined || this.#ended !== undefined) return
    this.#receive()
  }

  #receive(): void {
    this.#isReceiving = true
    try {
      this.startReceive()
    } catch (error) {
      this.receiveNotStarted(error)
    }
  }

  /** There was no memory for it. The reads that wait fail; nothing is lost, and the next one tries again. */
  protected receiveNotStarted(error: unknown): void {
    this.#isReceiving = false
    for (let link = this.#waiting.first; link !== undefined; link = this.#waiting.first) {
      this.#waiting.remove(link)
      link.item.fail(error)
    }
    this.idle()
  }

  #settleEnded(read: Read<T>): void {
    if ('reason' in this.#ended!) read.fail(this.#ended.reason)
    else read.succeed(null)
  }

  #mostUrgent(): Link<Read<T>> | undefined {
    const { first } = this.#waiting
    if (first?.next === undefined) return first
    let best = first
    let bestRank = first.item.rank
    for (
      let link: Link<Read<T>> | undefined = first.next;
      link !== undefined && bestRank > 0;
      link = link.next
    ) {
      const { rank } = link.item
      if (rank >= bestRank) continue
      best = link
      bestRank = rank
    }
    return best
  }
}
