// How an addon is compiled: as its package's binding.gyp says, for node-gyp and for everybody else who compiles it.
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * @typedef {object} Addon
 * @property {string} folder of its package
 * @property {string} file its name
 * @property {string[]} sources absolute, as all paths here
 * @property {string[]} flags for the compiler: language, definitions, headers
 * @property {string[]} libraries
 */

/** @typedef {'darwin' | 'linux' | 'win32'} System */
/** @typedef {Record<string, string[]>} Lists */
/** @typedef {Lists & { conditions?: [string, Lists, Lists?][] }} Target */

export const root = fileURLToPath(new URL('..', import.meta.url))

/** Which packages have an addon for a system. @param {string} system */
export function packagesWithAddon(system) {
  return readdirSync(join(root, 'packages')).filter(name => {
    const manifest = JSON.parse(readFileSync(join(root, 'packages', name, 'package.json'), 'utf8'))
    return manifest.addonOs?.includes(system)
  })
}

/**
 * @param {string} name of a package
 * @param {System} system for which it is compiled
 * @returns {Addon}
 */
export function addon(name, system) {
  const folder = join(root, 'packages', name)
  const { target_name, ...target } = targetOf(join(folder, 'binding.gyp'), system)
  const list = (/** @type {string} */ key) => target[key] ?? []
  return {
    folder,
    file: `${target_name}.node`,
    sources: list('sources').map(source => join(folder, source)),
    flags: [
      ...['-std=c++20', '-fno-exceptions', '-fno-rtti', '-fvisibility=hidden', '-Wall', '-Wextra', '-Werror'],
      ...list('defines').map(define => `-D${define}`),
      ...[nodeHeaders(), ...list('include_dirs').map(include => join(folder, include))].map(
        path => `-I${path}`,
      ),
    ],
    libraries: list('libraries'),
  }
}

/** Those of the Node that the workspace has installed: they are the same for every system. */
export function nodeHeaders() {
  const installed = join(root, 'node_modules/.bin/node')
  const node = realpathSync(existsSync(installed) ? installed : process.execPath)
  const headers = join(dirname(dirname(node)), 'include/node')
  if (existsSync(join(headers, 'node_api.h'))) return headers
  throw new Error(`${node} has no headers`)
}

/**
 * A binding.gyp is JSON with comments and commas at the ends of lists.
 * @param {string} file
 * @param {System} system
 * @returns {Lists}
 */
function targetOf(file, system) {
  const json = readFileSync(file, 'utf8')
    .replace(/^\s*#.*$/gm, '')
    .replace(/,(?=\s*[\]}])/g, '')
  const { conditions = [], ...target } = /** @type {{ targets: [Target] }} */ (JSON.parse(json)).targets[0]
  const os = { darwin: 'mac', linux: 'linux', win32: 'win' }[system]
  for (const [condition, then, otherwise = {}] of conditions) {
    const chosen = condition === `OS=='${os}'` ? then : otherwise
    for (const [key, more] of Object.entries(chosen)) target[key] = [...(target[key] ?? []), ...more]
  }
  return target
}
