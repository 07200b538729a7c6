import { ReadyLane } from '@kiruna/net-socket/ready-lane'
import { nextTick, setImmediate } from '@kiruna/priority/timers'

/**
 * The most that transfers below realtime move within one turn of the event loop. They are copied on this thread, and an
 * urgent completion that arrives meanwhile waits for it.
 */
const mostBytes = 256 * 1024
/** The same for realtime: a task that does nothing but write must leave a turn to the timers. */
const mostRealtimeBytes = 1024 * 1024
/** Counted for each call beside its bytes. */
const callBytes = 2 * 1024

const resolved = Promise.resolve()

/**
 * Ready transfers wait here until the end of this tick, and have their turns most urgent first. The continuations of
 * one priority run before the next priority has its turn:
 *
 *     ready ─► lane, by rank ─► (end of the tick) ─► recv, WSASend: they do not wait ─► settled ─► (microtasks) ─► the next
 */
class SocketLane extends ReadyLane {
  #isDue = false
  #movedBytes = 0
  #turn: NodeJS.Immediate | undefined = undefined

  protected wake(): void {
    if (this.#isDue) return
    this.#isDue = true
    nextTick(this.#run)
  }

  readonly #run = (): void => {
    this.#isDue = false
    const rank = this.queues.findIndex(queue => queue.first !== undefined)
    if (rank === -1) return
    // What enters meanwhile is for the next run, so that this one ends.
    const limitBytes = rank === 0 ? mostRealtimeBytes : mostBytes
    const present = [...this.queues[rank]!]
    for (const transfer of present) {
      if (this.#movedBytes >= limitBytes) break
      if (!this.leave(transfer)) continue
      try {
        this.#movedBytes += transfer.transfer() + callBytes
      } catch (error) {
        transfer.notStarted(error)
      }
    }
    // It runs after the next poll; unreferenced, it does not cut the poll short.
    this.#turn ??= setImmediate(this.#turnEnds).unref()
    if (this.queues.every(queue => queue.first === undefined)) return
    if (this.#movedBytes >= limitBytes) this.#turn.ref()
    else if (!this.#isDue) {
      this.#isDue = true
      resolved.then(this.#run)
    }
  }

  readonly #turnEnds = (): void => {
    this.#turn = undefined
    this.#movedBytes = 0
    this.#run()
  }
}

let threadLane: SocketLane | undefined

/** All sockets of this thread share it. */
export function socketLane(): SocketLane {
  threadLane ??= new SocketLane()
  return threadLane
}
