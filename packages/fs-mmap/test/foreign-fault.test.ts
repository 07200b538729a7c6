import { execFileSync, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, skipIf, test } from './runner.test-support.ts'

const mmapUrl = new URL('../dist/mmap.js', import.meta.url).href

/** Somebody else's addon: it has handlers of its own, and mappings that are no business of ours. */
const foreign = `
#include <fcntl.h>
#include <node_api.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
static char* page;
static void say(const char* text) { if (write(1, text, strlen(text)) < 0) _exit(9); }
static void plain(int signal) { say(signal == SIGBUS ? "plain\\n" : "?\\n"); _exit(4); }
static void with_info(int, siginfo_t* info, void* context) {
  say(context != nullptr && info->si_addr == page ? "with info\\n" : "?\\n");
  _exit(5);
}
static napi_value Install(napi_env env, napi_callback_info info) {
  napi_value kind;
  size_t argc = 1;
  int32_t number = 0;
  napi_get_cb_info(env, info, &argc, &kind, nullptr, nullptr);
  napi_get_value_int32(env, kind, &number);
  struct sigaction action = {};
  if (number == 1) action.sa_handler = plain;
  if (number == 2) action.sa_sigaction = with_info, action.sa_flags = SA_SIGINFO;
  if (number == 3) action.sa_handler = SIG_IGN;
  sigaction(SIGBUS, &action, nullptr);
  return nullptr;
}
static napi_value Fault(napi_env, napi_callback_info) {
  char name[] = "/tmp/kiruna-foreign-XXXXXX";
  int fd = mkstemp(name);
  unlink(name);
  page = static_cast<char*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0));
  say("faults\\n");
  volatile char byte = *static_cast<volatile char*>(page);
  (void)byte;
  say("survived\\n");
  return nullptr;
}
NAPI_MODULE_INIT() {
  napi_value install, fault;
  napi_create_function(env, "install", NAPI_AUTO_LENGTH, Install, nullptr, &install);
  napi_create_function(env, "fault", NAPI_AUTO_LENGTH, Fault, nullptr, &fault);
  napi_set_named_property(env, exports, "install", install);
  napi_set_named_property(env, exports, "fault", fault);
  return exports;
}`

const headers = join(dirname(dirname(fs.realpathSync(process.execPath))), 'include/node')
const canCompile = fs.existsSync(headers) && spawnSync('g++', ['--version']).status === 0
const onlyWithGcc = skipIf(!canCompile, 'a foreign fault: no g++, or no headers of this Node')

onlyWithGcc.describe('a fault in somebody else’s memory', () => {
  let folder = ''
  let addon = ''
  beforeAll(() => {
    folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-foreign-'))
    addon = join(folder, 'foreign.node')
    fs.writeFileSync(join(folder, 'foreign.cc'), foreign)
    fs.writeFileSync(join(folder, 'file'), Buffer.alloc(100_000, 1))
    const flags = ['-shared', '-fPIC', '-std=c++20', `-I${headers}`, '-include', 'stdlib.h']
    execFileSync('g++', [...flags, '-o', addon, join(folder, 'foreign.cc')])
  })
  afterAll(() => fs.rmSync(folder, { recursive: true }))

  function node(code: string) {
    const program = `
      import * as fs from 'node:fs'
      import { createRequire } from 'node:module'
      import { map } from ${JSON.stringify(mmapUrl)}
      const foreign = createRequire('/')(${JSON.stringify(addon)})
      const path = ${JSON.stringify(join(folder, 'file'))}
      ${code}`
    const options = { encoding: 'utf8', timeout: 15_000 } as const
    const { status, signal, stdout } = spawnSync(
      process.execPath,
      ['--input-type=module', '-e', program],
      options,
    )
    return { status, signal, stdout }
  }

  test.each([
    ['with no handler kills the process', 0, { status: null, signal: 'SIGBUS', stdout: 'faults\n' }],
    ['reaches a plain handler', 1, { status: 4, signal: null, stdout: 'faults\nplain\n' }],
    ['reaches a handler that takes siginfo', 2, { status: 5, signal: null, stdout: 'faults\nwith info\n' }],
    ['that is ignored kills all the same', 3, { status: null, signal: 'SIGBUS', stdout: 'faults\n' }],
  ])('%s', (_, handler, expected) => {
    // Ours, and one that is ours no more, are there; and a fault of ours has been survived before.
    const program = `
      foreign.install(${handler})
      const [mapping, closed] = [await map(path, 'user-blocking'), await map(path, 'user-blocking')]
      closed.view()
      await closed.close()
      const view = mapping.view()
      fs.truncateSync(path, 0)
      if (view[50_000] !== 0 || !mapping.torn) process.exit(1)
      fs.truncateSync(path, 100_000)
      foreign.fault()`
    expect(node(program)).toEqual(expected)
    // The same without us.
    expect(node(`foreign.install(${handler}); foreign.fault()`)).toEqual(expected)
  })

  test('an ignored SIGBUS that is sent is ignored', () => {
    const { status, stdout } = node(`
      foreign.install(3)
      await map(path, 'user-blocking')
      process.kill(process.pid, 'SIGBUS')
      console.log('goes on')`)
    expect({ status, stdout }).toEqual({ status: 0, stdout: 'goes on\n' })
  })

  test('two copies of the addon that have each other for the previous handler let it kill', () => {
    const copy = join(folder, 'copy')
    fs.mkdirSync(copy)
    const original = dirname(dirname(new URL(mmapUrl).pathname))
    for (const part of ['dist', 'build/Release/mmap.node', 'package.json']) {
      fs.cpSync(join(original, part), join(copy, part), { recursive: true })
    }
    fs.symlinkSync(join(original, 'node_modules'), join(copy, 'node_modules'))
    const answer = node(`
      const other = await import(${JSON.stringify(join(copy, 'dist/mmap.js'))})
      const mappings = []
      for (let i = 0; i < 4; i++) {
        mappings.push(await map(path, 'user-blocking'), await other.map(path, 'user-blocking'))
      }
      const views = mappings.map(mapping => mapping.view())
      fs.truncateSync(path, 0)
      console.log(views.every(view => view[50_000] === 0) && mappings.every(mapping => mapping.torn))
      foreign.fault()`)
    expect(answer).toEqual({ status: null, signal: 'SIGBUS', stdout: 'true\nfaults\n' })
  })
})
