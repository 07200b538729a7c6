import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { configDefaults, defineConfig } from 'vitest/config'

const skipped = [whyNoUring(), whyNoDispatch(), whyNoMmap()].filter(one => one !== undefined)
for (const { folders, reason } of skipped) console.warn(`skipped: ${folders}: ${reason}`)

export default defineConfig({
  test: {
    include: ['{packages,examples}/*/test/**/*.test.ts', 'contract/src/**/*.test.ts'],
    exclude: [...configDefaults.exclude, ...skipped.map(({ folders }) => `${folders}/**`)],
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
  folders: string
  reason: string
}

/** Where io_uring cannot be had, the tests of Linux's own packages cannot run. In CI it has to be had: there they fail. */
function whyNoUring(): Skipped | undefined {
  const check = (require: NodeJS.Require) => (require('@kiruna/linux-seek') as Checked).check()
  return whyNot('packages/linux-*', check, process.platform === 'linux')
}

/** And so with Grand Central Dispatch. `npm run test:dispatch` has it on Linux. */
function whyNoDispatch(): Skipped | undefined {
  const check = (require: NodeJS.Require) => (require('@kiruna/darwin-seek') as Checked).check()
  return whyNot('packages/darwin-*', check, process.platform === 'darwin')
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

interface Checked {
  check(): void
}

function whyNot(
  folders: string,
  load: (require: NodeJS.Require) => void,
  mustBeThereInCI: boolean,
): Skipped | undefined {
  if (process.env.CI && mustBeThereInCI) return undefined
  try {
    load(createRequire(new URL('contract/', import.meta.url)))
    return undefined
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    return code === 'ERR_KIRUNA_UNAVAILABLE' ? { folders, reason: message } : undefined
  }
}

function unavailable(message: string): Error {
  return Object.assign(new Error(message), { code: 'ERR_KIRUNA_UNAVAILABLE' })
}
