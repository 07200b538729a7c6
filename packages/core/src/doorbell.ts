/**
 * For another thread: makes `shouldYield()` true over there, so that a long computation gives way and the message that
 * has just been posted is delivered. Post first, then ring.
 * @param doorbell of `doorbell()` or of a scheduler of your own, sent to this thread
 */
export function ring(doorbell: SharedArrayBuffer): void {
  Atomics.add(new Int32Array(doorbell), 0, 1)
}
