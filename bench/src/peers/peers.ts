// What a program can use today, each as its documentation says; what that leaves open is settled in its favour:
// timers and messages call their handlers at once, as no detour through a queue would be faster; background work has
// the lowest priority that there is; and with queues that know no turns of the event loop each job awaits one.
import { openSync, read } from 'node:fs'
import type { Reads, Rival, Step } from './rival.ts'

/** So long a computation goes on before it gives way, where the library has no opinion. */
const sliceMs = 1
/** libuv has four threads: more reads at once would wait there, where no priority counts. */
const threads = 4

const turn = () => new Promise<void>(resolve => setImmediate(resolve))

/** No library: first in, first out. */
export async function naive(): Promise<Rival> {
  return {
    post: job => void setImmediate(job),
    async loop(step) {
      while (sliceOf(step)) await turn()
    },
    every,
    open: async path => readsOf(path, async then => then()),
  }
}

/** https://github.com/facebook/react/tree/main/packages/scheduler: a callback returns what is left to do. */
export async function react(): Promise<Rival> {
  const {
    unstable_scheduleCallback: schedule,
    unstable_IdlePriority: idle,
    unstable_shouldYield: shouldYield,
  } = await import('scheduler')
  return {
    post: job => void schedule(idle, () => job()),
    loop: step =>
      new Promise(resolve => {
        const work = () => {
          if (step(shouldYield)) return work
          resolve()
        }
        schedule(idle, work)
      }),
    every,
    open: async path =>
      readsOf(
        path,
        then =>
          new Promise(resolve => {
            schedule(idle, () => {
              then()
              resolve()
            })
          }),
      ),
  }
}

/** https://github.com/GoogleChromeLabs/scheduler-polyfill: what browsers have as `scheduler`. It uses MessageChannel. */
export async function polyfill(): Promise<Rival> {
  Object.assign(globalThis, { self: globalThis }) // where it puts itself
  await import('scheduler-polyfill')
  const background = { priority: 'background' } as const
  return {
    post: job => void scheduler.postTask(job, background),
    async loop(step) {
      while (await scheduler.postTask(() => sliceOf(step), background));
    },
    every,
    open: async path => readsOf(path, then => scheduler.postTask(then, background)),
  }
}

/** https://github.com/sindresorhus/p-queue: one job at a time, or for reads as many as there are threads. */
export async function pQueue(): Promise<Rival> {
  return ofPQueue(async job => job())
}

/** The same where each job ends with a turn of the event loop. */
export async function pQueueWithImmediates(): Promise<Rival> {
  return ofPQueue(async job => {
    const result = job()
    await turn()
    return result
  })
}

async function ofPQueue(run: <T>(job: () => T) => Promise<T>): Promise<Rival> {
  const { default: PQueue } = await import('p-queue')
  const queue = new PQueue({ concurrency: 1 })
  const background = { priority: 0 }
  return {
    post: job => void queue.add(() => run(job), background),
    async loop(step) {
      while (await queue.add(() => run(() => sliceOf(step)), background));
    },
    every,
    async open(path) {
      const reading = new PQueue({ concurrency: threads })
      const readAt = readerOf(path)
      return {
        async loop(buffer, next, then) {
          for (let position = next(); position >= 0; position = next()) {
            await reading.add(async () => {
              await readAt(buffer, position)
              then()
            }, background)
          }
        },
        urgent: readAt,
      }
    },
  }
}

/** https://github.com/mcollina/fastq: it has no priorities. A job ends with a turn of the event loop, or nothing else has one. */
export async function fastqWithImmediates(): Promise<Rival> {
  const { default: fastq } = await import('fastq')
  const queue = fastq<unknown, () => void>((job, done) => {
    job()
    setImmediate(done, null)
  }, 1)
  return {
    post: job => queue.push(job),
    loop: step =>
      new Promise(resolve => {
        const work = () => {
          if (sliceOf(step)) queue.push(work)
          else resolve()
        }
        queue.push(work)
      }),
    every,
    async open(path) {
      const readAt = readerOf(path)
      const reading = fastq.promise((job: () => Promise<void>) => job(), threads)
      return {
        async loop(buffer, next, then) {
          for (let position = next(); position >= 0; position = next()) {
            await reading.push(async () => {
              await readAt(buffer, position)
              then()
            })
          }
        },
        urgent: readAt,
      }
    },
  }
}

/** A timer that is armed again for the next point of its grid. */
function every(periodMs: number, tick: (lateMs: number) => void): void {
  const startMs = performance.now()
  let point = 1
  const fire = () => {
    const lateMs = performance.now() - (startMs + point * periodMs)
    if (lateMs >= 0) {
      point += 1 + Math.floor(lateMs / periodMs)
      tick(lateMs)
    }
    setTimeout(fire, Math.max(0, startMs + point * periodMs - performance.now()))
  }
  setTimeout(fire, periodMs)
}

function sliceOf(step: Step): boolean {
  const endMs = performance.now() + sliceMs
  return step(() => performance.now() >= endMs)
}

/** node:fs, all reads at once; `resume` is how the library gets at what follows them. */
function readsOf(path: string, resume: (then: () => void) => Promise<void>): Reads {
  const readAt = readerOf(path)
  return {
    async loop(buffer, next, then) {
      for (let position = next(); position >= 0; position = next()) {
        await readAt(buffer, position)
        await resume(then)
      }
    },
    urgent: readAt,
  }
}

/** `fs.read` with a callback: a FileHandle would be slower. */
function readerOf(path: string): (buffer: Buffer, position: number) => Promise<void> {
  const fd = openSync(path, 'r')
  return (buffer, position) =>
    new Promise((resolve, reject) => {
      read(fd, buffer, 0, buffer.length, position, error => (error === null ? resolve() : reject(error)))
    })
}
