import { type Caller, type Rank, rankOf } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { Operation } from '@kiruna/priority/operation'
import { type Completion, port } from './iocp.ts'
import type { Native } from './native.ts'
import { Close, type OpenFile } from './open-file.ts'

/** A disk operation on the port: it goes through the lane, and settles with its batch. */
export abstract class PortOperation<T> extends Operation<T> implements Completion {
  slot = -1
  protected readonly port = port()

  abstract complete(result: number): void

  /** The caller's rank, now: each piece carries it to the disk's driver. */
  protected get rank(): Rank {
    return rankOf(this.asker.priority)
  }

  /** Starts without the lane: an operation that may wait for a peer must not hold a place in it. */
  protected bypassLane(): void {
    try {
      this.start()
    } catch (error) {
      this.notStarted(error)
    }
  }

  protected stop(): void {
    this.port.cancel(this)
  }

  protected override handOver(): void {
    this.port.handOver(this)
  }
}

/** What a call is made on, and what its errors say. */
interface About {
  /** node:fs's name for it. */
  syscall: string
  /** For errors. */
  path?: string | Buffer | undefined
  /** The open file: it does not close before the call is done. */
  file?: OpenFile
  /** The call changes a file: once begun, it has the outcome that the OS gives it. */
  changes?: boolean
  /** The result is a new file, which is closed after an abort. */
  resultIsFile?: boolean
}

/** An operation that is one call on the port. It takes two closures; hot calls, read and write, have own classes. */
export class PortCall<T> extends PortOperation<T> {
  protected readonly ownsBuffer: boolean
  readonly #about: About
  readonly #call: (native: Native, slot: number, rank: Rank) => void
  readonly #toValue: (result: number) => T

  constructor(
    about: About,
    call: (native: Native, slot: number, rank: Rank) => void,
    toValue: (result: number) => T,
    caller: Caller,
    resolve: (value: T) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#about = about
    this.#call = call
    this.#toValue = toValue
    this.ownsBuffer = about.changes !== true
  }

  /** @throws EBADF: its file is closed */
  run(): this {
    const { file, syscall } = this.#about
    if (file !== undefined) this.use(file.inUse, syscall)
    return this.begin(0)
  }

  start(): void {
    const { port, rank } = this
    this.#call(port.native, port.begin(this), rank)
  }

  complete(result: number): void {
    const { syscall, path, file, changes, resultIsFile } = this.#about
    this.leave()
    if (this.retry(result, () => this.enter(0))) return
    if (result < 0) this.fail(systemError(result, syscall, path ?? file?.path))
    else if (changes) this.commit(this.#toValue(result))
    else if (!this.aborted) this.succeed(this.#toValue(result))
    else if (resultIsFile) new Close(result)
    this.end()
  }

  end(): void {
    this.#about.file?.inUse.leave()
  }
}

/** A view of `lengthBytes` of a buffer, from `offsetBytes` on. */
export function bytesAt(
  { buffer, byteOffset }: NodeJS.ArrayBufferView,
  offsetBytes: number,
  lengthBytes: number,
): Uint8Array {
  return new Uint8Array(buffer, byteOffset + offsetBytes, lengthBytes)
}
