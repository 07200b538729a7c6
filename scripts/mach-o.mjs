// Reads a Mach-O file, as mach-o/loader.h describes it: what it exports and imports, for which macOS, and whether its
// signature is that of its bytes. Little-endian, 64 bits: x86-64 and arm64.
import { createHash } from 'node:crypto'

const MH_MAGIC_64 = 0xfeedfacf
const LC_SYMTAB = 0x2
const LC_LOAD_DYLIB = 0xc
const LC_LOAD_WEAK_DYLIB = 0x80000018
const LC_REEXPORT_DYLIB = 0x8000001f
const LC_CODE_SIGNATURE = 0x1d
const LC_DYLD_INFO_ONLY = 0x80000022
const LC_DYLD_EXPORTS_TRIE = 0x80000033
const LC_BUILD_VERSION = 0x32
const PLATFORM_MACOS = 1
const N_STAB = 0xe0
const N_TYPE = 0x0e
const N_UNDF = 0
const CPU_TYPES = new Map([
  [0x01000007, 'x86_64'],
  [0x0100000c, 'arm64'],
])

/**
 * @typedef {object} MachO
 * @property {string | undefined} architecture x86_64, arm64
 * @property {string} minimumMacOS as `11.0`
 * @property {Set<string>} exports from the trie that dyld reads
 * @property {Map<string, string>} imports each undefined symbol, and the library that it is bound to: '' for any
 * @property {string} signature 'none', 'valid', or what is wrong with it
 */

/**
 * @param {Buffer} file
 * @returns {MachO}
 */
export function readMachO(file) {
  if (file.readUInt32LE(0) !== MH_MAGIC_64) throw new Error('no Mach-O file of 64 bits')
  const architecture = CPU_TYPES.get(file.readUInt32LE(4))
  const commands = file.readUInt32LE(16)
  /** @type {string[]} */
  const libraries = []
  let minimumMacOS = 'none'
  /** @type {Set<string>} */
  let exports = new Set()
  let symbols = { at: 0, count: 0, strings: 0 }
  let signature = 'none'
  for (let at = 32, i = 0; i < commands; i++, at += file.readUInt32LE(at + 4)) {
    const command = file.readUInt32LE(at)
    if (command === LC_SYMTAB) {
      const [symbolsAt = 0, count = 0, strings = 0] = [8, 12, 16].map(offset =>
        file.readUInt32LE(at + offset),
      )
      symbols = { at: symbolsAt, count, strings }
    } else if ([LC_LOAD_DYLIB, LC_LOAD_WEAK_DYLIB, LC_REEXPORT_DYLIB].includes(command)) {
      libraries.push(cString(file, at + file.readUInt32LE(at + 8)))
    } else if (command === LC_DYLD_INFO_ONLY || command === LC_DYLD_EXPORTS_TRIE) {
      const field = command === LC_DYLD_INFO_ONLY ? 40 : 8
      const [trieAt, bytes] = [file.readUInt32LE(at + field), file.readUInt32LE(at + field + 4)]
      if (bytes > 0) exports = readTrie(file.subarray(trieAt, trieAt + bytes))
    } else if (command === LC_BUILD_VERSION && file.readUInt32LE(at + 8) === PLATFORM_MACOS) {
      const version = file.readUInt32LE(at + 12)
      minimumMacOS = `${version >>> 16}.${(version >>> 8) & 0xff}`
    } else if (command === LC_CODE_SIGNATURE) {
      signature = checkSignature(file, file.readUInt32LE(at + 8))
    }
  }
  /** @type {Map<string, string>} */
  const imports = new Map()
  for (let i = 0; i < symbols.count; i++) {
    const at = symbols.at + i * 16 // nlist_64
    const type = file[at + 4] ?? 0
    if ((type & N_STAB) !== 0 || (type & N_TYPE) !== N_UNDF) continue
    const ordinal = file.readUInt16LE(at + 6) >>> 8
    imports.set(cString(file, symbols.strings + file.readUInt32LE(at)), libraries[ordinal - 1] ?? '')
  }
  return { architecture, minimumMacOS, exports, imports, signature }
}

/** @param {Buffer} file @param {number} at */
function cString(file, at) {
  return file.toString('latin1', at, file.indexOf(0, at))
}

/**
 * Each node: the length of what it has to say if a symbol ends there, that, the number of edges, and of each edge its
 * letters and where it leads.
 * @param {Buffer} trie
 */
function readTrie(trie) {
  /** @type {Set<string>} */
  const names = new Set()
  /** @type {[at: number, prefix: string][]} */
  const waiting = [[0, '']]
  let nodes = 0
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    if (nodes++ > trie.length) throw new Error('the export trie leads round in a circle')
    const [length, after] = uleb128(trie, node[0])
    if (length > 0) names.add(node[1])
    let at = after + length
    for (let edges = trie[at++] ?? 0; edges > 0; edges--) {
      const letters = cString(trie, at)
      const [child, next] = uleb128(trie, at + letters.length + 1)
      waiting.push([child, node[1] + letters])
      at = next
    }
  }
  return names
}

/**
 * @param {Buffer} bytes
 * @param {number} at
 * @returns {[value: number, after: number]}
 */
function uleb128(bytes, at) {
  let value = 0
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++] ?? 0
    value += (byte & 0x7f) * 2 ** shift
    if (byte < 0x80) return [value, at]
  }
}

/**
 * arm64 runs nothing unsigned, but is content with a signature that nobody has put a name to: a hash of each page.
 * @param {Buffer} file
 * @param {number} at where the signature's blobs begin; they are big-endian
 * @see cs_blobs.h of xnu
 */
function checkSignature(file, at) {
  if (file.readUInt32BE(at) !== 0xfade0cc0) return 'no embedded signature'
  for (let i = 0; i < file.readUInt32BE(at + 8); i++) {
    const directory = at + file.readUInt32BE(at + 16 + i * 8)
    if (file.readUInt32BE(directory) !== 0xfade0c02) continue
    const [hashesAt = 0, , slots = 0, limit = 0] = [16, 20, 28, 32].map(field =>
      file.readUInt32BE(directory + field),
    )
    const [hashBytes = 0, hashType, , pageShift = 0] = file.subarray(directory + 36, directory + 40)
    if (hashType !== 2) return `hashes of type ${hashType}`
    const pageBytes = 2 ** pageShift
    if (slots !== Math.ceil(limit / pageBytes)) return 'not of all pages'
    for (let slot = 0; slot < slots; slot++) {
      const page = file.subarray(slot * pageBytes, Math.min((slot + 1) * pageBytes, limit))
      const hash = directory + hashesAt + slot * hashBytes
      const isSame = createHash('sha256')
        .update(page)
        .digest()
        .equals(file.subarray(hash, hash + hashBytes))
      if (!isSame) return `page ${slot} has changed since`
    }
    return 'valid'
  }
  return 'no code directory'
}
