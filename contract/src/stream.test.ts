import { streams } from './implementations.ts'
import { streamContract } from './stream.ts'
import { describeContract } from './vitest.ts'

describeContract(streams, streamContract)
