import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const module = JSON.stringify(new URL('../src/arguments.ts', import.meta.url).href)
const source = `
  const { checkBuffer } = await import(${module})
  const buffer = new Uint8Array(65536).fill(7)
  checkBuffer(buffer)
  console.log(buffer.length, buffer[65535])`

test.for<[string, string | undefined, string[]]>([
  ['Node', process.execPath, ['--input-type=module', '-e']],
  ['Bun', process.env.KIRUNA_BUN, ['-e']],
  ['Deno', process.env.KIRUNA_DENO, ['eval', '--ext=mjs']],
])('looking at memory in whole pages leaves it where it is: %s', ([name, program, given], context) => {
  if (program === undefined) {
    const variable = `KIRUNA_${name.toUpperCase()}`
    console.log(`skipped: ${variable} does not name a ${name}`)
    return context.skip(`${variable} is not set`)
  }
  const cwd = fileURLToPath(new URL('..', import.meta.url))
  const { NODE_OPTIONS: _, ...env } = process.env
  expect(execFileSync(program, [...given, source], { cwd, env, encoding: 'utf8' })).toBe('65536 7\n')
})
