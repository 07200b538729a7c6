import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { configDefaults, defineConfig } from 'vitest/config'

const skipped = [whyNoUring(), whyNoDispatch(), whyNoMmap()].filter(one => one !== undefined)
for (const { folder, reason } of skipped) console.warn(`skipped: ${folder}: ${reason}`)

export default defineConfig({
  test: {
    include: ['packages/*/src/**/*.test.ts', 'contract/**/*.test.ts', 'examples/**/*.test.ts'],
    exclude: [...configDefaults.exclude, ...skipped.map(({ folder }) => `${folder}/**`)],
    // Processes, not threads: tests change the working directory, raise signals and load native addons.
    pool: 'forks',
    // It does not see when a package exports another file.
    fsModuleCache: false,
    // Tests of buffers that nothing else references call gc().
    execArgv: ['--expose-gc'],
    testTimeout: 20_000,
    hookTimeout: 20_000,
  },
})

interface Skipped {
  folder: string
  reason: string
}

/** Where io_uring cannot be had, linux-uring's own tests cannot run. In CI it has to be had: there they fail. */
function whyNoUring(): Skipped | undefined {
  const folder = 'packages/linux-uring'
  return whyNot(
    folder,
    require => (require('@kiruna/linux-uring/uring') as { ring(): unknown }).ring(),
    process.platform === 'linux',
  )
}

/** And so with Grand Central Dispatch. `npm run test:dispatch` has it on Linux. */
function whyNoDispatch(): Skipped | undefined {
  const folder = 'packages/darwin-dispatch'
  return whyNot(
    folder,
    require => (require('@kiruna/darwin-dispatch/dispatch') as { dispatcher(): unknown }).dispatcher(),
    process.platform === 'darwin',
  )
}

/** Nor fs-mmap's without its addon. */
function whyNoMmap(): Skipped | undefined {
  const folder = 'packages/fs-mmap'
  const isLinux = process.platform === 'linux'
  const look = () => {
    if (!isLinux) throw unavailable('its tests look into /proc')
    const built = existsSync(new URL(`${folder}/build/Release/mmap.node`, import.meta.url))
    if (!built) throw unavailable('the addon is not built')
  }
  return whyNot(folder, look, isLinux)
}

function whyNot(
  folder: string,
  load: (require: NodeJS.Require) => void,
  mustBeThereInCI: boolean,
): Skipped | undefined {
  if (process.env.CI && mustBeThereInCI) return undefined
  try {
    load(createRequire(new URL(`${folder}/`, import.meta.url)))
    return undefined
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    return code === 'ERR_KIRUNA_UNAVAILABLE' ? { folder, reason: message } : undefined
  }
}

function unavailable(message: string): Error {
  return Object.assign(new Error(message), { code: 'ERR_KIRUNA_UNAVAILABLE' })
}
