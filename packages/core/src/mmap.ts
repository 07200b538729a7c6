import './default-scheduler.ts' // a bare priority goes on at that priority
import { selectMmap } from './select.ts'

export type * from '@kiruna/fs-mmap'

/** A mapped file. @throws ERR_KIRUNA_UNAVAILABLE, with the reason, where @kiruna/fs-mmap is not installed */
export const { map } = selectMmap()
