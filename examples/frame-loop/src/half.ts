// One half, in a process of its own: the parent sends an Order and gets a Result.
import { type Order, Run } from './run.ts'

const warmUpSeconds = 0.3

process.once('message', (order: Order) => void measure(order))
process.on('disconnect', () => process.exit()) // the parent is gone

async function measure(order: Order): Promise<void> {
  let implementation: { name: string; reason?: string } | undefined
  let half: (run: Run) => Promise<void>
  if (order.half === 'naive') half = (await import('./naive.ts')).naive
  else {
    half = (await import('./kiruna.ts')).kiruna
    implementation = (await import('@kiruna/core/io')).implementation()
  }
  // Once before the clocks start, so that neither loading nor compiling is measured.
  const warmUp = new Run({ ...order, paths: order.paths.slice(0, 100), seconds: warmUpSeconds, live: false })
  await half(warmUp)
  warmUp.result()
  const run = new Run(order)
  await half(run)
  process.send!(run.result(implementation), () => process.disconnect())
}
