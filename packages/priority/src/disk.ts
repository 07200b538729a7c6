import { Climb, shallowDepth } from './climb.ts'
import { LinkedList } from './linked-list.ts'
import type { Rank } from './priority.ts'

/**
 * The lane's account of one disk: a dead mount holds up no other. Calls by path have one account together, since only
 * the kernel knows which disk a path leads to.
 */
export class Disk<Entry> {
  /** How many operations below user-blocking may be in flight together, of `bytesPerOperation` on average. */
  depth = shallowDepth
  readonly climb: Climb
  /** What waits, by rank. */
  readonly waiting: Readonly<Record<Rank, LinkedList<Entry>>> = {
    0: new LinkedList(),
    1: new LinkedList(),
    2: new LinkedList(),
    3: new LinkedList(),
  }
  waitingCount = 0
  /** In flight, by rank at admission. */
  readonly operations = [0, 0, 0, 0]
  /** In flight below user-blocking. */
  bytes = 0
  /** How many urgent operations the lane had admitted when this was last looked at. */
  urgentCount = 0

  constructor(nowMs: number) {
    this.climb = new Climb(nowMs)
  }

  /** Of what waits, what is most urgent and came first. */
  get first(): Entry | undefined {
    const { waiting } = this
    return (waiting[0].first ?? waiting[1].first ?? waiting[2].first ?? waiting[3].first)?.item
  }
}
