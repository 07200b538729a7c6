import { sockets } from './implementations.ts'
import { netContract } from './net.ts'
import { describeContract } from './vitest.ts'

describeContract(sockets, netContract)
