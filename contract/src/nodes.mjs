// @ts-nocheck: it runs as it is on the oldest Node.js, which strips no types.
// For `npm run test:nodes`: what has to be the same on every version of Node.js, as a user would write it. It prints
// `right`, or what is wrong.
import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mock } from 'node:test'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'

const of = name => import(new URL(`../../packages/core/dist/${name}.js`, import.meta.url).href)
const { every, spawn } = await of('default-scheduler')
const { implementation, seek, stream } = await of('io')
const { map } = await of('mmap')
const { bind, connect, listen } = await of('net')
const { scheduler } = await of('web')

const folder = mkdtempSync(join(tmpdir(), 'kiruna-nodes-'))
const file = (name, content = '') => {
  writeFileSync(join(folder, name), content)
  return join(folder, name)
}
const rejection = promise =>
  promise.then(
    () => assert.fail('it resolved'),
    error => error,
  )

const checks = {
  async 'an error names who awaits it'() {
    async function loadsConfig() {
      return await seek.readAll(join(folder, 'missing'), 'user-visible')
    }
    const { stack, code } = await rejection(loadsConfig())
    assert.equal(code, 'ENOENT')
    assert.match(stack, /loadsConfig/)
  },
  async 'an abort arrives whatever others do with the event'() {
    const controller = new AbortController()
    controller.signal.addEventListener('abort', event => event.stopImmediatePropagation())
    const task = spawn('background', scope => scope.sleep(1e6), { signal: controller.signal })
    await turn()
    controller.abort('why')
    assert.equal(await rejection(task), 'why')
  },
  async 'a chain of tasks is longer than the stack'() {
    let left = 20_000
    const next = async scope => {
      if (--left > 0) scope.spawn(next)
      await scope.sleep(1e6)
    }
    const root = spawn('background', next)
    while (left > 0) await turn()
    root.priority = 'user-visible'
    root.pause()[Symbol.dispose]()
    root.cancel('enough')
    assert.equal(await rejection(root), 'enough')
  },
  async 'each callback has its own context'() {
    const context = new AsyncLocalStorage()
    const seen = []
    await Promise.all(
      ['a', 'b'].map(who =>
        context.run(who, async () => {
          await scheduler.postTask(() => seen.push(who + context.getStore()))
          await new Promise(resolve => {
            const ticker = every(1, () => {
              ticker.stop()
              seen.push(who + context.getStore())
              resolve()
            })
          })
        }),
      ),
    )
    assert.deepEqual(seen.sort(), ['aa', 'aa', 'bb', 'bb'])
  },
  async 'fake timers hold up nothing'() {
    mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'setImmediate'] })
    const read = seek.readAll(file('timers', 'x'), 'background')
    const task = spawn('background', () => 1)
    assert.deepEqual([String(await read), await task], ['x', 1])
    mock.timers.reset()
    assert.equal(await spawn('background', () => 2), 2)
  },
  async 'the newest save stays, and keeps the mode'() {
    const path = file('saved', 'old')
    const saves = [
      seek.writeAll(path, Buffer.alloc(1 << 20), 'background'),
      seek.writeAll(path, 'newest', 'user-blocking'),
    ]
    await Promise.all(saves)
    assert.equal(readFileSync(path, 'latin1'), 'newest')
    assert.equal(statSync(path).mode & 0o777, 0o644)
  },
  async 'options are those that were given'() {
    const path = file('options', 'content')
    Object.prototype.flags = 'w'
    try {
      await (await seek.open(path, 'user-visible')).close()
    } finally {
      delete Object.prototype.flags
    }
    assert.equal(readFileSync(path, 'latin1'), 'content')
  },
  async 'a shared position is the kernel’s'() {
    const path = join(folder, 'shared')
    const fd = openSync(path, 'w')
    const out = stream.write(fd, 'background')
    for (let i = 0; i < 20; i++) {
      const line = out.write('k'.repeat(99_999) + '\n')
      writeSync(fd, 'log\n')
      await line
    }
    await out.end()
    closeSync(fd)
    const lines = readFileSync(path, 'latin1').split('\n')
    assert.equal(lines.filter(line => line === 'k'.repeat(99_999)).length, 20)
    assert.equal(lines.filter(line => line === 'log').length, 20)
  },
  async 'bytes that are taken away are not half written'() {
    const out = stream.write(join(folder, 'half'), 'user-visible')
    const bytes = new Uint8Array(50_000)
    const writes = [out.write(new Uint8Array(100_000)), out.write(bytes)]
    structuredClone(bytes, { transfer: [bytes.buffer] })
    await writes[0]
    assert.equal((await rejection(writes[1])).code, 'ERR_INVALID_STATE')
  },
  async 'mapped views can be written'() {
    const mapping = await map(file('mapped', Buffer.alloc(300_000, 5)), 'user-visible')
    const pin = mapping.pin()
    await seek.writeAll(join(folder, 'copy'), mapping.view(1000, 5000), 'user-visible')
    pin[Symbol.dispose]()
    await mapping.close()
    assert.equal(statSync(join(folder, 'copy')).size, 5000)
  },
  async 'a caller at fault costs its own call'() {
    const throws = () => {
      throw new Error('mine')
    }
    const path = file('caller', Buffer.alloc(300_000))
    const opened = await seek.open(path, 'user-visible')
    const reads = Array.from({ length: 30 }, (_, i) =>
      opened.read(
        Buffer.alloc(300_000),
        0,
        i % 10 === 5 ? { priority: 'background', onPriorityChange: () => throws } : 'background',
      ),
    )
    const outcomes = await Promise.allSettled(reads)
    assert.ok(outcomes.filter(({ status }) => status === 'fulfilled').length >= 27)
    await opened.close()
  },
  async 'received bytes are their reader’s alone, and listeners that throw are uncaught'() {
    const listener = await listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
    const loop = listener[Symbol.asyncIterator]()
    const client = net.connect(listener.address.port, '127.0.0.1')
    const { value: one } = await loop.next()
    const other = await connect({ port: listener.address.port, host: '127.0.0.1' }, 'user-visible')
    const { value: another } = await loop.next()
    client.write('mine')
    await other.write('theirs')
    const [mine, theirs] = [await one.read(), await another.read()]
    structuredClone(mine, { transfer: [mine.buffer] })
    assert.equal(String(theirs), 'theirs')
    const uncaught = new Promise(resolve => process.once('uncaughtException', (_, origin) => resolve(origin)))
    const duplex = one.toDuplex()
    const got = new Promise(resolve => {
      duplex.on('data', bytes => {
        if (String(bytes) === 'bad') throw new Error('bad message')
        resolve(String(bytes))
      })
    })
    client.write('bad')
    assert.equal(await uncaught, 'uncaughtException')
    client.write('good')
    assert.equal(await got, 'good')
    duplex.destroy()
    client.destroy()
    await Promise.all([other.close(), another.close(), listener.close()])
  },
  async 'a datagram for the other family is EINVAL'() {
    const socket = await bind({ port: 0, host: '127.0.0.1' }, 'user-visible')
    const to = { port: socket.localAddress.port, host: '2001:db8::1' }
    assert.equal((await rejection(socket.send('secret', to))).code, 'EINVAL')
    await socket.close()
  },
  async 'an access list gives nobody rights'() {
    const path = file('list', 'secret')
    chmodSync(path, 0o600)
    const acl = spawnSync('setfacl', ['-m', 'u:nobody:r', path])
    if (acl.status !== 0) return console.log('skipped: there is no setfacl')
    await seek.writeAll(path, 'new secret', 'user-visible')
    const { stdout } = spawnSync('getfacl', ['-cpE', path], { encoding: 'utf8' })
    assert.match(stdout, /^group::---$/m)
  },
  async 'Node’s permissions are asked'() {
    const flag = ['--permission', '--experimental-permission'].find(one =>
      process.allowedNodeEnvironmentFlags.has(one),
    )
    const root = new URL('../../', import.meta.url).pathname
    const text = `import(${JSON.stringify(new URL('../../packages/core/dist/io.js', import.meta.url).href)}).then(
      ({ seek }) => seek.readAll(${JSON.stringify(file('closed', 'x'))}, 'background')).then(
      () => console.log('done'), error => console.log(error.code))`
    const { stdout } = spawnSync(
      process.execPath,
      [flag, '--allow-addons', `--allow-fs-read=${root}*`, '--no-warnings', '-e', text],
      { encoding: 'utf8' },
    )
    assert.equal(stdout, 'ERR_ACCESS_DENIED\n')
  },
}

console.log(implementation())
let wrong = 0
for (const [name, check] of Object.entries(checks)) {
  const late = sleep(20_000).then(() => {
    console.log(`wrong: ${name}: it never ends`)
    process.exit(1)
  })
  try {
    await Promise.race([check(), late])
  } catch (error) {
    wrong++
    console.log(`wrong: ${name}: ${error.stack}`)
  }
}
rmSync(folder, { recursive: true })
console.log(wrong === 0 ? 'right' : `${wrong} wrong`)
process.exit(wrong === 0 ? 0 : 1)
