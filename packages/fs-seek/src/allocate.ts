import { askerOf, type Caller } from '@kiruna/priority'
import { checkInteger } from '@kiruna/priority/arguments'
import { errnoOf, systemError } from '@kiruna/priority/error'

/**
 * `File.allocate` where the system has no call that reserves room and can never shorten a file.
 * @throws ENOTSUP (`err.code`); TypeError, RangeError; the signal's reason
 */
export async function notAllocated(
  path: string | Buffer | undefined,
  offsetBytes: number,
  lengthBytes: number,
  caller: Caller,
): Promise<never> {
  checkInteger(offsetBytes, 'offsetBytes')
  checkInteger(lengthBytes, 'lengthBytes', 1)
  askerOf(caller).signal?.throwIfAborted()
  throw systemError(errnoOf('ENOTSUP'), 'fallocate', path)
}
