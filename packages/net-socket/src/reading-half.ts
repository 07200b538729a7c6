import { type Asker, askerOf, type Caller, priorities, type Rank, rankOf } from '@kiruna/priority'
import { type Link, LinkedList } from '@kiruna/priority/linked-list'
import { type Owner, Waiting } from './waiting.ts'

/** One that waits for what comes. null is the end. */
export class Read<T> extends Waiting<T | null> {
  link: Link<Read<T>> | undefined = undefined

  /** Takes of it what it can: `succeed` follows. Returns what it leaves to the next. */
  take(_bytes: T): T | undefined {
    return undefined
  }
}

/** The same for a loop: no promise of its own between the two. */
class Iteration<T> extends Read<T> {
  protected override settleWith(bytes: T | null): unknown {
    return bytes === null ? { done: true, value: undefined } : { done: false, value: bytes }
  }
}

/** A connection's reading half, or a datagram socket's: who waits, and who gets what has come. */
export abstract class Reads<T = Buffer> implements Owner {
  #asker: Asker
  readonly #waiting = new LinkedList<Read<T>>()
  #isReceiving = false
  /** Came when nobody waited for it any more: for the next read. */
  #left: T | undefined = undefined
  /** Nothing more comes: the end, or what every read from now on fails with. */
  #ended: { reason?: unknown } | undefined = undefined
  #isClosed = false

  /** @param caller who opened it: it starts at that priority, and lives on when that caller has ended */
  constructor(caller: Asker) {
    this.#asker = askerOf(priorities[rankOf(caller.priority)]!)
  }

  /** @internal on whose behalf it reads and writes where the call does not say */
  get asker(): Asker {
    return this.#asker
  }

  /**
   * On whose behalf it reads and writes where the call does not say: at first the priority of who opened it. Calls that
   * wait follow.
   * @throws TypeError, as every function that takes a caller
   */
  get caller(): Caller {
    return this.#asker
  }

  set caller(caller: Caller) {
    this.#asker = askerOf(caller)
    this.callerChanged()
  }

  /**
   * Asks the OS for the next bytes, once: `received`, `receivedEnd` or `receiveFailed` follow, and only then another.
   * @see recv(2)
   */
  protected abstract startReceive(): void
  /**
   * Nobody waits any more. `receiveCancelled` follows, or whatever was quicker; where it may be left to wait for the next
   * reader, nothing at all.
   * @param isClosing it may not
   */
  protected abstract cancelReceive(isClosing: boolean): void
  /** Somebody waits again, or the most urgent of those that wait has changed. */
  protected abstract readRankChanged(): void

  /** The OS has nothing of it any more. */
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

  /** How urgent the most urgent of those that wait is. */
  protected get readRank(): Rank {
    return this.nextRead?.rank ?? 3
  }

  /** Who gets what comes now. */
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

  /** Receives before anybody has asked, one piece. */
  protected receiveAhead(): void {
    if (this.#isReceiving || this.#left !== undefined || this.#ended !== undefined) return
    this.#isReceiving = true
    this.startReceive()
  }

  /** @param bytes not empty, and now the reader's own */
  protected received(bytes: T): void {
    this.#isReceiving = false
    this.#left = bytes
    this.#giveLeft()
  }

  /** @param left what it has not taken of what came for it alone */
  protected receivedBy(read: Read<T>, left: T | undefined): void {
    this.#isReceiving = false
    this.#waiting.remove(read.link!)
    this.#left = left
    this.#giveLeft()
  }

  /** Gives what has come to those that wait, and asks the OS for more. */
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

  /** What it leaves is the next one's before it is settled: an asker's own `deliver` may read again at once. */
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

  /** Every read from now on fails with the reason, and what has come is nobody's. */
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

  /** What this implementation owns nobody waits for: it rejects at once. Returns false if it is no read. */
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
    this.#isReceiving = true
    this.startReceive()
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
