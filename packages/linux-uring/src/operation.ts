import type { Rank } from '@kiruna/priority'
import { Operation } from '@kiruna/priority/operation'
import { ring } from './ring.ts'
import type { Completion } from './sqe.ts'

/** A disk operation on the ring: it goes through the lane, and is settled with its batch. */
export abstract class RingOperation<T> extends Operation<T> implements Completion {
  slot = -1
  /** @internal the batch it was handed over with, −1 for none */
  deliveredRank: Rank | -1 = -1
  protected readonly ring = ring()

  abstract complete(result: number): void

  protected stop(): void {
    this.ring.cancel(this)
  }

  protected override handOver(): void {
    this.ring.handOver(this)
  }

  protected override delivered(): void {
    if (this.deliveredRank !== -1) this.ring.delivered(this.deliveredRank)
  }
}
