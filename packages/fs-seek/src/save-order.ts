import { type Asker, type Fault, type Priority, priorities, rankOf, trusted } from '@kiruna/priority'
import { type Abortable, follow, unfollow } from '@kiruna/priority/follow-signal'

/**
 * How urgent a save is: as its caller says, or as those that wait for it. A save that is asked for later waits for the
 * one before it, and must not wait at a priority that is less than its own.
 */
class Urgency {
  readonly #asker: Asker
  readonly #waiting = new Map<Asker, () => void>()
  readonly #listeners = new Set<() => void>()

  constructor(asker: Asker) {
    this.#asker = asker
  }

  get priority(): Priority {
    let rank = rankOf(this.#asker.priority)
    for (const { priority } of this.#waiting.keys()) rank = Math.min(rank, rankOf(priority)) as typeof rank
    return priorities[rank]!
  }

  get fault(): Fault | undefined {
    return this.#asker.fault
  }

  onPriorityChange(listener: () => void): () => void {
    const unsubscribe = this.#asker.onPriorityChange?.(listener)
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
      unsubscribe?.()
    }
  }

  addWaiting(asker: Asker): void {
    this.#waiting.set(asker, asker.onPriorityChange?.(this.#changed) ?? nothing)
    this.#changed()
  }

  removeWaiting(asker: Asker): void {
    this.#waiting.get(asker)?.()
    this.#waiting.delete(asker)
    this.#changed()
  }

  readonly #changed = (): void => {
    for (const listener of [...this.#listeners]) listener()
  }
}

/** The caller of a save's steps: each follows at once on the one before; only the outcome waits its turn. */
class StepAsker implements Asker {
  readonly signal: AbortSignal | undefined
  readonly isContinuation: boolean
  readonly #urgency: Urgency

  constructor(urgency: Urgency, signal: AbortSignal | undefined, isContinuation: boolean) {
    this.#urgency = urgency
    this.signal = signal
    this.isContinuation = isContinuation
  }

  get [trusted](): true {
    return true
  }

  get priority(): Priority {
    return this.#urgency.priority
  }

  get fault(): Fault | undefined {
    return this.#urgency.fault
  }

  deliver(job: () => void): void {
    job()
  }

  onPriorityChange(listener: () => void): () => void {
    return this.#urgency.onPriorityChange(listener)
  }
}

/** Those that have not been looked up, by what they are called, and those that have, by their file. */
const byName = new Map<string, Set<Save>>()
const byFile = new Map<string, Set<Save>>()
const waiting = new Set<Save>()
/** The number of the newest save that has been made of a file, while others of it are under way. */
const newest = new Map<string, number>()
let calls = 0

/**
 * A save's place among those of the same file in this thread: the one that was asked for last is what the file holds.
 *
 *     called ─► looks its file up ─► waits for earlier ones of that file, and raises them ─► saves ─► over
 */
export class Save implements Abortable {
  /** For the lookup, which has nothing open yet: in the lane it waits like everything that has not begun. */
  readonly first: Asker
  /** For later steps: they go before what has not begun, or a thousand files would be open before one is done. */
  readonly asker: Asker
  /** For steps that an abort must not prevent. */
  readonly uncancelled: Asker
  readonly #number = ++calls
  readonly #urgency: Urgency
  /** What it is called; until it is looked up, another of that name is taken to be the same file. */
  readonly #name: string
  #file: string | undefined = undefined
  #isUnderWay = false
  #wake: (() => void) | undefined = undefined
  #reject: ((reason: unknown) => void) | undefined = undefined

  constructor(name: string, asker: Asker) {
    this.#name = name
    this.#urgency = new Urgency(asker)
    this.first = new StepAsker(this.#urgency, asker.signal, false)
    this.asker = new StepAsker(this.#urgency, asker.signal, true)
    this.uncancelled = new StepAsker(this.#urgency, undefined, true)
    put(byName, name, this)
  }

  /**
   * Waits for its turn.
   * @param file the folder's device and inode, and the name in it
   * @returns whether it has waited, so that the file may be another one now; or that a newer content is there already,
   *   since another name has led to the same file
   * @throws the signal's reason
   */
  async turn(file: string): Promise<'at once' | 'has waited' | 'is replaced'> {
    let turn: 'at once' | 'has waited' = 'at once'

    this.#file = file
    remove(byName, this.#name, this)
    put(byFile, file, this)
    wakeAll() // who took this for the same file may know better now
    const { signal } = this.asker
    const link = signal && follow(signal, this)
    waiting.add(this)
    try {
      for (let before = this.#before(); before !== undefined; before = this.#before()) {
        signal?.throwIfAborted()
        turn = 'has waited'
        before.#urgency.addWaiting(this.asker)
        try {
          await new Promise<void>((resolve, reject) => {
            this.#wake = resolve
            this.#reject = reject
          })
        } finally {
          before.#urgency.removeWaiting(this.asker)
        }
      }
    } finally {
      waiting.delete(this)
      if (link !== undefined) unfollow(signal!, link)
    }
    if ((newest.get(file) ?? 0) > this.#number) return 'is replaced'
    this.#isUnderWay = true
    return turn
  }

  /** @internal */
  abort(reason: unknown): void {
    this.#reject?.(reason)
  }

  /** The content is there. */
  done(): void {
    const file = this.#file!
    newest.set(file, Math.max(newest.get(file) ?? 0, this.#number))
  }

  over(): void {
    if (this.#file === undefined) remove(byName, this.#name, this)
    else {
      remove(byFile, this.#file, this)
      if (!byFile.has(this.#file)) newest.delete(this.#file)
    }
    wakeAll()
  }

  wake(): void {
    this.#wake?.()
  }

  /** The one to wait for: of the same file, or perhaps of it, and asked for earlier or under way. */
  #before(): Save | undefined {
    for (const other of byFile.get(this.#file!) ?? [])
      if (other !== this && (other.#isUnderWay || other.#number < this.#number)) return other
    for (const other of byName.get(this.#name) ?? []) if (other.#number < this.#number) return other
    return undefined
  }
}

function wakeAll(): void {
  for (const save of waiting) save.wake()
}

function put(all: Map<string, Set<Save>>, key: string, save: Save): void {
  const saves = all.get(key)
  if (saves === undefined) all.set(key, new Set([save]))
  else saves.add(save)
}

function remove(all: Map<string, Set<Save>>, key: string, save: Save): void {
  const saves = all.get(key)!
  saves.delete(save)
  if (saves.size === 0) all.delete(key)
}

const nothing = () => {}
