import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const packages = fileURLToPath(new URL('../../packages', import.meta.url))
/** A paragraph that links to a source, and the code behind it. */
const excerpt = /\]\((src\/[\w./-]+)\)(?:(?!\n\n).)*\n\n```(?:ts|cpp)\n(.*?)```/gs

const withoutIndent = (code: string) => code.replace(/^ +/gm, '').trim()

const excerpts = readdirSync(packages).flatMap(name => {
  const readme = `${packages}/${name}/README.md`
  if (!existsSync(readme)) return []
  const found = readFileSync(readme, 'utf8').matchAll(excerpt)
  return [...found].map(([, source, code]) => ({ name, source: source!, code: code! }))
})

test.each(excerpts)('$name’s README shows $source as it is', ({ name, source, code }) => {
  const whole = withoutIndent(readFileSync(`${packages}/${name}/${source}`, 'utf8'))
  expect(whole).toContain(withoutIndent(code))
})

test('there are such excerpts', () => {
  expect(excerpts.length).toBeGreaterThan(6)
})
