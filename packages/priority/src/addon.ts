import { coded } from './error.ts'

/**
 * A package's addon: as it is built here, else as prebuildify has named it for this system. On Linux both C libraries'
 * addons are tried: the wrong one does not load.
 * @param require of a file that lies one folder below the package's own
 * @param name the addon's, without `.node`
 * @param calls what it calls of libuv, and neither Bun nor Deno has: a missing function would end the process
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

/** An Error with code ERR_KIRUNA_UNAVAILABLE: what a package is for cannot be had here. */
export function unavailable(reason: string): Error {
  return coded(Error, 'ERR_KIRUNA_UNAVAILABLE', reason)
}
