import './default-scheduler.ts' // a bare priority goes on at that priority

/** The mmap personality: a mapped file. */
export * from '@kiruna/fs-mmap'
