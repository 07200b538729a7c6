import { coded } from './error.ts'

/**
 * Loads a package's addon: the one built here, else the one that prebuildify has named for this system. On Linux the
 * addons of both C libraries are tried: the wrong one does not load.
 * @param require of a file one folder below the package's root
 * @param name the addon's, without `.node`
 * @param calls a function of libuv that the addon calls, and that Bun and Deno lack: the call would end the process
 * @throws Error ERR_KIRUNA_UNAVAILABLE with the reason
 */
export function loadAddon<Addon>(require: NodeJS.Require, name: string, calls: string): Addon {
  if (process.versions.bun !== undefined) throw unavailable(`Bun has no ${calls}`)
  if (process.versions.deno !== undefined) throw unavailable(`Deno has no ${calls}`)
  const prebuilt = `../prebuilds/${process.platform}-${process.arch}/${name}`
  const refused: string[] = []
  for (const file of [`../build/Release/${name}`, prebuilt, `${prebuilt}.glibc`, `${prebuilt}.musl`]) {
    try {
      return require(`${file}.node`) as Addon
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      if (code !== 'MODULE_NOT_FOUND') refused.push(message.split('\n')[0]!)
    }
  }
  if (refused.length > 0) throw unavailable(`the addon could not be loaded (${refused.join('; ')})`)
  const { name: owner } = require('../package.json') as { name: string }
  throw unavailable(`${owner} has no addon for ${process.platform} on ${process.arch}`)
}

/** An Error with code ERR_KIRUNA_UNAVAILABLE: the package does not work here. */
export function unavailable(reason: string): Error {
  return coded(Error, 'ERR_KIRUNA_UNAVAILABLE', reason)
}
