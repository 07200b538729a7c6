import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, afterEach, expect, test, vi } from 'vitest'
import type { Native, NativeRing } from '../../linux-uring/dist/native.js'

const { errno } = constants
const cqeWords = 4
const cqEntries = 128
const noSlot = 0xffff_ffff
/** In the upper word of user_data: its result is an fd, or it closes one. A lie would leave that open. */
const isAboutFd = 0xc000_0000

/** What the kernel may do and rarely does. The rest of the seed's numbers decide when: 1 in 4. */
interface Faults {
  next(): number
}

let faults: Faults | undefined
const oneIn = (n: number) => faults !== undefined && faults.next() % n === 0
const seen = { enters: 0, short: 0, errors: 0, swapped: 0 }

/** The real ring, and between it and JavaScript a kernel that is interrupted, short of memory and out of order. */
function faulty(native: Native): Native {
  let ring: NativeRing
  let spoiled = 0
  return {
    ...native,
    memoryBytes: native.memoryBytes,
    setup(...given) {
      const result = native.setup(...given)
      if (!('errno' in result)) ring = result
      return result
    },
    enter(toSubmit) {
      seen.enters++
      if (toSubmit > 0 && oneIn(6)) return -[errno.EINTR, errno.EAGAIN, errno.EBUSY][faults!.next() % 3]!
      // The kernel takes fewer where one of them makes no sense to it.
      const taken = native.enter(
        toSubmit > 1 && oneIn(4) ? 1 + ((faults?.next() ?? 0) % (toSubmit - 1)) : toSubmit,
      )
      if (faults !== undefined) spoil()
      else spoiled = tail()
      return taken
    },
  }

  function tail(): number {
    return Atomics.load(ring.rings, ring.cqTail / 4)
  }

  /** Each completion once, however often it is seen before JavaScript takes it. */
  function spoil(): void {
    const head = ring.rings[ring.cqHead / 4]!
    const from = ((spoiled - head) | 0) > 0 ? spoiled : head
    const fresh: number[] = []
    for (let at = from; at !== tail(); at = (at + 1) | 0) fresh.push(indexOf(at))
    spoiled = tail()
    for (const cqe of fresh) {
      const [slot, high, result] = [ring.rings[cqe]! >>> 0, ring.rings[cqe + 1]!, ring.rings[cqe + 2]!]
      if (slot === noSlot || (high & isAboutFd) !== 0 || result <= 0) continue
      if (oneIn(4)) {
        ring.rings[cqe + 2] = 1 + (faults!.next() % result)
        seen.short++
      } else if (oneIn(8)) {
        ring.rings[cqe + 2] = -[errno.EINTR, errno.EINTR, errno.EAGAIN, errno.EIO, errno.ENOMEM][
          faults!.next() % 5
        ]!
        seen.errors++
      }
    }
    if (fresh.length > 1 && oneIn(2)) {
      const [one, other] = [fresh[0]!, fresh[1 + (faults!.next() % (fresh.length - 1))]!]
      for (let word = 0; word < cqeWords; word++) {
        const kept = ring.rings[one + word]!
        ring.rings[one + word] = ring.rings[other + word]!
        ring.rings[other + word] = kept
      }
      seen.swapped++
    }
  }

  function indexOf(at: number): number {
    return ring.cqes / 4 + (at & (cqEntries - 1)) * cqeWords
  }
}

vi.mock('../../linux-uring/dist/native.js', async importOriginal => {
  const original = await importOriginal<typeof import('../../linux-uring/dist/native.js')>()
  return { ...original, loadNative: () => faulty(original.loadNative()) }
})
const seek = await import('../src/seek.ts')

const folder = mkdtempSync(join(tmpdir(), 'kiruna-faults-'))
afterAll(() => rmSync(folder, { recursive: true }))
afterEach(() => {
  faults = undefined
})

const content = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) >> 5))
const path = join(folder, 'file')
writeFileSync(path, content)
for (let i = 0; i < 20; i++) writeFileSync(join(folder, `small ${i}`), content.subarray(0, i * 500))

