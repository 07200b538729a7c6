import { Operation } from '@kiruna/priority/operation'
import { type Completion, dispatcher } from './dispatch.ts'

/** A disk operation of GCD's: it goes through the lane, and is settled with its batch. */
export abstract class DispatchOperation<T> extends Operation<T> implements Completion {
  slot = -1
  protected readonly gcd = dispatcher()

  abstract complete(result: number, value: Buffer | undefined): void

  protected stop(): void {
    this.gcd.cancel(this)
  }

  protected override handOver(): void {
    this.gcd.handOver(this)
  }
}
