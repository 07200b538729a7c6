import { invalidValue } from './error.ts'

/** How urgent something is, most urgent first. The last three are the web standard's names; `realtime` is ours. */
export type Priority = 'realtime' | 'user-blocking' | 'user-visible' | 'background'

/** The four priorities, most urgent first: an index into this is a rank. */
export const priorities: readonly Priority[] = ['realtime', 'user-blocking', 'user-visible', 'background']

/** A priority as a number: 0 is realtime, 3 is background. */
export type Rank = 0 | 1 | 2 | 3

/** The four as an error lists them. */
export const oneOf = priorities.map(priority => `'${priority}'`).join(', ')

/**
 * @returns 0 for realtime to 3 for background
 * @throws TypeError ERR_INVALID_ARG_VALUE: not one of the four
 */
export function rankOf(priority: Priority): Rank {
  switch (priority) {
    case 'realtime':
      return 0
    case 'user-blocking':
      return 1
    case 'user-visible':
      return 2
    case 'background':
      return 3
    default:
      throw invalidValue('priority', `must be one of ${oneOf}`, priority)
  }
}
