import { Operation } from '@kiruna/priority/operation'
import { type Completion, dispatcher, EAGAIN, EINTR } from './dispatch.ts'

/** The system is short of something: it is asked again after so long. */
const pauseMs = 1

/** A disk operation of GCD's: it goes through the lane, and is settled with its batch. */
export abstract class DispatchOperation<T> extends Operation<T> implements Completion {
  slot = -1
  protected readonly gcd = dispatcher()

  abstract complete(result: number, value: Buffer | undefined): void

  /** The system was interrupted, or is short of something: calls `again`, and says whether it does. */
  protected retry(result: number, again: () => void): boolean {
    if (this.aborted || (result !== EINTR && result !== EAGAIN)) return false
    if (result === EINTR) again()
    else setTimeout(() => (this.aborted ? this.complete(EINTR, undefined) : again()), pauseMs)
    return true
  }

  protected stop(): void {
    this.gcd.cancel(this)
  }

  protected override handOver(): void {
    this.gcd.handOver(this)
  }
}