/** A linear congruential generator: a failing seed fails again. */
function seeded(seed: number): Faults {
  let state = seed >>> 0
  return {
    next() {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return state >>> 8
    },
  }
}

const step = fc.oneof(
  fc.record({ do: fc.constant('read' as const), position: fc.nat(310_000), lengthBytes: fc.nat(300_000) }),
  fc.record({
    do: fc.constantFrom('readAll', 'stat', 'readMany'),
    position: fc.nat(20),
    lengthBytes: fc.nat(0),
  }),
  fc.record({ do: fc.constant('write' as const), position: fc.nat(50), lengthBytes: fc.nat(300_000) }),
)
const priority = fc.constantFrom('realtime', 'user-blocking', 'user-visible', 'background')
const allowed = new Set(['EIO', 'ENOMEM', 'AbortError'])

test('short results, interruptions, errors and another order: each operation ends once, and as it should', async () => {
  const openBefore = readdirSync('/proc/self/fd').length
  const steps = fc.array(fc.record({ step, priority, aborts: fc.boolean() }), { minLength: 1, maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(fc.nat(), steps, async (seed, steps) => {
      const file = await seek.open(path, 'realtime', { flags: 'r' })
      const out = await seek.open(join(folder, 'out'), 'realtime', { flags: 'w+' })
      faults = seeded(seed)
      let ended = 0
      await Promise.all(
        steps.map(async ({ step, priority, aborts }, i) => {
          const controller = new AbortController()
          const caller = { priority, signal: controller.signal }
          if (aborts && i % 3 === 0) setImmediate(() => controller.abort())
          try {
            if (step.do === 'read') {
              const buffer = Buffer.alloc(step.lengthBytes)
              const bytes = await file.read(buffer, step.position, caller)
              const expected = content.subarray(step.position, step.position + step.lengthBytes)
              expect(bytes).toBe(expected.length)
              expect(buffer.subarray(0, bytes).equals(expected)).toBe(true)
            } else if (step.do === 'write') {
              await out.write(content.subarray(0, step.lengthBytes), step.position * 1_000_000, caller)
            } else if (step.do === 'stat') {
              expect((await seek.stat(path, caller)).size).toBe(content.length)
            } else if (step.do === 'readAll') {
              expect((await seek.readAll(path, caller)).equals(content)).toBe(true)
            } else {
              const paths = Array.from({ length: step.position }, (_, i) => join(folder, `small ${i}`))
              for await (const { path, bytes, error } of seek.readMany(paths, caller)) {
                if (error === undefined) expect(bytes.length).toBe(paths.indexOf(path as string) * 500)
                else expect(allowed).toContain(error.code)
              }
            }
          } catch (error) {
            const { code, name } = error as NodeJS.ErrnoException
            if (!allowed.has(code ?? name) && !allowed.has(name)) throw error
          }
          ended++
        }),
      )
      faults = undefined
      expect(ended).toBe(steps.length)
      // What a failed or aborted write has left is undefined; what has succeeded is there.
      await file.close()
      await out.close()
    }),
    { numRuns: 200 },
  )
  expect(Math.min(seen.enters, seen.short, seen.errors, seen.swapped)).toBeGreaterThan(30)
  await vi.waitFor(() => expect(readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(openBefore + 3))
})

test('ten thousand reads at once, far more than the completion queue holds, with all of it', async () => {
  await using file = await seek.open(path, 'user-blocking')
  faults = seeded(1)
  const outcomes = await Promise.allSettled(
    Array.from({ length: 10_000 }, async (_, i) => {
      const buffer = Buffer.alloc(64)
      const position = (i * 61) % 290_000
      expect(await file.read(buffer, position, 'user-blocking')).toBe(64)
      expect(buffer.equals(content.subarray(position, position + 64))).toBe(true)
    }),
  )
  const failed = outcomes.filter(one => one.status === 'rejected').map(({ reason }) => reason.code ?? reason)
  for (const code of new Set(failed)) expect(allowed).toContain(code)
  expect(failed.length).toBeLessThan(1000)
})
