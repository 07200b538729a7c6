import type { Asker } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { Read } from './reading-half.ts'
import { copyOf } from './receive-memory.ts'
import type { Owner } from './waiting.ts'

const nothing = Buffer.alloc(0)

/** The most that one receive takes, as for every read, so that others get their turn. */
const mostBytes = 64 * 1024

/** A read with its own memory. It resolves with how much of that is filled; 0 is the end. */
export class ReadInto extends Read<Buffer> {
  /** The part of its memory that one receive may fill. */
  readonly bytes: Buffer
  /** The address of `bytes`, for the ring; 0 until that has asked. */
  address = 0
  readonly #lengthBytes: number
  #filledBytes = 0
  #isTheKernels = false
  /** It has failed while the kernel had its memory. */
  #failure: { reason: unknown } | undefined = undefined

  constructor(
    owner: Owner,
    memory: NodeJS.ArrayBufferView,
    asker: Asker | undefined,
    resolve: (filledBytes: number) => void,
    reject: (reason: unknown) => void,
  ) {
    super(owner, asker, resolve as (value: unknown) => void, reject)
    this.bytes = Buffer.from(memory.buffer, memory.byteOffset, Math.min(memory.byteLength, mostBytes))
    this.#lengthBytes = this.bytes.length
  }

  /** Its memory has been transferred while it waited: then it fails. */
  get isDetached(): boolean {
    return this.bytes.length !== this.#lengthBytes
  }

  override take(bytes: Buffer): Buffer | undefined {
    this.#filledBytes = bytes.copy(this.bytes)
    return this.#filledBytes < bytes.length ? bytes.subarray(this.#filledBytes) : undefined
  }

  override succeed(bytes: Buffer | null): void {
    if (bytes !== null && this.isDetached) this.fail(detached())
    else super.succeed(bytes)
  }

  /** Until `filled` the kernel may write into its memory: it settles only after that. */
  fill(): void {
    this.#isTheKernels = true
  }

  /**
   * The kernel is done with its memory.
   * @param lengthBytes how much has been received
   * @returns the bytes, if the read has failed meanwhile: they are for the next one
   */
  filled(lengthBytes: number): Buffer | undefined {
    this.#isTheKernels = false
    const bytes = this.isDetached ? nothing : this.bytes.subarray(0, lengthBytes)
    if (this.#failure === undefined) {
      this.#filledBytes = lengthBytes
      if (lengthBytes > 0) this.succeed(bytes)
      return undefined
    }
    super.fail(this.#failure.reason)
    return lengthBytes > 0 ? copyOf(bytes) : undefined
  }

  override fail(reason: unknown): void {
    if (this.#isTheKernels) this.#failure ??= { reason }
    else super.fail(reason)
  }

  protected override settleWith(): number {
    return this.#filledBytes
  }
}
