import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { type House, readHouse } from './house.ts'
import {
  circles,
  deadExports,
  dependencies,
  edges,
  exceptions,
  excerpts,
  manifests,
  systemQuestions,
  tooLong,
} from './walls.ts'

const house = readHouse(fileURLToPath(new URL('../..', import.meta.url)))
const rules: [string, (house: House) => string[]][] = [
  ['each package imports only what the house allows it', edges],
  ['nothing imports in a circle', circles],
  ['everything can be read at one sitting', tooLong],
  ['only what chooses asks which system this is', systemQuestions],
  ['nothing is exported for nobody', deadExports],
  ['manifests depend on what the sources import', dependencies],
  ['manifests are alike', manifests],
  ['texts show the sources as they are, and each README a piece of its own', excerpts],
]

test.each(rules)('%s', (_, faultsOf) => {
  const excused = (fault: string) => Object.keys(exceptions).some(one => fault.startsWith(one))
  expect(faultsOf(house).filter(fault => !excused(fault))).toEqual([])
})

test.each(Object.entries(exceptions))('%s: %s', exception => {
  const faults = rules.flatMap(([, faultsOf]) => faultsOf(house))
  expect(faults.filter(fault => fault.startsWith(exception))).not.toEqual([])
})

/** A small house without a fault. */
const files: Record<string, string> = {
  'package.json': '{ "name": "kiruna-workspace" }',
  ...packageFiles('priority', { '.': 'priority', './lane': 'lane' }, []),
  'packages/priority/src/priority.ts': "export type Priority = 'realtime'\n",
  'packages/priority/src/lane.ts': 'export function admit(): void {}\n',
  ...packageFiles('linux-uring', { './ring': 'ring' }, ['priority']),
  'packages/linux-uring/src/ring.ts':
    "import type { Priority } from '@kiruna/priority'\nexport class Ring {\n  priority?: Priority\n}\n",
  ...packageFiles('linux-seek', { '.': 'seek' }, ['linux-uring', 'priority']),
  'packages/linux-seek/src/seek.ts':
    "import { Ring } from '@kiruna/linux-uring/ring'\nimport { read } from './read.ts'\n\nexport const seek = { read, Ring }\n",
  'packages/linux-seek/src/read.ts':
    "import { admit } from '@kiruna/priority/lane'\n\nexport function read(): void {\n  admit()\n}\n",
}

function packageFiles(name: string, entries: Record<string, string>, uses: string[]): Record<string, string> {
  const folder = `packages/${name}`
  const main = Object.values(entries)[0]
  const manifest = {
    ...house.packages.find(one => one.name === name)!.manifest,
    exports: Object.fromEntries(
      Object.entries(entries).map(([subpath, file]) => [subpath, { default: `./dist/${file}.js` }]),
    ),
    dependencies: Object.fromEntries(uses.map(one => [`@kiruna/${one}`, 'workspace:^'])),
  }
  return {
    [`${folder}/package.json`]: JSON.stringify(manifest),
    [`${folder}/LICENSE`]: 'MIT',
    [`${folder}/README.md`]: `The [source](src/${main}.ts):\n\n\`\`\`ts\nexport\n\`\`\`\n`,
  }
}

