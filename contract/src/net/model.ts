import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import type { Caller } from '@kiruna/priority'
import { pattern } from '../files.ts'
import { turns } from '../outcomes.ts'
import type { Connection, NetContract } from './contract.ts'
import { withNode } from './pairs.ts'

/** `KIRUNA_SEED=17` shows a failure again; `KIRUNA_RUNS=5000` looks longer. */
const { KIRUNA_SEED, KIRUNA_RUNS } = process.env
const runs = Number(KIRUNA_RUNS ?? 60)
const priorities = ['realtime', 'user-blocking', 'user-visible', 'background'] as const

/** Numbers that follow from a seed. @returns a whole number below `most` */
function randomOf(seed: number): (most: number) => number {
  let state = seed >>> 0
  return most => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * most)
  }
}

/**
 * A connection to a socket of node:net's, which is the model: whatever the two do to each other in whatever order, what
 * one has written is what the other gets, once and in order, and every promise settles.
 */
class Conversation {
  readonly #connection: Connection
  readonly #socket: Socket
  readonly #random: (most: number) => number
  /** What node:net has been given to write, and what it has got. */
  readonly #toConnection: Buffer[] = []
  readonly #atSocket: Buffer[] = []
  /** What resolved writes have sent; one that was aborted in the middle ends what is known. */
  readonly #fromConnection: Buffer[] = []
  readonly #atConnection: Buffer[] = []
  readonly #pending = new Set<Promise<void>>()
  #isBroken = false
  #isReading = false
  #isEnded = false
  #peerEnded = false

  constructor(connection: Connection, socket: Socket, random: (most: number) => number) {
    this.#connection = connection
    this.#socket = socket
    this.#random = random
    socket.on('data', bytes => this.#atSocket.push(bytes))
    socket.pause()
  }

  async run(): Promise<void> {
    const steps = 5 + this.#random(60)
    for (let step = 0; step < steps; step++) {
      this.#step()
      if (this.#random(3) === 0) await turns(this.#random(4))
    }
    await this.#finish()
  }

  #step(): void {
    const kind = this.#random(9)
    if (kind < 2) this.#write()
    else if (kind < 4) this.#read()
    else if (kind === 4) this.#peerWrites()
    else if (kind === 5) this.#socket.resume()
    else if (kind === 6) this.#socket.pause()
    else if (kind === 7) this.#connection.caller = priorities[this.#random(4)]!
    else if (this.#random(12) === 0) this.#end()
  }

  /** A caller, at times with a signal that aborts soon. */
  #caller() {
    const priority = priorities[this.#random(4)]!
    if (this.#random(4) > 0) return this.#random(2) === 0 ? undefined : priority
    const controller = new AbortController()
    void turns(this.#random(5)).then(() => controller.abort('enough'))
    return { priority, signal: controller.signal }
  }

  #sizeOf(): number {
    const kind = this.#random(10)
    return kind === 0
      ? 0
      : kind < 7
        ? this.#random(300)
        : kind < 9
          ? this.#random(70_000)
          : this.#random(600_000)
  }

  #write(): void {
    const bytes = pattern(this.#sizeOf(), this.#random(100))
    const wasEnded = this.#isEnded
    const place = this.#fromConnection.push(bytes) - 1
    this.#watch(
      this.#connection.write(bytes, this.#caller()).then(
        () => assert.ok(!wasEnded, 'a write after the end'),
        reason => {
          this.#fromConnection[place] = Buffer.alloc(0)
          if (reason === 'enough') {
            // Its bytes may be a part of what has gone out: then nothing follows, and the model says so by the length.
            this.#isBroken = true
          } else assert.equal(reason.code, 'ERR_STREAM_WRITE_AFTER_END')
        },
      ),
    )
  }

  /** One at a time: of two the more urgent is told first, whoever has got the first bytes. */
  #read(): void {
    if (this.#isReading) return
    this.#isReading = true
    this.#watch(
      this.#readEither(this.#caller()).then(
        bytes => {
          this.#isReading = false
          if (bytes === null) assert.ok(this.#peerEnded, 'an end that the peer did not make')
          else {
            assert.ok(bytes.length > 0)
            this.#atConnection.push(bytes)
          }
        },
        reason => {
          this.#isReading = false
          assert.equal(reason, 'enough')
        },
      ),
    )
  }

  #readEither(caller?: Caller): Promise<Buffer | null> {
    if (this.#random(2) === 0) return this.#connection.read(caller)
    const memory = Buffer.alloc(1 + this.#sizeOf())
    return this.#connection
      .readInto(memory, caller)
      .then(count => (count === 0 ? null : memory.subarray(0, count)))
  }

  #peerWrites(): void {
    if (this.#peerEnded) return
    const bytes = pattern(this.#sizeOf(), this.#random(100))
    this.#toConnection.push(bytes)
    this.#socket.write(bytes)
  }

  #end(): void {
    this.#isEnded = true
    this.#watch(this.#connection.end().catch(reason => assert.equal(reason, 'enough')))
  }

  /** Each promise settles sooner or later; how, is looked at here. */
  #watch(promise: Promise<void>): void {
    this.#pending.add(promise)
    promise.then(
      () => this.#pending.delete(promise),
      () => {}, // seen in #finish
    )
  }

  async #finish(): Promise<void> {
    this.#socket.resume()
    this.#peerEnded = true
    this.#socket.end()
    this.#end()
    const reading = (async () => {
      while (this.#isReading) await turns(1)
      for (let bytes = await this.#readEither(); bytes !== null; bytes = await this.#readEither())
        this.#atConnection.push(bytes)
    })()
    while (this.#pending.size > 0) await Promise.all(this.#pending)
    await reading
    const expected = Buffer.concat(this.#toConnection)
    assert.ok(Buffer.concat(this.#atConnection).equals(expected), 'what the connection has read')
    const sent = Buffer.concat(this.#fromConnection)
    if (this.#isBroken) return this.#assertWhole(sent)
    for (let wait = 0; wait < 1000 && this.#atSocketBytes() < sent.length; wait++) await turns(1)
    assert.ok(Buffer.concat(this.#atSocket).equals(sent), 'what the socket has got')
  }

  /** Of the aborted ones some left no trace, and one at most a part, behind which nothing is. */
  #assertWhole(resolved: Buffer): void {
    const got = Buffer.concat(this.#atSocket)
    assert.ok(
      got.subarray(0, resolved.length).equals(resolved.subarray(0, got.length)),
      'what the socket has got',
    )
  }

  #atSocketBytes(): number {
    return this.#atSocket.reduce((sum, { length }) => sum + length, 0)
  }
}

export const model: NetContract[] = [
  {
    name: 'whatever is done in whatever order, each end gets what the other has written, once and in order',
    async run(net) {
      const first = KIRUNA_SEED === undefined ? Date.now() : Number(KIRUNA_SEED)
      for (let run = 0; run < (KIRUNA_SEED === undefined ? runs : 1); run++) {
        const seed = first + run
        const { connection, socket, close } = await withNode(net, priorities[seed % 4]!)
        try {
          await new Conversation(connection, socket, randomOf(seed)).run()
        } catch (error) {
          throw new Error(`KIRUNA_SEED=${seed}: ${(error as Error).message}`, { cause: error })
        } finally {
          await close()
        }
      }
    },
  },
]
