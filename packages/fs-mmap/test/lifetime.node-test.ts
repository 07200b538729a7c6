// The tests for `node --test`: those that end workers and processes.
import './lifetime.test.ts'
