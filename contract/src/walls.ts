import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { entriesOf, type House, type Import, json, packageOf, withoutScope } from './house.ts'

const floors: Record<string, string> = {
  linux: 'linux-uring',
  darwin: 'darwin-dispatch',
  win: 'win-iocp',
  node: 'node-libuv',
}
const personalities = { seek: 'fs-seek', stream: 'fs-stream', socket: 'net-socket' }

/** Who may import whom. Whoever is not in it has no place in the house. */
const mayImport: Record<string, string[]> = {
  priority: [],
  'fs-mmap': ['priority'],
  core: ['priority', 'fs-mmap', ...Object.values(personalities)],
}
/** What core does without, where it is not for this system. */
const mayBeMissing = ['fs-mmap']
for (const name of [...Object.values(floors), ...Object.values(personalities)]) mayImport[name] = ['priority']
for (const [row, floor] of Object.entries(floors)) {
  for (const [column, personality] of Object.entries(personalities)) {
    const pair = `${row}-${column}`
    mayImport[pair] = ['priority', floor, personality, 'node-libuv']
    mayImport.core!.push(pair)
    if (row !== 'node') mayBeMissing.push(pair)
  }
}
// Its addon is its own: the whole process shares GCD, so that there is no floor to share.
mayImport['darwin-socket'] = ['priority', 'net-socket']

/** Faults that stay, by how they begin, each with its reason. */
export const exceptions: Record<string, string> = {
  'win-socket imports node-socket': 'a named pipe is node:net’s',
  'packages/darwin-dispatch/src/dispatch.ts exports Dispatcher':
    'DispatchOperation has one, and its declaration names it',
}

/** In lines of TypeScript; whatever is in none of them is bounded by its files alone. */
const sizes: { of: RegExp; lines: number; files?: number }[] = [
  { of: /^(linux|darwin|win|node)-(seek|stream)$/, lines: 800, files: 2 },
  { of: /^(linux|darwin|win|node)-socket$/, lines: 1300 },
  { of: /^(linux-uring|darwin-dispatch|win-iocp|node-libuv)$/, lines: 1300, files: 5 },
  { of: /^net-socket$/, lines: 2750 },
  { of: /^fs-(seek|stream)$/, lines: 1600 },
  { of: /^fs-mmap$/, lines: 2300 },
  { of: /^priority$/, lines: 1900 },
  { of: /^core$/, lines: 4000 },
]
const mostLinesOfFile = 400

/** The only ones that ask which system this is. */
const mayAskForSystem = [
  'packages/priority/src/system.ts',
  'packages/priority/src/addon.ts',
  'packages/core/src/select.ts',
]

/** Imports that the one rule does not allow, and packages that it does not know. */
export function edges({ packages, sources }: House): string[] {
  const unknown = packages.filter(({ name }) => !Object.hasOwn(mayImport, name))
  const forbidden = [...sources.values()].flatMap(({ path, owner, imports }) =>
    imports
      .map(({ specifier }) => packageOf(specifier))
      .filter(name => name !== undefined && name !== owner && !mayImport[owner]?.includes(name))
      .map(name => `${owner} imports ${name}: ${path}`),
  )
  return unique([...unknown.map(({ name }) => `${name} has no place in the house`), ...forbidden])
}

/** The shortest circle of imports through each file, once. A type's import counts too. */
export function circles({ sources }: House): string[] {
  const found = new Map<string, string>()
  for (const start of sources.keys()) {
    const cameFrom = new Map<string, string>()
    for (const queue = [start]; queue.length > 0; ) {
      const path = queue.shift()!
      for (const { path: next } of sources.get(path)!.imports) {
        if (next === undefined || cameFrom.has(next)) continue
        cameFrom.set(next, path)
        queue.push(next)
      }
    }
    if (!cameFrom.has(start)) continue
    const circle = [start]
    for (let path = cameFrom.get(start)!; path !== start; path = cameFrom.get(path)!) circle.unshift(path)
    found.set(circle.toSorted().join(), `a circle: ${[start, ...circle].join(' → ')}`)
  }
  return [...found.values()]
}

/** Files and packages that are too long to be read at one sitting. */
export function tooLong({ packages, sources }: House): string[] {
  const files = [...sources.values()].filter(({ lines }) => lines > mostLinesOfFile)
  const faults = files.map(({ path, lines }) => `${path}: ${lines} lines, at most ${mostLinesOfFile}`)
  for (const { name } of packages) {
    const most = sizes.find(({ of }) => of.test(name))
    if (most === undefined) continue
    const own = [...sources.values()].filter(({ path, owner }) => owner === name && path.endsWith('.ts'))
    const lines = own.reduce((sum, source) => sum + source.lines, 0)
    if (lines > most.lines) faults.push(`${name}: ${lines} lines, at most ${most.lines}`)
    if (own.length > (most.files ?? own.length))
      faults.push(`${name}: ${own.length} files, at most ${most.files}`)
  }
  return faults
}

/** Who asks which system this is, beside those that choose. */
export function systemQuestions({ sources }: House): string[] {
  const question = /process\.platform|^import [^']*\bplatform\b[^']* from 'node:(?:os|process)'/m
  const who = [...sources.values()].filter(({ code }) => question.test(code)).map(({ path }) => path)
  return who.filter(path => !mayAskForSystem.includes(path)).map(path => `${path} asks which system this is`)
}

/**
 * What is exported and used by no other file, nor by a test that reaches for it. What users import may stay: the main
 * modules of pairs, personalities, fs-mmap and priority, and all of core's.
 */
