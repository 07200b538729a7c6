// node --test contract/src/net.node-test.ts
import { sockets } from './implementations.ts'
import { netContract } from './net.ts'
import { describeContract } from './node-test.ts'

describeContract(sockets, netContract)