function faultsWith(changes: Record<string, string | undefined>): string[] {
  const root = mkdtempSync(join(tmpdir(), 'kiruna-house-'))
  onTestFinished(() => rmSync(root, { recursive: true }))
  for (const [path, text] of Object.entries({ ...files, ...changes })) {
    if (text === undefined) continue
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  const changed = readHouse(root)
  return rules.flatMap(([, faultsOf]) => faultsOf(changed))
}

test('finds nothing in a house without a fault', () => {
  expect(faultsWith({})).toEqual([])
})

const seek = 'packages/linux-seek'
const withLine = (path: string, line: string) => ({ [path]: `${line}\n${files[path]}` })
const withManifest = (name: string, fields: object) => {
  const path = `packages/${name}/package.json`
  return { [path]: JSON.stringify({ ...JSON.parse(files[path]!), ...fields }) }
}

test.each<[what: string, changes: Record<string, string | undefined>, faults: string[]]>([
  [
    'a personality that imports a floor',
    {
      ...packageFiles('fs-seek', { '.': 'seek' }, ['linux-uring']),
      'packages/fs-seek/src/seek.ts': "export type { Ring } from '@kiruna/linux-uring/ring'\n",
    },
    ['fs-seek imports linux-uring: packages/fs-seek/src/seek.ts'],
  ],
  [
    'a package from elsewhere, not in the manifest either',
    withLine(`${seek}/src/read.ts`, "import 'lodash'"),
    [
      `linux-seek imports lodash: ${seek}/src/read.ts`,
      'linux-seek imports lodash, which it does not depend on',
    ],
  ],
  [
    'a circle of types',
    withLine(`${seek}/src/read.ts`, "import type { seek } from './seek.ts'"),
    [`a circle: ${seek}/src/seek.ts → ${seek}/src/read.ts → ${seek}/src/seek.ts`],
  ],
  [
    'a circle through two packages',
    withLine('packages/priority/src/lane.ts', "import type { seek } from '@kiruna/linux-seek'"),
    [
      `priority imports linux-seek: packages/priority/src/lane.ts`,
      `a circle: packages/priority/src/lane.ts → ${seek}/src/seek.ts → ${seek}/src/read.ts → packages/priority/src/lane.ts`,
      'priority imports linux-seek, which it does not depend on',
    ],
  ],
  [
    'a file and with it a pair that is too long',
    withLine(`${seek}/src/seek.ts`, '//\n'.repeat(800)),
    [`${seek}/src/seek.ts: 805 lines, at most 400`, 'linux-seek: 810 lines, at most 800'],
  ],
  [
    'an addon that is too long',
    { 'packages/linux-uring/src/uring.cc': '//\n'.repeat(401) },
    ['packages/linux-uring/src/uring.cc: 401 lines, at most 400'],
  ],
  [
    'a pair of three files',
    { [`${seek}/src/write.ts`]: 'const fd = 1\n' },
    ['linux-seek: 3 files, at most 2'],
  ],
  [
    'a question for the system, and one in a comment',
    {
      ...withLine(`${seek}/src/read.ts`, 'const isLinux = process.platform === "linux"'),
      ...withLine(`${seek}/src/seek.ts`, '// process.platform'),
    },
    [`${seek}/src/read.ts asks which system this is`],
  ],
  [
    'an export of a file that nobody uses, and of a floor’s module that no pair uses',
    {
      ...withLine(`${seek}/src/read.ts`, 'export const readBytes = 4096'),
      ...withLine('packages/linux-uring/src/ring.ts', 'export interface Stats {}'),
    },
    [
      'packages/linux-uring/src/ring.ts exports Stats for nobody',
      `${seek}/src/read.ts exports readBytes for nobody`,
    ].sort(),
  ],
  [
    'a module that is exported to no package',
    withManifest('linux-seek', { exports: { '.': './dist/seek.js', './read': './dist/read.js' } }),
    ['linux-seek exports ./read, which no package imports'],
  ],
  [
    'a dependency that nobody imports',
    withManifest('priority', { dependencies: { '@kiruna/fs-mmap': 'workspace:^' } }),
    ['priority depends on fs-mmap, which it does not import'],
  ],
  [
    'a dependency that may be missing',
    withManifest('linux-uring', {
      dependencies: {},
      optionalDependencies: { '@kiruna/priority': 'workspace:^' },
    }),
    ['linux-uring cannot do without priority, an optional dependency'],
  ],
  [
    'a manifest of its own kind',
    withManifest('priority', { engines: { node: '>=18' }, os: ['linux'], keywords: [] }),
    [
      'priority: engines is not {"node":"^20.19 || ^22.12 || >=24"}',
      'priority: os is not undefined',
      'priority has no keywords',
    ],
  ],
  [
    'files that are missing',
    {
      ...withManifest('linux-seek', { exports: { '.': './dist/seek.js', './write': './dist/write.js' } }),
      'packages/priority/LICENSE': undefined,
    },
    [
      'linux-seek exports ./write, which no package imports',
      'linux-seek has no source of its export ./write',
      'priority has no LICENSE',
    ],
  ],
  [
    'a test among the sources',
    { 'packages/priority/src/lane.test.ts': 'const x = 1\n' },
    ['packages/priority/src/lane.test.ts would be published: tests lie in test/'],
  ],
  [
    'a README without a source',
    { [`${seek}/README.md`]: '' },
    [`${seek}/README.md shows no piece of its source`],
  ],
  [
    'a text that shows a source otherwise than it is',
    { 'docs/a-read.md': `[It](../${seek}/src/read.ts)\n\n\`\`\`ts\nexport function write\n\`\`\`\n` },
    [`docs/a-read.md shows ../${seek}/src/read.ts otherwise than it is`],
  ],
])('finds %s', (_, changes, faults) => {
  expect(faultsWith(changes).sort()).toEqual(faults.sort())
})
