import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** What the packages' sources and manifests say, read once; nothing of it is run. */
export interface House {
  root: string
  packages: Package[]
  /** By their paths from the root. */
  sources: Map<string, Source>
  /** They use what the packages export. */
  tests: Source[]
}

export interface Package {
  name: string
  manifest: Manifest
}

interface Manifest {
  exports: Record<string, string | { default: string }>
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
  [field: string]: unknown
}

interface Source {
  path: string
  /** The package that it is of. */
  owner: string
  /** Without its comments. */
  code: string
  lines: number
  imports: Import[]
  exports: string[]
}

export interface Import {
  specifier: string
  /** The source that it leads to, if that is in the house. */
  path?: string
  /** '*' is all of them. */
  names: string[]
}

/** @param root the folder that `packages` lies in */
export function readHouse(root: string): House {
  const packages = readdirSync(join(root, 'packages'))
    .filter(name => existsSync(join(root, 'packages', name, 'package.json')))
    .map(name => ({ name, manifest: json(join(root, 'packages', name, 'package.json')) as Manifest }))
  const read = (pattern: string) =>
    globSync(pattern, { cwd: root })
      .map(path => readSource(root, path.replaceAll('\\', '/')))
      .sort((a, b) => (a.path < b.path ? -1 : 1))
  const sources = new Map(read('packages/*/src/**/*.{ts,cc,h}').map(source => [source.path, source]))
  const tests = read('packages/*/test/**/*.ts')
  for (const { path, imports } of [...sources.values(), ...tests]) {
    for (const one of imports) {
      const to = leadsTo(packages, path, one.specifier)
      if (to !== undefined && sources.has(to)) one.path = to
    }
  }
  return { root, packages, sources, tests }
}

function readSource(root: string, path: string): Source {
  const text = readFileSync(join(root, path), 'utf8')
  const code = withoutComments(text)
  const isTypeScript = path.endsWith('.ts')
  return {
    path,
    owner: path.split('/')[1]!,
    code,
    lines: text.split('\n').length - 1,
    imports: isTypeScript ? importsOf(code) : [],
    exports: isTypeScript ? exportsOf(code) : [],
  }
}

/** The package of a specifier, ours without the scope. undefined: it is the same package's file, or Node's own. */
export function packageOf(specifier: string): string | undefined {
  if (/^(?:\.|node:)/.test(specifier)) return undefined
  return withoutScope(/^(?:@[^/]+\/)?[^/]+/.exec(specifier)![0])
}

/** What its `exports` name, and the source of each. */
export function entriesOf(name: string, { exports }: Manifest): [subpath: string, path: string][] {
  const entries = Object.entries(exports).filter(([subpath]) => subpath !== './package.json')
  return entries.map(([subpath, to]) => {
    return [subpath, sourceOf(join('packages', name, typeof to === 'string' ? to : to.default))]
  })
}

export function withoutScope(name: string): string {
  return name.replace('@kiruna/', '')
}

export function json(path: string): Record<string, unknown> {
  return JSON.parse(readFileSync(path, 'utf8'))
}

function leadsTo(packages: Package[], from: string, specifier: string): string | undefined {
  if (specifier.startsWith('.')) return sourceOf(join(dirname(from), specifier))
  const to = packages.find(({ name }) => name === packageOf(specifier))
  const subpath = `.${specifier.slice(`@kiruna/${to?.name}`.length)}`
  return to && new Map(entriesOf(to.name, to.manifest)).get(subpath)
}

/** What is built lies in dist. */
function sourceOf(path: string): string {
  return path.replaceAll('\\', '/').replace(/\/dist\/(.*)\.js$/, '/src/$1.ts')
}

function withoutComments(text: string): string {
  const token = /('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)|\/\/[^\n]*|\/\*.*?\*\//gs
  return text.replace(token, (_, literal?: string) => literal ?? '')
}

function importsOf(code: string): Import[] {
  const statement = /^(?:import|export) (?:type )?([\w$, ]*(?:\{[^}]*\}|\*(?: as \w+)?)?) from '([^']+)'/gm
  const statements = [...code.matchAll(statement)]
  const calls = [...code.matchAll(/\b(?:import|require)\('([^']+)'/g)]
  const forEffect = [...code.matchAll(/^import '([^']+)'/gm)]
  return [
    ...statements.map(([, clause, specifier]) => ({ specifier: specifier!, names: namesOf(clause!, code) })),
    ...calls.map(([, specifier]) => ({ specifier: specifier!, names: ['*'] })),
    ...forEffect.map(([, specifier]) => ({ specifier: specifier!, names: [] })),
  ]
}

/** Of `{ a, type b as c }`: a and b; of a namespace the members that are used. */
function namesOf(clause: string, code: string): string[] {
  const namespace = /^\* as (\w+)/.exec(clause)?.[1]
  if (namespace !== undefined)
    return [...code.matchAll(new RegExp(`\\b${namespace}\\.(\\w+)`, 'g'))].map(([, name]) => name!)
  if (clause.startsWith('*')) return ['*']
  const listed = clause.replace(/^.*?\{/s, '').matchAll(/(?:type )?([\w$]+)(?: as [\w$]+)?/g)
  return [...listed].map(([, name]) => name!)
}

function exportsOf(code: string): string[] {
  const declaration =
    /^export (?:declare |abstract |async )*(?:class|interface|type|enum|function\*?|const|let) ([\w$]+)/gm
  const lists = [...code.matchAll(/^export (?:type |const )?\{([^}]*)\}/gm)]
  return [
    ...[...code.matchAll(declaration)].map(([, name]) => name!),
    ...lists.flatMap(([, list]) => [...list!.matchAll(/([\w$]+)(?=\s*(?:,|$))/g)].map(([, name]) => name!)),
  ]
}
