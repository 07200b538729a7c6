// The tests for `node --test`: those of pages that cannot be had, and of other runtimes.
import './foreign-fault.test.ts'
import './no-views.test.ts'
import './older-kernel.test.ts'
import './sigbus.test.ts'
