import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { priorities } from '@kiruna/priority'
import fc from 'fast-check'
import type { Contract, File, Seek } from '../contract.ts'
import { assertAllClosed, isWine, KiB, pattern } from '../files.ts'
import { turns } from '../outcomes.ts'

/** `KIRUNA_SEED=1 KIRUNA_PATH=2:3` shows a failure again; `KIRUNA_RUNS=35000` is about a million operations. */
const { KIRUNA_SEED, KIRUNA_PATH, KIRUNA_RUNS } = process.env
const runs = Number(KIRUNA_RUNS ?? 40)
const mostBytes = 700 * KiB

/** How an operation is asked for: at which priority, and after how many turns it is aborted, if it is. */
interface How {
  rank: number
  abortAfter: number | undefined
}

type Command =
  | { kind: 'read'; position: number; lengthBytes: number; how: How }
  | { kind: 'write'; position: number; lengthBytes: number; seed: number; how: How }
  | { kind: 'writes at once'; position: number; lengthBytes: number; seed: number; ranks: number[] }
  | { kind: 'truncate'; lengthBytes: number; how: How }
  | { kind: 'sync'; how: How }
  | { kind: 'reopen'; flags: string }
  | { kind: 'writeAll'; lengthBytes: number; seed: number; atomic: boolean; chunkBytes: number; how: How }

const rank = fc.nat(3)
const how: fc.Arbitrary<How> = fc.record({
  rank,
  abortAfter: fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.nat(4) }),
})
const place = fc.oneof(fc.nat(5000), fc.nat(300 * KiB))
const bytes = fc.oneof(fc.nat(100), fc.nat(10_000), fc.nat(350 * KiB))
const seed = fc.nat(200)

const command: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ kind: fc.constant('read' as const), position: place, lengthBytes: bytes, how }),
  fc.record({ kind: fc.constant('write' as const), position: place, lengthBytes: bytes, seed, how }),
  fc.record({
    kind: fc.constant('writes at once' as const),
    position: place,
    lengthBytes: fc.nat(20_000),
    seed,
    ranks: fc.array(rank, { maxLength: 12 }),
  }),
  fc.record({ kind: fc.constant('truncate' as const), lengthBytes: place, how }),
  fc.record({ kind: fc.constant('sync' as const), how }),
  fc.record({ kind: fc.constant('reopen' as const), flags: fc.constantFrom('r+', 'a+', 'w+') }),
  fc.record({
    kind: fc.constant('writeAll' as const),
    lengthBytes: bytes,
    seed,
    atomic: fc.boolean(),
    chunkBytes: fc.oneof(fc.constant(0), fc.integer({ min: 3000, max: 200_000 })),
    how,
  }),
)

/** About thirty. */
const some = fc.array(command, { maxLength: 60, size: 'max' })

/** A file, and what it should be like. */
class Pair {
  content: Buffer = Buffer.alloc(0)
  file!: File
  #flags = 'r+'
  readonly #seek: Seek
  readonly #path: string

  constructor(seek: Seek, path: string) {
    this.#seek = seek
    this.#path = path
    writeFileSync(path, '')
  }

  async open(flags: string): Promise<void> {
    this.#flags = flags
    if (flags === 'w+') this.content = Buffer.alloc(0)
    this.file = await this.#seek.open(this.#path, 'background', { flags })
  }

