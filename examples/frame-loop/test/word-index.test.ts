import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Entry, longestWordBytes, textLength, WordIndex } from '../src/word-index.ts'

/** The same index as anybody would write it. */
function byMap(files: Uint8Array[]): Map<string, Entry> {
  const entries = new Map<string, Entry>()
  for (const file of files) {
    const inThisFile = new Set<string>()
    for (const found of Buffer.from(file)
      .toString('latin1')
      .match(/[A-Za-z0-9_]+/g) ?? []) {
      const word = found.slice(0, longestWordBytes).toLowerCase()
      const entry = entries.get(word) ?? { word, occurrences: 0, files: 0 }
      entry.occurrences++
      if (!inThisFile.has(word)) entry.files++
      inThisFile.add(word)
      entries.set(word, entry)
    }
  }
  return entries
}

/** @param stepBytes how much is added at once */
function indexOf(files: Uint8Array[], stepBytes: number): WordIndex {
  const index = new WordIndex()
  for (const file of files) {
    for (let from = 0; from < file.length; from += stepBytes) {
      index.add(file, from, Math.min(from + stepBytes, file.length))
    }
    index.endFile()
  }
  return index
}

function sorted(entries: Iterable<Entry>): Entry[] {
  return [...entries].sort((a, b) => (a.word < b.word ? -1 : 1))
}

function expectSame(files: Uint8Array[], stepBytes: number): void {
  const index = indexOf(files, stepBytes)
  const expected = byMap(files)
  expect(sorted(index.entries())).toEqual(sorted(expected.values()))
  expect(index.words).toBe(expected.size)
  expect(index.files).toBe(files.length)
}

// Few letters, so that words meet again, and borders are everywhere.
const text = fc
  .array(fc.constantFrom(...'abAB9_ \n-é\0'), { maxLength: 300 })
  .map(letters => Buffer.from(letters.join(''), 'latin1'))

describe('the word index', () => {
  test('is what a Map would be, for random files in random steps', () => {
    fc.assert(fc.property(fc.array(text, { maxLength: 5 }), fc.integer({ min: 1, max: 40 }), expectSame))
  })

  test('does not depend on where a step ends', () => {
    const file = Buffer.from('The quick brown fox, the QUICK fox_2')
    const whole = sorted(indexOf([file], file.length).entries())
    for (let border = 0; border <= file.length; border++) {
      const index = new WordIndex()
      index.add(file, 0, border)
      index.add(file, border, file.length)
      index.endFile()
      expect(sorted(index.entries()), `a border at ${border}`).toEqual(whole)
    }
  })

  test('ends a word with its file', () => {
    expectSame([Buffer.from('one'), Buffer.from('two')], 8)
    expectSame([Buffer.from(''), Buffer.from('a'), Buffer.from(''), Buffer.from('a')], 8)
  })

  test('takes words of every length, and cuts the longest', () => {
    const lengths = [1, 2, longestWordBytes - 1, longestWordBytes, longestWordBytes + 1, 3 * longestWordBytes]
    const words = lengths.map(length => 'x'.repeat(length))
    expectSame([Buffer.from(words.join(' '))], 7)
    expectSame([Buffer.from(words.join(' '))], 1000)
  })

  test('grows, in its tables and in its pool', () => {
    const words = Array.from({ length: 200_000 }, (_, i) => `word_number_${i}`)
    const file = Buffer.from(words.join(' '))
    expectSame([file, file.subarray(0, 100_000)], 8192)
  })

  test('has a digest that the files add up to', () => {
    const files = ['to be or not to be', 'be quick', '', 'not'].map(text => Buffer.from(text))
    const index = new WordIndex()
    let [occurrences, presences] = [0, 0]
    for (const file of files) {
      index.add(file, 0, file.length)
      const digest = index.endFile()
      occurrences = (occurrences + digest.occurrences) >>> 0
      presences = (presences + digest.presences) >>> 0
    }
    expect(index.digest()).toEqual({ occurrences, presences })
    expect(indexOf(files.toReversed(), 2).digest()).toEqual({ occurrences, presences })
    expect(indexOf(files.slice(1), 2).digest()).not.toEqual({ occurrences, presences })
  })
})

describe('textLength', () => {
  test('is the whole file, or nothing where a zero byte is in its beginning', () => {
    expect(textLength(Buffer.from('text'))).toBe(4)
    expect(textLength(Buffer.alloc(0))).toBe(0)
    expect(textLength(Buffer.from('bin\0ary'))).toBe(0)
    expect(textLength(Buffer.concat([Buffer.alloc(8191, 'a'), Buffer.alloc(1)]))).toBe(0)
    expect(textLength(Buffer.concat([Buffer.alloc(8192, 'a'), Buffer.alloc(1)]))).toBe(8193)
  })
})
