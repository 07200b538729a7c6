/**
 * Node's own timers, as they were when this module was loaded: fake timers (node:test's, vitest's, jest's, sinon's)
 * replace the globals, and I/O that waits for a fake never ends. They are the globals, not node:timers', because Electron
 * wraps those to wake its loop.
 */
export const { clearTimeout, queueMicrotask, setImmediate, setTimeout } = globalThis

/** @see https://nodejs.org/api/process.html#processnexttickcallback-args */
export const nextTick: typeof process.nextTick = process.nextTick.bind(process)

/** Milliseconds, monotonic, from the start of the process or worker. */
export const nowMs: () => number = performance.now.bind(performance)
