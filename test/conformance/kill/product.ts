import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** The built Worker in a process group of its own, on storage that outlives it. */
export class Product {
  readonly origin: string
  readonly #port: number
  readonly #folder: string
  readonly #bundle: string
  readonly #vars: Readonly<Record<string, string>>
  #child: ChildProcess | undefined

  constructor(port: number, vars: (origin: string) => Readonly<Record<string, string>>) {
    this.#port = port
    this.origin = `http://localhost:${port}`
    this.#folder = mkdtempSync(join(tmpdir(), 'kill-'))
    this.#bundle = join(this.#folder, 'bundle')
    this.#vars = vars(this.origin)
    execFileSync('node_modules/.bin/wrangler', ['deploy', '--dry-run', '--outdir', this.#bundle], {
      stdio: 'ignore',
      env: { ...process.env, WRANGLER_SEND_METRICS: 'false' },
    })
  }

  /** Starts it and waits until it answers. */
  async start(): Promise<void> {
    const order = {
      bundle: this.#bundle,
      port: this.#port,
      folder: this.#folder,
      vars: this.#vars,
    }
    const program = join(import.meta.dirname, 'serve.ts')
    const child = spawn(process.execPath, [program, JSON.stringify(order)], {
      detached: true,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    this.#child = child
    const ended = once(child, 'exit').then(([code]) => {
      throw new Error(`the product ended while starting (${code})`)
    })
    // A later kill ends the child as well; by then nobody listens any more.
    ended.catch(() => undefined)
    await Promise.race([once(child, 'message'), ended])
  }

  /** Kills the server and its workerd at once, as a crash would: no signal that could be handled. */
  async kill(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child?.pid === undefined) return
    const gone = once(child, 'exit')
    process.kill(-child.pid, 'SIGKILL')
    await gone
  }

  async stop(): Promise<void> {
    await this.kill()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

/** A loopback port that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
