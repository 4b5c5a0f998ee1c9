/**
 * `npm run demo`: a world of its own on free ports, one login through it, and an independent check of the token. Exits 0 only when all
 * of it worked, and leaves nothing behind.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Run, runLogin } from './login-run.ts'
import type { Step } from './login-stage.ts'
import { Plain, readConfirmation, readDoor, readOptions, tell } from './options.ts'
import { freePorts } from './ports.ts'
import { startWorld, type World } from './world.ts'

const USAGE = `npm run demo -- [options]: one whole login, without hands

  --json                 one JSON object a line
  --door DOOR            direct (default), oidc, or scan: an age check by scanning a code
  --same-device          with --door scan: by a link that opens the phone on the same device
  --confirmation MODE    compare (default) or transfer
  --help                 this text`

const TIME_LIMIT = 120_000

const interrupted = new AbortController()
let starting: Promise<World> | undefined
let folder: string | undefined
let ended = false

async function main(): Promise<void> {
  const options = readOptions(USAGE, ['json', 'same-device'], ['door', 'confirmation'])
  const asked = readDoor(options.door)
  const sameDevice = options['same-device'] === true
  if (sameDevice && asked !== 'scan') throw new Plain('--same-device goes with --door scan.')
  const door = sameDevice ? 'link' : asked
  const confirmation = readConfirmation(options.confirmation)
  const asJson = options.json === true
  const report = (step: Step) => console.log(asJson ? JSON.stringify(step) : line(step))

  const timer = setTimeout(
    () => fail(`The demo took longer than ${TIME_LIMIT / 1000} s.`, asJson),
    TIME_LIMIT,
  )
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => fail('The demo was interrupted.', asJson))
  }
  try {
    const begin = performance.now()
    folder = await mkdtemp(join(tmpdir(), 'idtoken-demo-'))
    const [port = 0, phonePort = 0, barPort = 0] = await freePorts(3)
    const onDeath = (words: string) => fail(`The product has ended by itself:\n${words}`, asJson)
    const { signal } = interrupted
    starting = startWorld({ folder, port, phonePort, barPort, confirmation, onDeath, signal })
    const world = await starting
    const start = Math.round(performance.now() - begin)
    report({ step: 'start', ms: start })
    const run = await runLogin(world, { door, confirmation }, report)
    const total = Math.round(performance.now() - begin)
    console.log(result({ ...run, ms: { start, ...run.ms, total } }, asJson))
    clearTimeout(timer)
    await end(0)
  } catch (fault) {
    await fail(fault instanceof Error ? fault.message : String(fault), asJson)
  }
}

const SENTENCES: Readonly<Record<string, string>> = {
  start: 'the world is up',
  enroll: 'a person was sealed and a phone enrolled',
  initiate: "the bar's back end began a login",
  scan: 'the phone read the moving QR',
  open: 'the link on the page opened the phone',
  socket: 'the browser shows the code',
  authorize: 'the bar sent the browser to the sign-in page',
  page: 'the page took the number and shows the code',
  link: 'the page shows a QR and a link, with nothing typed',
  push: 'the phone opened the push',
  claim: 'the phone shows who asks for what',
  approve: 'the person approved',
  code: 'the page shows the code',
  return: 'the browser went back to the bar by the window that the phone opened',
  continue: 'the browser went back to the bar with a code',
  token: 'the bar redeemed the code for an id_token',
  userinfo: 'userinfo says the same',
  check: 'an independent program accepts the token',
}

function line({ step, ms }: Step): string {
  return `${String(ms).padStart(6)} ms  ${SENTENCES[step] ?? step}`
}

function result({ claims, ms }: Run, asJson: boolean): string {
  if (asJson) return JSON.stringify({ result: 'ok', claims, ms })
  const shared = Object.entries(claims).map(([name, value]) => `  ${name}: ${value}`)
  return `\nThe bar learnt exactly this:\n${shared.join('\n')}\n`
}

async function fail(reason: string, asJson: boolean): Promise<void> {
  if (ended) return
  if (asJson) console.log(JSON.stringify({ result: 'failed', reason }))
  else tell(reason)
  await end(1)
}

async function end(code: number): Promise<void> {
  if (ended) return
  ended = true
  interrupted.abort()
  const world = await starting?.catch(() => undefined)
  await world?.stop()
  if (folder !== undefined) await rm(folder, { recursive: true, force: true, maxRetries: 3 })
  process.exit(code)
}

main().catch((fault: unknown) => {
  tell(fault)
  process.exit(1)
})
