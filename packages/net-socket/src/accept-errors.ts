import { errnoOf } from '@kiruna/priority/error'

/** The system is short of something: accepted again after a pause. */
export const exhausted: ReadonlySet<number> = errnos('EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM')

/**
 * About one peer, which has left before it was accepted, about the network, or about nothing: the next is accepted.
 * Whatever else accept says is about the socket itself, and would come again for ever.
 * @see accept(2), "Error handling"
 */
export const passing: ReadonlySet<number> = errnos(
  'EAGAIN',
  'EINTR',
  'ECANCELED',
  'ECONNABORTED',
  'ECONNRESET',
  'EPROTO',
  'ENOPROTOOPT',
  'ENETDOWN',
  'ENETUNREACH',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENONET',
  'EPERM',
  'ETIMEDOUT',
)

/** Windows knows fewer of them. */
function errnos(...codes: string[]): Set<number> {
  const numbers = new Set<number>()
  for (const code of codes) {
    try {
      numbers.add(errnoOf(code))
    } catch {}
  }
  return numbers
}
