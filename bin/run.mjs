/**
 * `node bin/run.mjs COMMAND [ARGUMENTS]`: runs a command of this project with the Node that `npm ci` has brought, whatever
 * the system's own is. npm links that Node only in some versions, so nothing here relies on the link.
 */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const own = join(root, 'node_modules', `node-${process.platform}-${process.arch}`, 'bin')
const brought = existsSync(join(own, 'node'))
if (!brought && !process.features.typescript) {
  console.error(
    `This needs Node.js 22.18 or newer; this one is ${process.version}, and npm has brought none for ${process.platform} ${process.arch}.`,
  )
  process.exit(1)
}

const path = [
  ...(brought ? [own] : []),
  join(root, 'node_modules', '.bin'),
  process.env.PATH ?? '',
].join(delimiter)
const [command = 'node', ...options] = process.argv.slice(2)
const child = spawn(command, options, { stdio: 'inherit', env: { ...process.env, PATH: path } })

// Ctrl-C reaches the child by itself; whoever signals this process means the child.
process.on('SIGINT', () => {})
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
child.on('error', (fault) => {
  console.error(fault.message)
  process.exit(1)
})
child.on('exit', (code, signal) => {
  process.exit(code ?? (signal === 'SIGINT' ? 130 : 1))
})
