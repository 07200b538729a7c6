/** What a receive takes at most. */
const mostBytes = 64 * 1024

/** Serves every receive: the call does not wait, and when it returns what has come is cut out. */
let memory = Buffer.allocUnsafeSlow(mostBytes)

export function receiveMemory(): Buffer {
  return memory
}

/** So many bytes have come: the reader's own from now on. Much is handed over as it is, little is copied out. */
export function cut(lengthBytes: number): Buffer {
  if (lengthBytes > mostBytes / 2) {
    const bytes = memory.subarray(0, lengthBytes)
    memory = Buffer.allocUnsafeSlow(mostBytes)
    return bytes
  }
  const bytes = Buffer.allocUnsafe(lengthBytes)
  memory.copy(bytes, 0, 0, lengthBytes)
  return bytes
}
