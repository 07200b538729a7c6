import { constants } from 'node:fs'
import { resolve } from 'node:path'
import { coded } from './error.ts'

type Scope = 'fs.read' | 'fs.write' | 'net'

/** Node's permission model; undefined where it is not on. @see https://nodejs.org/api/permissions.html */
const { permission } = process as { permission?: { has(scope: Scope, reference?: string): boolean } }
/** Node before 25 knows no permission for the network. */
const hasNet = process.allowedNodeEnvironmentFlags?.has('--allow-net') === true

/** For calls of the OS that node:fs does not see. Node looks at the path as it was given, and so does this. */
export function isAllowed(scope: 'fs.read' | 'fs.write', path: string | Buffer): boolean {
  return permission === undefined || permission.has(scope, resolve(String(path)))
}

/** @throws Error ERR_ACCESS_DENIED, as node:fs gives it, with `permission` and `resource` */
export function checkAllowed(scope: 'fs.read' | 'fs.write', path: string | Buffer): void {
  if (isAllowed(scope, path)) return
  throw denied(scope, scope === 'fs.read' ? 'FileSystemRead' : 'FileSystemWrite', resolve(String(path)))
}

/** What opening a path with these flags needs. @throws as `checkAllowed` */
export function checkAllowedToOpen(path: string | Buffer, flags: number): void {
  if (permission === undefined) return
  const mode = flags & (constants.O_WRONLY | constants.O_RDWR)
  if (mode !== constants.O_WRONLY) checkAllowed('fs.read', path)
  if (mode !== 0 || (flags & (constants.O_CREAT | constants.O_TRUNC)) !== 0) checkAllowed('fs.write', path)
}

/** @throws Error ERR_ACCESS_DENIED, as node:net gives it */
export function checkNetAllowed(): void {
  if (permission !== undefined && hasNet && !permission.has('net')) throw denied('net', 'Net', undefined)
}

function denied(scope: Scope, name: string, resource: string | undefined): Error {
  const flag = `--allow-${scope.replace('.', '-')}`
  const error = coded(
    Error,
    'ERR_ACCESS_DENIED',
    `Access to this API has been restricted. Use ${flag} to manage permissions.`,
  )
  return Object.assign(error, { permission: name, ...(resource !== undefined && { resource }) })
}
