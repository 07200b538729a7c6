import { constants, type Stats } from 'node:fs'
import { Opening } from '@kiruna/darwin-dispatch/open'
import { statsOf } from '@kiruna/darwin-dispatch/stat'
import type { Asker } from '@kiruna/priority'

const { O_NOCTTY } = constants

export interface OpenedStream {
  fd: number
  stats: Stats
}

/** open(2) and fstat(2) of a stream's path. */
export class OpenStream extends Opening<OpenedStream> {
  protected readonly ownsBuffer = true

  constructor(
    path: string | Buffer,
    flags: number,
    asker: Asker,
    resolve: (opened: OpenedStream) => void,
    reject: (reason: unknown) => void,
  ) {
    super(path, flags | O_NOCTTY, 0o666, true, asker, resolve, reject)
  }

  protected opened(fd: number, status: Buffer): void {
    this.succeed({ fd, stats: statsOf(status) })
  }
}