  async run(command: Command): Promise<void> {
    switch (command.kind) {
      case 'read': {
        const buffer = Buffer.alloc(command.lengthBytes, 0xee)
        const read = (caller: Caller) => this.file.read(buffer, command.position, caller)
        const count = await this.#outcome(command.how, read)
        if (count === undefined) return
        const expected = this.content.subarray(command.position, command.position + command.lengthBytes)
        assert.equal(count, expected.length)
        assert.ok(buffer.subarray(0, count).equals(expected), 'it read something else')
        assert.ok(
          buffer.subarray(count).every(byte => byte === 0xee),
          'it wrote beyond what it read',
        )
        return
      }
      case 'write': {
        const data = pattern(command.lengthBytes, command.seed)
        const write = (caller: Caller) => this.file.write(data, command.position, caller)
        const before = this.content
        const after = this.#written(before, data, command.position)
        if ((await this.#outcome(command.how, write)) !== undefined) this.content = after
        else this.#partly(before, after)
        return
      }
      case 'writes at once': {
        const { position, lengthBytes, ranks } = command
        if (this.#flags === 'a+') return // their order is not promised
        const writes = ranks.map((rank, index) => {
          const data = pattern(lengthBytes, command.seed + index)
          const at = position + index * lengthBytes
          this.content = this.#written(this.content, data, at)
          return this.file.write(data, at, priorities[rank]!)
        })
        await Promise.all(writes)
        return
      }
      case 'truncate': {
        const { lengthBytes } = command
        const outcome = await this.#outcome(command.how, caller => this.file.truncate(lengthBytes, caller))
        if (outcome === undefined) return
        const longer = Buffer.alloc(lengthBytes)
        this.content.copy(longer)
        this.content = longer
        return
      }
      case 'sync':
        await this.#outcome(command.how, caller => this.file.sync(caller))
        return
      case 'reopen':
        await this.file.close()
        return this.open(command.flags)
      case 'writeAll': {
        const { chunkBytes } = command
        const atomic = command.atomic && !isWine // where the file, which is open, is not replaced
        const data = pattern(command.lengthBytes, command.seed)
        const source = async function* () {
          for (let at = 0; at < data.length; at += chunkBytes) yield data.subarray(at, at + chunkBytes)
        }
        const outcome = await this.#outcome(command.how, caller =>
          this.#seek.writeAll(this.#path, chunkBytes === 0 ? data : source(), caller, {
            atomic,
            durable: command.seed % 8 === 0,
          }),
        )
        if (outcome !== undefined) this.content = data
        else if (!atomic) {
          const now = readFileSync(this.#path)
          const isBegun = now.equals(data.subarray(0, now.length))
          assert.ok(now.equals(this.content) || isBegun, 'what is left is neither old nor begun')
          this.content = now
        }
        // The name may be another file's now.
        await this.file.close()
        return this.open('r+')
      }
    }
  }

  /** The file as node:fs sees it. */
  check(): void {
    assert.ok(readFileSync(this.#path).equals(this.content), 'node:fs reads something else')
  }

  /** undefined: it was aborted. */
  async #outcome(how: How, call: (caller: Caller) => Promise<unknown>): Promise<unknown> {
    const priority = priorities[how.rank]!
    if (how.abortAfter === undefined) return (await call({ priority })) ?? 'done'
    const controller = new AbortController()
    const reason = new Error('enough')
    const outcome = call({ priority, signal: controller.signal }).then(
      value => value ?? 'done',
      error => {
        assert.equal(error, reason)
        return undefined
      },
    )
    if (how.abortAfter > 0) await turns(how.abortAfter - 1)
    controller.abort(reason)
    return outcome
  }

  #written(before: Buffer, data: Buffer, position: number): Buffer {
    if (data.length === 0) return before
    const at = this.#flags === 'a+' ? before.length : position
    const after = Buffer.alloc(Math.max(before.length, at + data.length))
    before.copy(after)
    data.copy(after, at)
    return after
  }

  /** Of an aborted write, nothing that is neither old nor new may be in the file. */
  #partly(before: Buffer, after: Buffer): void {
    const now = readFileSync(this.#path)
    let same = 0
    while (same < now.length && now[same] === after[same]) same++
    assert.ok(now.length >= before.length && now.length <= after.length)
    // It went in order: what follows on the new is the old, as far as it went.
    assert.ok(now.subarray(same).equals(before.subarray(same)), 'what is left is neither old nor new')
    this.content = now
  }
}

interface Caller {
  priority: (typeof priorities)[number]
  signal?: AbortSignal
}

export const model: Contract[] = [
  {
    name: 'reads, writes, truncates, reopens and aborts in any order are as a model and node:fs have them',
    async run(seek, test) {
      let files = 0
      const property = fc.asyncProperty(some, async commands => {
        const pair = new Pair(seek, join(test.folder, `${files++ % 8}`))
        await pair.open('r+')
        try {
          for (const one of commands) {
            await pair.run(one)
            if (pair.content.length > mostBytes) await pair.run({ kind: 'reopen', flags: 'w+' })
            pair.check()
          }
        } finally {
          await pair.file.close()
        }
      })
      const seed = KIRUNA_SEED === undefined ? (Math.random() * 2 ** 31) | 0 : Number(KIRUNA_SEED)
      const given = KIRUNA_PATH === undefined ? {} : { path: KIRUNA_PATH }
      const result = await fc.check(property, { seed, numRuns: runs, ...given })
      if (!result.failed) return assertAllClosed(test.folder)
      const { counterexamplePath, counterexample, errorInstance } = result
      const replay = `KIRUNA_SEED=${result.seed} KIRUNA_PATH=${counterexamplePath}`
      throw new Error(`${errorInstance}\n${replay}\n${fc.stringify(counterexample)}`, {
        cause: errorInstance,
      })
    },
  },
]
