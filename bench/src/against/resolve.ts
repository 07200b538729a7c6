// node --import resolve.ts: what our benches import of Kiruna comes from the build in the folder that KIRUNA_BUILD names.
import { registerHooks } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const benches = new URL('..', import.meta.url).href
/** There the same packages are to be had as here. */
const parentURL = pathToFileURL(join(process.env.KIRUNA_BUILD!, 'bench/src/main.ts')).href

registerHooks({
  resolve: (specifier, context, next) =>
    specifier.startsWith('@kiruna/') && context.parentURL?.startsWith(benches)
      ? next(specifier, { ...context, parentURL })
      : next(specifier, context),
})
