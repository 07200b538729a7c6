import { createRequire } from 'node:module'
import { configDefaults, defineConfig } from 'vitest/config'

const missing = whyNoUring()
if (missing !== undefined) console.warn(`skipped: packages/linux-uring: ${missing}`)

export default defineConfig({
  test: {
    include: ['packages/*/src/**/*.test.ts', 'contract/**/*.test.ts', 'examples/**/*.test.ts'],
    exclude: [...configDefaults.exclude, ...(missing === undefined ? [] : ['packages/linux-uring/**'])],
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

/** Where io_uring cannot be had, linux-uring's own tests cannot run. In CI it has to be had: there they fail. */
function whyNoUring(): string | undefined {
  if (process.env.CI) return undefined
  const require = createRequire(new URL('packages/linux-uring/', import.meta.url))
  try {
    ;(require('@kiruna/linux-uring/uring') as { ring(): unknown }).ring()
    return undefined
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    return code === 'ERR_KIRUNA_UNAVAILABLE' ? message : undefined
  }
}
