/**
 * A page of `docs/integrations` as a program: its fenced blocks with a file name become files, the block `registration` is
 * what the operator sends. Nothing is changed but the address of the app.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { freePorts } from '../../../dev/ports.ts'
import type { World } from '../../../dev/world.ts'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
/** Ignored by git, and inside the project, so that the programs find the packages of `node_modules`. */
const RUNS = join(ROOT, '.local')
/** The address of the app, or of the API, in every page. */
const EXAMPLE = /https:\/\/(?:app|api)\.example\.com/g
const MAKE_KEY = 'make-key.mjs'
const PATIENCE = 30_000

export interface App {
  readonly origin: string
  readonly stop: () => void
}

/** What may differ from the page, so that what it says of faults can be seen to happen. */
export interface Changes {
  readonly clientId: string
  /** Lies over the member `oidc` of the registration. */
  readonly oidc?: Readonly<Record<string, unknown>>
  /** Package names in the code that mean another one here. */
  readonly aliases?: Readonly<Record<string, string>>
}

/**
 * Registers the client of the page `docs/integrations/{name}.md` and starts its program, as the page says. Where the page has
 * a program that makes the client's key, the key set that it prints is what is registered.
 */
export async function startRecipe(world: World, name: string, changes: Changes): Promise<App> {
  const blocks = blocksOf(readFileSync(join(ROOT, 'docs', 'integrations', `${name}.md`), 'utf8'))
  const [port = 0] = await freePorts(1)
  // Not `localhost`, where the issuer is: a browser would send the cookies of one to the other.
  const origin = `http://127.0.0.1:${port}`
  const registration = JSON.parse(textOf(blocks, 'registration').replaceAll(EXAMPLE, origin))
  mkdirSync(RUNS, { recursive: true })
  const folder = mkdtempSync(join(RUNS, `integration-${name}-`))
  for (const [file, text] of blocks) {
    if (file !== 'registration') writeFileSync(join(folder, file), aliased(text, changes.aliases))
  }
  const jwks = blocks.has(MAKE_KEY) ? { jwks: keySetMadeIn(folder) } : {}
  const { secret } = await world.operator.put(`/operator/services/${changes.clientId}`, {
    ...registration,
    oidc: { ...registration.oidc, ...jwks, ...changes.oidc },
  })
  const child = spawn(process.execPath, ['server.mjs'], {
    cwd: folder,
    stdio: ['ignore', 'inherit', 'pipe'],
    env: {
      PATH: process.env.PATH,
      ISSUER: world.product,
      CLIENT_ID: changes.clientId,
      CLIENT_SECRET: String(secret ?? ''),
      AUTH_SECRET: 'a-secret-of-the-tests-with-32-bytes-or-more',
      ORIGIN: origin,
      PORT: String(port),
    },
  })
  const stop = () => {
    child.kill()
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    await untilItAnswers(child, `${origin}/`)
  } catch (fault) {
    stop()
    throw fault
  }
  return { origin, stop }
}

function keySetMadeIn(folder: string): unknown {
  return JSON.parse(execFileSync(process.execPath, [MAKE_KEY], { cwd: folder, encoding: 'utf8' }))
}

/** The fenced blocks of a page that have a name after their language: name -> text. */
export function blocksOf(markdown: string): ReadonlyMap<string, string> {
  const fences = markdown.matchAll(/^```\w+ (\S+)\n([\s\S]*?)^```$/gm)
  return new Map([...fences].map(([, name = '', text = '']) => [name, text]))
}

function textOf(blocks: ReadonlyMap<string, string>, name: string): string {
  const text = blocks.get(name)
  if (text === undefined) throw new Error(`the page has no block ${name}`)
  return text
}

function aliased(text: string, aliases: Readonly<Record<string, string>> = {}): string {
  return Object.entries(aliases).reduce(
    (code, [name, alias]) => code.replaceAll(`from '${name}'`, `from '${alias}'`),
    text,
  )
}

async function untilItAnswers(child: ChildProcess, url: string): Promise<void> {
  let said = ''
  child.stderr?.on('data', (text) => {
    said += text
  })
  const deadline = Date.now() + PATIENCE
  while (Date.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`The recipe ended while it started.\n${said}`)
    const answer = await fetch(url).catch(() => undefined)
    if (answer !== undefined) return void (await answer.body?.cancel())
    await wait(50)
  }
  throw new Error(`The recipe did not answer.\n${said}`)
}
