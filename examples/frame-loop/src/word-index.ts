/** Longer words (data, not language) are counted by so many of their first bytes. */
export const longestWordBytes = 255
/** A file with a zero byte in so many of its first bytes is binary. */
const sniffBytes = 8192

const shardBits = 10
const firstSlots = 32
const slotWords = 5
const chunkBits = 16
const chunkBytes = 1 << chunkBits

// FNV-1a, one byte at a time: a word may arrive in two steps.
const hashStart = 0x811c9dc5
const hashPrime = 0x01000193

/** The byte in lower case where it belongs to a word, [A-Za-z0-9_], and 0 where not. */
const letterOf = new Uint8Array(256)
for (const letter of 'abcdefghijklmnopqrstuvwxyz0123456789_') {
  letterOf[letter.charCodeAt(0)] = letterOf[letter.toUpperCase().charCodeAt(0)] = letter.charCodeAt(0)
}

/** Sums over the words of a file or of a whole index, modulo 2^32: those of the files add up to the index's. */
export interface Digest {
  /** Of each word's hash, as often as the word occurs. */
  occurrences: number
  /** Of each word's hash, once for each file it is in. */
  presences: number
}

export interface Entry {
  word: string
  occurrences: number
  files: number
}

/** How many bytes of a file are to be indexed: all of them, or none if it is binary. */
export function textLength(bytes: Uint8Array): number {
  return bytes.subarray(0, sniffBytes).includes(0) ? 0 : bytes.length
}

/**
 * For each word of many files: how often it occurs, and in how many files. A file may be added in steps of any length.
 * There is no JavaScript object for a word, so that garbage collection has nothing to do here, and none of the
 * 1024 tables is ever so large that making it larger takes long.
 *
 *     hash ─► shard, by its upper 10 bits ─► slot, by its lower bits, else the next that is free
 *
 *     a shard  │ hash │ place │ occurrences │ files │ last file │ hash │ place │ …        place 0: free
 *                         └──────────────┐
 *     the pool, chunks of 64 KiB  │ … 5 i n d e x 3 t h e …
 */
export class WordIndex {
  /** Different words. */
  words = 0
  /** Files that have ended. */
  files = 0
  readonly #shards: (Uint32Array | undefined)[] = new Array(1 << shardBits).fill(undefined)
  readonly #used = new Uint32Array(1 << shardBits)
  readonly #chunks: Uint8Array[] = [new Uint8Array(chunkBytes)]
  #poolEnd = 1

  // The word under way, of which the step before may have had the beginning.
  readonly #word = new Uint8Array(longestWordBytes)
  #length = 0
  #hash = hashStart
  #occurrences = 0
  #presences = 0

  /** Goes on with the file: its bytes in [from, until). */
  add(bytes: Uint8Array, from: number, until: number): void {
    const word = this.#word
    let length = this.#length
    let hash = this.#hash
    for (let i = from; i < until; i++) {
      const letter = letterOf[bytes[i]!]!
      if (letter !== 0) {
        if (length === longestWordBytes) continue
        word[length++] = letter
        hash = Math.imul(hash ^ letter, hashPrime)
      } else if (length > 0) {
        this.#count(hash, length)
        length = 0
        hash = hashStart
      }
    }
    this.#length = length
    this.#hash = hash
  }

