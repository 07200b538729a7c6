import { AsyncLocalStorage } from 'node:async_hooks'

/**
 * Calls a function outside of every AsyncLocalStorage context. What arms the loop is called so: the timer or the turn
 * serves others as well, and would run them in the context of whoever came first.
 */
export const outside = AsyncLocalStorage.snapshot()
