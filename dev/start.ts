/** `npm start`: the development world, until Ctrl-C. */
import { fileURLToPath } from 'node:url'
import { lock } from './lock.ts'
import { Plain, readConfirmation, readOptions, readPort, tell } from './options.ts'
import { DEMO_TOKEN_ID } from './persons.ts'
import { startWorld, type World } from './world.ts'

const USAGE = `npm start -- [options]: the development world, until Ctrl-C

  --autopilot            a phone that approves everything
  --confirmation MODE    compare (default) or transfer
  --port NUMBER          of the product, 8787
  --phone-port NUMBER    of the virtual phone, 8788
  --bar-port NUMBER      of the demo service, 8789
  --help                 this text`

const FOLDER = fileURLToPath(new URL('../.local', import.meta.url))

const interrupted = new AbortController()
let world: World | undefined
let leaving = false

async function main(): Promise<void> {
  const ports = ['port', 'phone-port', 'bar-port']
  const options = readOptions(USAGE, ['autopilot'], ['confirmation', ...ports])
  const confirmation = readConfirmation(options.confirmation)
  if (!(await lock(FOLDER))) {
    throw new Plain('A development world of this folder is running already; stop that one first.')
  }
  const port = await readPort('port', options.port, 8787, 'product')
  const phonePort = await readPort('phone-port', options['phone-port'], 8788, 'phone')
  const barPort = await readPort('bar-port', options['bar-port'], 8789, 'demo service')
  if (new Set([port, phonePort, barPort]).size < 3) throw new Plain('The three ports must differ.')

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      interrupted.abort()
      // While the world still starts, the abort makes it fail; `main` leaves then.
      if (world !== undefined) void leave(0)
    })
  }
  world = await startWorld({
    folder: FOLDER,
    port,
    phonePort,
    barPort,
    confirmation,
    autopilot: options.autopilot === true,
    signal: interrupted.signal,
    log: console.log,
    onDeath: (lastWords) => {
      console.error(`The product has ended by itself. Its last words:\n${lastWords}`)
      void leave(1)
    },
  })
  if (interrupted.signal.aborted) return leave(0)
  console.log(banner(world, confirmation))
}

async function leave(code: number): Promise<void> {
  if (leaving) return
  leaving = true
  await world?.stop()
  process.exit(code)
}

function banner({ product, phone, bar, autopilot }: World, confirmation: string): string {
  const code = confirmation === 'transfer' ? 'type the code the bar shows' : 'compare the code'
  const tokenId = autopilot?.tokenId
  const steps =
    tokenId === undefined
      ? [
          `1. Open the phone  ${phone}  and make an IDToken.`,
          `2. Open the bar    ${bar}  and sign in with the number the phone shows.`,
          `3. On the phone, ${code} and approve.`,
          'Or "Verify your age" at the bar: scan its code with the phone, nothing is typed.',
          `Without hands: npm start -- --autopilot answers for the demo person`,
          `   ${DEMO_TOKEN_ID}`,
        ]
      : [
          `1. Open the bar    ${bar}/?tokenId=${tokenId}  and sign in.`,
          '2. The autopilot approves everything for this demo person:',
          `   ${tokenId}`,
          `   A phone for your own hands: ${phone}`,
        ]
  return [
    '',
    `IDToken Edge is running at ${product}`,
    '',
    ...steps,
    '',
    'Log of the product: .local/product.log. Stop with Ctrl-C.',
    '',
  ].join('\n')
}

main().catch((fault: unknown) => {
  if (interrupted.signal.aborted) process.exit(0)
  tell(fault)
  process.exit(1)
})
