// node --test contract/src/stream.node-test.ts
import { streams } from './implementations.ts'
import { describeContract } from './node-test.ts'
import { streamContract } from './stream.ts'

describeContract(streams, streamContract)
