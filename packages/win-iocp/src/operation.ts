import { type Rank, rankOf } from '@kiruna/priority'
import { Operation } from '@kiruna/priority/operation'
import { type Completion, port } from './iocp.ts'

/** A disk operation on the port: it goes through the lane, and is settled with its batch. */
export abstract class PortOperation<T> extends Operation<T> implements Completion {
  slot = -1
  protected readonly port = port()

  abstract complete(result: number): void

  /** As the caller is now: raised, the next piece tells the disk's driver so. */
  protected get rank(): Rank {
    return rankOf(this.asker.priority)
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
