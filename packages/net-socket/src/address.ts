import { type LookupAddress, lookup } from 'node:dns'
import { unlink } from 'node:fs/promises'
import { isIP, type LookupFunction } from 'node:net'
import type { Asker } from '@kiruna/priority'
import { lane } from '@kiruna/priority/lane'
import { Operation } from '@kiruna/priority/operation'

/** Their account in the lane: no disk has this number. */
const nameServers = -1

/** An address of IPv4 or IPv6. */
export interface InternetAddress {
  readonly family: 'IPv4' | 'IPv6'
  readonly address: string
  readonly port: number
}

/** The address of a socket or of its peer, as the OS tells it. A path that begins with '\0' is abstract. */
export type SocketAddress = InternetAddress | { readonly family: 'Unix'; readonly path: string }

/**
 * The addresses of a host, in the order in which to try them: the families alternate, as in RFC 8305, so that a host
 * whose IPv6 is dead costs one attempt. The look-up is in libuv's pool, of which the less urgent have at most half.
 * @param family 0: both
 * @throws ENOTFOUND, EAI_AGAIN … (`err.code`), as node:dns has it
 * @see getaddrinfo(3)
 */
export async function addressesOf(
  host: string,
  port: number,
  asker: Asker,
  family: 0 | 4 | 6 = 0,
): Promise<InternetAddress[]> {
  if (isIP(host) !== 0) return [internetAddress(host, port)]
  const found = await new Promise<LookupAddress[]>((resolve, reject) =>
    new LookUp(host, family, asker, resolve, reject).begin(0),
  )
  return alternating(found.map(({ address }) => internetAddress(address, port)))
}

/** node:net's look-up on behalf of a caller. */
export function lookUpFor(asker: Asker): LookupFunction {
  return (host, { all, family }, callback) => {
    const found = (addresses: LookupAddress[]) => {
      if (all) callback(null, addresses)
      else callback(null, addresses[0]!.address, addresses[0]!.family)
    }
    const failed = (error: unknown) => callback(error as Error, '')
    new LookUp(host, family === 4 || family === 6 ? family : 0, asker, found, failed).begin(0)
  }
}

function alternating(addresses: InternetAddress[]): InternetAddress[] {
  const first = addresses.filter(({ family }) => family === addresses[0]?.family)
  const second = addresses.filter(({ family }) => family !== addresses[0]?.family)
  return addresses.flatMap((_, index) => [first[index] ?? [], second[index] ?? []].flat())
}

/** dns.lookup, on a thread of libuv's pool: it has its turn in the lane, beside the files. */
class LookUp extends Operation<LookupAddress[]> {
  protected readonly ownsBuffer = true
  override pooled = true
  override disk = lane.disk(nameServers)
  readonly #host: string
  readonly #family: 0 | 4 | 6

  constructor(
    host: string,
    family: 0 | 4 | 6,
    asker: Asker,
    resolve: (addresses: LookupAddress[]) => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#host = host
    this.#family = family
  }

  start(): void {
    lookup(this.#host, { all: true, family: this.#family }, (error, addresses) => {
      this.leave()
      if (error) this.fail(error)
      else this.succeed(addresses)
    })
  }

  /** It cannot be cancelled. */
  protected stop(): void {}

  end(): void {}
}

export function internetAddress(address: string, port: number): InternetAddress {
  return { family: address.includes(':') ? 'IPv6' : 'IPv4', address, port }
}

/** Removes the path of a Unix-domain socket, if it is still there. An abstract name ends with its socket. */
export async function removePath(at: SocketAddress): Promise<void> {
  if (at.family === 'Unix' && !at.path.startsWith('\0')) await unlink(at.path).catch(() => {})
}
