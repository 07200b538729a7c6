import { seeks } from './implementations.ts'
import { seekContract } from './seek.ts'
import { describeContract } from './vitest.ts'

describeContract(seeks, seekContract)
