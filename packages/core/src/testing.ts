import { setTimeout as sleep } from 'node:timers/promises'
import { checkInteger, ownOptions } from '@kiruna/priority/arguments'
import { coded, invalidType } from '@kiruna/priority/error'
import { nextTick } from '@kiruna/priority/timers'
import { type Clock, checkMs } from './clock.ts'
import { defaultScheduler, replaceDefaultScheduler } from './default-scheduler.ts'
import { createScheduler, type SchedulerOptions } from './scheduler.ts'
import { VirtualClock } from './virtual-clock.ts'

export interface InstallOptions extends Omit<SchedulerOptions, 'clock'> {
  /**
   * Permutes the order where none is promised: what is due at the same time, and after how many jobs the event loop has
   * its turn. The same seed gives the same order again. Without one it is the order of arrival.
   */
  seed?: number
  /** Disposes of the one that is installed, for instance by a test that has timed out and not come to its end. */
  takeOver?: boolean
}

/** The default scheduler of a test, whose time passes only when the test says so. */
export interface Installed extends Disposable {
  /** For schedulers of your own: `createScheduler({ clock })`. They move with this one. */
  readonly clock: Clock
  readonly seed: number | undefined
  /** Milliseconds since the installation. */
  now(): number
  /**
   * Lets `ms` pass, from one deadline to the next: at each, everything that is due runs, until all of it waits. With 0:
   * what is ready now. Work takes no time. Time stands still while reads and other operations of Kiruna are under way,
   * but does not wait for other I/O. If a task yields for ever, time goes on after 20,000 looks at the clock.
   * @throws TypeError ERR_INVALID_ARG_TYPE; RangeError ERR_OUT_OF_RANGE; Error ERR_INVALID_STATE: it is under way
   *   already
   */
  advance(ms: number): Promise<void>
  /** Makes the task or tick that calls it take `ms` longer, to see what is late then. */
  spend(ms: number): void
  /** Cancels what still runs, and puts back the default scheduler that was there before. Idempotent. */
  dispose(): void
}

let installed: VirtualClock | undefined
/** Where that was. */
let installedAt: Error | undefined
let disposeInstalled = () => {}

/**
 * Until disposed of, `spawn`, `post`, `every` and everything else on the default scheduler runs on a virtual clock:
 * sleeps and ticks end when `advance` gets there, and a test of an hour takes a millisecond. Tasks that are alive
 * already stay on their scheduler.
 *
 *     using test = install()
 *     const saved = spawn('background', async scope => { await scope.sleep(60_000); save() })
 *     await test.advance(60_000)
 *
 * @throws TypeError ERR_INVALID_ARG_TYPE; RangeError ERR_OUT_OF_RANGE; Error ERR_INVALID_STATE: one is installed
 *   already
 */
export function install(given?: InstallOptions): Installed {
  const { seed, takeOver = false, ...options } = ownOptions(given)
  if (seed !== undefined) checkInteger(seed, 'options.seed')
  if (takeOver) disposeInstalled()
  if (installed !== undefined) {
    const error = coded(Error, 'ERR_INVALID_STATE', 'A test scheduler is installed already, see the cause')
    throw Object.assign(error, { cause: installedAt })
  }
  const clock = new VirtualClock(seed)
  const previous = defaultScheduler()
  const scheduler = createScheduler({ ...options, clock })
  replaceDefaultScheduler(scheduler)
  installed = clock
  installedAt = new Error('The test scheduler was installed here')
  const dispose = () => {
    if (installed !== clock) return
    installed = installedAt = undefined
    replaceDefaultScheduler(previous)
    scheduler.dispose()
  }
  disposeInstalled = dispose
  return {
    clock,
    seed,
    now: () => clock.now(),
    async advance(ms) {
      checkTime(ms)
      await clock.advance(ms)
    },
    spend(ms) {
      checkTime(ms)
      clock.spend(ms)
    },
    dispose,
    [Symbol.dispose]: dispose,
  }
}

/** The state of a promise, in Promise.allSettled's form, or pending. */
export type Polled<T> = PromiseSettledResult<T> | { status: 'pending'; value?: undefined; reason?: undefined }

/** Whether a promise has settled, and how, without waiting for it: only the microtasks that are due run first. */
export async function pollOnce<T>(promise: PromiseLike<T>): Promise<Polled<Awaited<T>>> {
  checkThenable(promise)
  let polled: Polled<Awaited<T>> = { status: 'pending' }
  Promise.resolve(promise).then(
    value => (polled = { status: 'fulfilled', value: value as Awaited<T> }),
    reason => (polled = { status: 'rejected', reason }),
  )
  await new Promise<void>(resolve => nextTick(resolve))
  return polled
}

/**
 * Waits for a promise, for at most `ms`: of the virtual clock, which it advances, if one is installed, otherwise of the
 * real one.
 * @throws what it rejects with; DOMException TimeoutError: it is still pending; TypeError ERR_INVALID_ARG_TYPE;
 * RangeError ERR_OUT_OF_RANGE
 */
export async function awaitWithin<T>(promise: PromiseLike<T>, ms: number): Promise<Awaited<T>> {
  checkThenable(promise)
  checkTime(ms)
  const result = Promise.resolve(promise)
  let isSettled = false
  const settle = () => void (isSettled = true)
  const settled = result.then(settle, settle)
  if (installed !== undefined) await installed.advance(ms, () => isSettled)
  else {
    const timeout = new AbortController()
    await Promise.race([settled, sleep(ms, undefined, { signal: timeout.signal })])
    timeout.abort()
  }
  if (isSettled) return result as Promise<Awaited<T>>
  throw new DOMException(`The promise is still pending after ${ms} ms`, 'TimeoutError')
}

/** @throws TypeError ERR_INVALID_ARG_TYPE */
function checkThenable(promise: PromiseLike<unknown>): void {
  if (typeof promise?.then !== 'function') throw invalidType('promise', 'a promise', promise)
}

/** @throws TypeError ERR_INVALID_ARG_TYPE, RangeError ERR_OUT_OF_RANGE */
function checkTime(ms: number): void {
  checkMs(ms, 'ms', ms >= 0 && ms < Number.POSITIVE_INFINITY, '0 milliseconds or more')
}
