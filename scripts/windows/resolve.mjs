// Under wine, pnpm's symbolic links are ordinary folders. So each of our own packages would be another one for everybody
// who imports it; and what a package of somebody else's imports is looked for in vain beside the link. pnpm has all of them
// in one folder as well.
import { registerHooks } from 'node:module'

const all = new URL('../../node_modules/.pnpm/x.js', import.meta.url).href

registerHooks({
  resolve(specifier, context, next) {
    try {
      const found = next(specifier, context)
      return { ...found, url: found.url.replace(/\/packages\/.*\/node_modules\/@kiruna\//, '/packages/') }
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ERR_MODULE_NOT_FOUND') throw error
      return next(specifier, { ...context, parentURL: all })
    }
  },
})
