// node --test contract/src/seek.node-test.ts
import { seeks } from './implementations.ts'
import { describeContract } from './node-test.ts'
import { seekContract } from './seek.ts'

describeContract(seeks, seekContract)