export function deadExports({ packages, sources, tests }: House): string[] {
  const used = new Set<string>()
  const use = ({ path, names }: Import) => {
    for (const name of names) used.add(`${path} ${name}`)
  }
  for (const { imports } of sources.values()) imports.forEach(use)
  for (const { imports } of tests) imports.filter(({ specifier }) => specifier.startsWith('.')).forEach(use)
  const isPublic = new Set<string>()
  const faults: string[] = []
  for (const { name, manifest } of packages) {
    for (const [subpath, path] of entriesOf(name, manifest)) {
      const isForUsers = subpath === '.' && !Object.values(floors).includes(name)
      const users = [...sources.values()].filter(({ imports }) => imports.some(one => one.path === path))
      if (isForUsers || name === 'core') isPublic.add(path)
      else if (path.endsWith('.ts') && users.every(({ owner }) => owner === name))
        faults.push(`${name} exports ${subpath}, which no package imports`)
    }
  }
  for (const { path, exports } of sources.values()) {
    if (isPublic.has(path) || used.has(`${path} *`)) continue
    const dead = exports.filter(name => !used.has(`${path} ${name}`))
    faults.push(...dead.map(name => `${path} exports ${name} for nobody`))
  }
  return faults
}

/** Dependencies that are not what the sources import. */
export function dependencies({ packages, sources }: House): string[] {
  return packages.flatMap(({ name, manifest }) => {
    const of = [...sources.values()].filter(({ owner }) => owner === name)
    const imported = unique(
      of.flatMap(({ imports }) => imports.map(({ specifier }) => packageOf(specifier) ?? name)),
    )
    const optional = Object.keys(manifest.optionalDependencies ?? {}).map(withoutScope)
    const declared = [...Object.keys(manifest.dependencies ?? {}).map(withoutScope), ...optional]
    const missing = name === 'core' ? mayBeMissing : []
    return [
      ...imported
        .filter(one => one !== name && !declared.includes(one))
        .map(one => `${name} imports ${one}, which it does not depend on`),
      ...declared
        .filter(one => !imported.includes(one))
        .map(one => `${name} depends on ${one}, which it does not import`),
      ...optional
        .filter(one => !missing.includes(one))
        .map(one => `${name} cannot do without ${one}, an optional dependency`),
      ...missing
        .filter(one => !optional.includes(one))
        .map(one => `${name} can do without ${one}, which is no optional dependency`),
    ]
  })
}

/** Fields of manifests that are not as they are everywhere, and what a manifest names and is not there. */
export function manifests({ root, packages, sources }: House): string[] {
  const address = 'https://github.com/kiruna-js/kiruna'
  const faults = packages.flatMap(({ name, manifest }) => {
    const folder = join(root, 'packages', name)
    const wanted = {
      name: `@kiruna/${name}`,
      license: 'MIT',
      type: 'module',
      engines: { node: '^20.19 || ^22.12 || >=24' },
      os: undefined,
      homepage: `${address}/tree/main/packages/${name}#readme`,
      bugs: `${address}/issues`,
      repository: { type: 'git', url: `git+${address}.git`, directory: `packages/${name}` },
      files: [
        'dist',
        ...(name === 'priority' ? ['include'] : []),
        'src',
        ...(manifest.addonOs ? ['prebuilds'] : []),
      ],
    }
    const wrong = Object.entries(wanted).filter(
      ([field, value]) => JSON.stringify(manifest[field]) !== JSON.stringify(value),
    )
    const missing = [
      ...['description', 'keywords'].filter(field => !(manifest[field] as string | undefined)?.length),
      ...['LICENSE', 'README.md'].filter(file => !existsSync(join(folder, file))),
      ...entriesOf(name, manifest)
        .filter(([, path]) => !existsSync(join(root, path)))
        .map(([subpath]) => `source of its export ${subpath}`),
    ]
    return [
      ...wrong.map(([field, value]) => `${name}: ${field} is not ${JSON.stringify(value)}`),
      ...missing.map(one => `${name} has no ${one}`),
    ]
  })
  const tests = [...sources.keys()].filter(path => /[./-]test(?:-support)?\.ts$/.test(path))
  if (json(join(root, 'package.json')).name !== 'kiruna-workspace')
    faults.push('the root is not kiruna-workspace')
  return [...faults, ...tests.map(path => `${path} would be published: tests lie in test/`)]
}

/** Texts that show a source otherwise than it is, and packages whose README shows none. */
export function excerpts({ root, packages }: House): string[] {
  /** A paragraph that links to a source, and the code behind it. */
  const excerpt = /\]\(((?:[\w.-]+\/)*src\/[\w./-]+)\)(?:(?!\n\n).)*\n\n```(?:ts|cpp)\n(.*?)```/gs
  const withoutIndent = (code: string) => code.replace(/^ +/gm, '').trim()
  const faults: string[] = []
  for (const text of globSync(['*.md', 'docs/**/*.md', 'packages/*/README.md'], { cwd: root }).sort()) {
    const shown = [...readFileSync(join(root, text), 'utf8').matchAll(excerpt)]
    const isReadme = packages.some(({ name }) => text === join('packages', name, 'README.md'))
    if (isReadme && shown.length === 0) faults.push(`${text} shows no piece of its source`)
    for (const [, link, code] of shown) {
      const path = join(root, dirname(text), link!)
      const isThere =
        existsSync(path) && withoutIndent(readFileSync(path, 'utf8')).includes(withoutIndent(code!))
      if (!isThere) faults.push(`${text} shows ${link} otherwise than it is`)
    }
  }
  return faults
}

function unique(values: string[]): string[] {
  return [...new Set(values)]
}