  /** The file is complete. Returns its share of the digest. */
  endFile(): Digest {
    if (this.#length > 0) this.#count(this.#hash, this.#length)
    const digest = { occurrences: this.#occurrences >>> 0, presences: this.#presences >>> 0 }
    this.#length = this.#occurrences = this.#presences = 0
    this.#hash = hashStart
    this.files++
    return digest
  }

  /** Computed from the tables, not from what the files gave: this takes a while. */
  digest(): Digest {
    let occurrences = 0
    let presences = 0
    for (const shard of this.#shards) {
      if (shard === undefined) continue
      for (let slot = 0; slot < shard.length; slot += slotWords) {
        occurrences = (occurrences + Math.imul(shard[slot]!, shard[slot + 2]!)) >>> 0
        presences = (presences + Math.imul(shard[slot]!, shard[slot + 3]!)) >>> 0
      }
    }
    return { occurrences, presences }
  }

  *entries(): Generator<Entry, void, void> {
    for (const shard of this.#shards) {
      if (shard === undefined) continue
      for (let slot = 0; slot < shard.length; slot += slotWords) {
        const place = shard[slot + 1]!
        if (place === 0) continue
        const chunk = this.#chunks[place >>> chunkBits]!
        const start = (place & (chunkBytes - 1)) + 1
        const word = Buffer.from(chunk.subarray(start, start + chunk[start - 1]!)).toString('latin1')
        yield { word, occurrences: shard[slot + 2]!, files: shard[slot + 3]! }
      }
    }
  }

  #count(rawHash: number, length: number): void {
    const hash = mix(rawHash)
    const file = this.files + 1
    const number = hash >>> (32 - shardBits)
    const shard = this.#shards[number] ?? this.#grow(number)
    let slot = firstSlot(shard, hash)
    for (let place = shard[slot + 1]!; place !== 0; place = shard[slot + 1]!) {
      if (shard[slot] === hash && this.#isAt(place, length)) {
        shard[slot + 2]!++
        this.#occurrences = (this.#occurrences + hash) | 0
        if (shard[slot + 4] === file) return
        shard[slot + 3]!++
        shard[slot + 4] = file
        this.#presences = (this.#presences + hash) | 0
        return
      }
      slot += slotWords
      if (slot === shard.length) slot = 0
    }
    shard[slot] = hash
    shard[slot + 1] = this.#store(length)
    shard[slot + 2] = shard[slot + 3] = 1
    shard[slot + 4] = file
    this.#occurrences = (this.#occurrences + hash) | 0
    this.#presences = (this.#presences + hash) | 0
    this.words++
    if (++this.#used[number]! * slotWords > shard.length * 0.7) this.#grow(number)
  }

  /** Whether the word under way is the one at `place`. */
  #isAt(place: number, length: number): boolean {
    const chunk = this.#chunks[place >>> chunkBits]!
    const start = place & (chunkBytes - 1)
    if (chunk[start] !== length) return false
    for (let i = 0; i < length; i++) {
      if (chunk[start + 1 + i] !== this.#word[i]) return false
    }
    return true
  }

  #store(length: number): number {
    let start = this.#poolEnd & (chunkBytes - 1)
    if (start + 1 + length > chunkBytes || start === 0) {
      this.#poolEnd = this.#chunks.length * chunkBytes
      this.#chunks.push(new Uint8Array(chunkBytes))
      start = 0
    }
    const chunk = this.#chunks[this.#chunks.length - 1]!
    chunk[start] = length
    for (let i = 0; i < length; i++) chunk[start + 1 + i] = this.#word[i]!
    const place = this.#poolEnd
    this.#poolEnd += 1 + length
    return place
  }

  #grow(number: number): Uint32Array {
    const old = this.#shards[number]
    const shard = new Uint32Array(old === undefined ? firstSlots * slotWords : old.length * 2)
    this.#shards[number] = shard
    if (old === undefined) return shard
    for (let from = 0; from < old.length; from += slotWords) {
      if (old[from + 1] === 0) continue
      let slot = firstSlot(shard, old[from]!)
      while (shard[slot + 1] !== 0) {
        slot += slotWords
        if (slot === shard.length) slot = 0
      }
      for (let i = 0; i < slotWords; i++) shard[slot + i] = old[from + i]!
    }
    return shard
  }
}

function firstSlot(shard: Uint32Array, hash: number): number {
  return (hash & (shard.length / slotWords - 1)) * slotWords
}

/** MurmurHash3's finalizer: FNV's upper bits are weak in short words. */
function mix(hash: number): number {
  let mixed = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}
