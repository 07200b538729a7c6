import { createScheduler, doorbell, every, post, type Scheduler, spawn } from '@kiruna/core'
import { seek } from '@kiruna/core/io'
import type { Rival } from './rival.ts'

export async function kiruna(): Promise<Rival> {
  return of({ post, spawn, every, doorbell: doorbell() })
}

export async function kirunaWithoutGuard(): Promise<Rival> {
  return of(createScheduler({ guard: false }))
}

function of(scheduler: Pick<Scheduler, 'post' | 'spawn' | 'every' | 'doorbell'>): Rival {
  return {
    post: job => scheduler.post('background', job),
    loop: step =>
      scheduler.spawn(
        'background',
        async scope => {
          const shouldYield = () => scope.shouldYield()
          while (step(shouldYield)) await scope.yield()
        },
        { name: 'compute' },
      ),
    every: (periodMs, tick) => void scheduler.every(periodMs, tick),
    doorbell: scheduler.doorbell,
    async open(path) {
      const file = await seek.open(path, 'user-visible')
      return {
        loop: (buffer, next, then) =>
          scheduler.spawn(
            'background',
            async scope => {
              for (let position = next(); position >= 0; position = next()) {
                await file.read(buffer, position, scope)
                then()
              }
            },
            { name: 'reads' },
          ),
        urgent: (buffer, position) => file.read(buffer, position, 'realtime'),
      }
    },
  }
}
