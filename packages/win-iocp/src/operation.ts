import { type Rank, rankOf } from '@kiruna/priority'
import { errnoOf } from '@kiruna/priority/error'
import { Operation } from '@kiruna/priority/operation'
import { type Completion, port } from './iocp.ts'

const EAGAIN = errnoOf('EAGAIN')
/** The system is short of something: it is asked again after so long. */
const pauseMs = 1

/** A disk operation on the port: it goes through the lane, and is settled with its batch. */
export abstract class PortOperation<T> extends Operation<T> implements Completion {
  slot = -1
  protected readonly port = port()

  abstract complete(result: number): void

  /** As the caller is now: raised, the next piece tells the disk's driver so. */
  protected get rank(): Rank {
    return rankOf(this.asker.priority)
  }

  /** The system is short of something: calls `again`, and says whether it does. */
  protected retry(result: number, again: () => void): boolean {
    if (this.aborted || result !== EAGAIN) return false
    setTimeout(() => (this.aborted ? this.complete(EAGAIN) : again()), pauseMs)
    return true
  }

  protected stop(): void {
    this.port.cancel(this)
  }

  protected override handOver(): void {
    this.port.handOver(this)
  }
}

/** So many bytes of a buffer, from `offsetBytes` on. */
export function bytesAt(
  { buffer, byteOffset }: NodeJS.ArrayBufferView,
  offsetBytes: number,
  lengthBytes: number,
): Uint8Array {
  return new Uint8Array(buffer, byteOffset + offsetBytes, lengthBytes)
}
