/**
 * The product as a child process: `wrangler dev` with a configuration file and a store of its own. It runs in its own process group,
 * because wrangler starts workerd, and whoever stops one must stop both.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createWriteStream, existsSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { delimiter, dirname, join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const WRANGLER = join(ROOT, 'node_modules', 'wrangler', 'bin', 'wrangler.js')
const PATIENCE = 60_000
const GRACE = 5_000

export type ProductOptions = {
  readonly port: number
  /** Where its databases live and its log is written. */
  readonly folder: string
  /** A file of NAME='value' lines. */
  readonly envFile: string
  /** Called once when the process ends without having been told to. */
  readonly onDeath: (lastWords: string) => void
  /** Ends the start when it is aborted. */
  readonly signal: AbortSignal
}

export type Product = { readonly stop: () => Promise<void> }

/** Migrates the store, starts the product, and returns when it answers. Throws a plain sentence when it doesn't. */
export async function startProduct(options: ProductOptions): Promise<Product> {
  const { port, folder, envFile, signal } = options
  await migrate(folder, signal)
  const child = wrangler(
    signal,
    'dev',
    ...['--env-file', envFile, '--port', String(port), '--ip', '127.0.0.1'],
    ...['--persist-to', storeIn(folder), '--show-interactive-dev-session=false'],
    ...['--inspector-port', '0', '--log-level', 'log'],
  )
  const log = createWriteStream(logIn(folder), { mode: 0o600 })
  child.stdout?.pipe(log, { end: false })
  child.stderr?.pipe(log, { end: false })
  const ended = new Promise<void>((end) => child.once('close', () => end()))

  let state: 'starting' | 'running' | 'stopping' = 'starting'
  const stop = async () => {
    state = 'stopping'
    signalGroup(child, 'SIGTERM')
    const left = new AbortController()
    await Promise.race([ended, wait(GRACE, undefined, { signal: left.signal }).catch(() => {})])
    left.abort()
    // Also when the leader has gone: workerd may have outlived it.
    signalGroup(child, 'SIGKILL')
    log.end()
  }
  try {
    await untilItAnswers(`http://localhost:${port}/health`, ended)
  } catch (fault) {
    await stop()
    throw new Error(`${(fault as Error).message}\n${await lastWords(folder)}`)
  }
  state = 'running'
  ended.then(async () => {
    if (state === 'running' && !signal.aborted) options.onDeath(await lastWords(folder))
  })
  return { stop }
}

/** Brings the store up to date; skipped when this store has seen these very migrations. */
async function migrate(folder: string, signal: AbortSignal): Promise<void> {
  const migrations = join(ROOT, 'migrations')
  const hash = createHash('sha256')
  for (const name of (await readdir(migrations)).sort()) {
    hash.update(name).update(await readFile(join(migrations, name)))
  }
  const digest = hash.digest('hex')
  const mark = join(folder, 'migrated')
  const seen = await readFile(mark, 'utf8').catch(() => '')
  if (seen === digest && existsSync(storeIn(folder))) return
  const child = wrangler(
    signal,
    'd1',
    'migrations',
    'apply',
    'DB',
    '--local',
    '--persist-to',
    storeIn(folder),
  )
  const said: string[] = []
  child.stdout?.on('data', (text) => said.push(String(text)))
  child.stderr?.on('data', (text) => said.push(String(text)))
  const code = await new Promise((end) => child.once('close', end))
  if (code !== 0) throw new Error(`The database could not be migrated.\n${said.join('')}`)
  await writeFile(mark, digest)
}

function wrangler(signal: AbortSignal, ...args: string[]): ChildProcess {
  signal.throwIfAborted()
  const child = spawn(process.execPath, [WRANGLER, ...args], {
    cwd: ROOT,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      PATH: [dirname(process.execPath), process.env.PATH].join(delimiter),
      CI: 'true',
      NO_COLOR: '1',
      WRANGLER_SEND_METRICS: 'false',
      WRANGLER_HIDE_BANNER: 'true',
      CLOUDFLARE_CF_FETCH_ENABLED: 'false',
    },
  })
  signal.addEventListener('abort', () => signalGroup(child, 'SIGTERM'), { once: true })
  return child
}

async function untilItAnswers(url: string, ended: Promise<void>): Promise<void> {
  let dead = false
  ended.then(() => {
    dead = true
  })
  const deadline = Date.now() + PATIENCE
  while (Date.now() < deadline) {
    if (dead) throw new Error('The product ended while it started.')
    // Any answer will do: before there is a trust list, health is honest and says 503.
    const answer = await fetch(url, { signal: AbortSignal.timeout(2000) }).catch(() => undefined)
    if (answer !== undefined) return void (await answer.body?.cancel())
    await wait(100)
  }
  throw new Error(`The product did not answer within ${PATIENCE / 1000} seconds.`)
}

function signalGroup({ pid }: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, signal)
  } catch {
    // Nobody of the group is left.
  }
}

async function lastWords(folder: string): Promise<string> {
  const log = await readFile(logIn(folder), 'utf8').catch(() => '')
  return log.trimEnd().split('\n').slice(-20).join('\n')
}

function storeIn(folder: string): string {
  return join(folder, 'store')
}

function logIn(folder: string): string {
  return join(folder, 'product.log')
}
