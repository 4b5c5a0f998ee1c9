/**
 * `npm run bench`: what a login costs here, against the least that it could cost in the same minute. Everything runs on this
 * machine, on loopback, in processes of its own that end with it.
 */
import { cpus, platform } from 'node:os'
import { Plain, readOptions, tell } from '../dev/options.ts'
import {
  countLogins,
  measureFloorParts,
  measureLogins,
  measureOpen,
  measurePeer,
  measurePending,
  measurePhone,
  measurePublic,
  measureSteps,
  type Scale,
  type Scene,
  warmUp,
  whileSwept,
} from './measures.ts'
import { conclude, type Measurements, tablesOf } from './report.ts'
import { median } from './statistics.ts'
import { Lease, openWorld } from './world.ts'

const USAGE = `npm run bench -- [options]: measures logins by both doors, on this machine only

  --json         the last line is one JSON object
  --quick        a short run, whose figures say little
  --people N     the large population (default 1000000)
  --seconds N    length of a round of logins (default 5)
  --help         this text`

const FULL: Scale = {
  ...{ small: 1000, large: 1_000_000, phones: 400, rounds: 3, seconds: 5, mostLogins: 200 },
  ...{ stageLogins: 100, openSeconds: 25, pending: [1000, 5000], peerRequests: 150 },
}
const QUICK: Scale = {
  ...{ small: 1000, large: 20_000, phones: 60, rounds: 1, seconds: 4, mostLogins: 60 },
  ...{ stageLogins: 30, openSeconds: 6, pending: [200], peerRequests: 100 },
}

const lease = new Lease()
let leaving = false

async function main(): Promise<void> {
  const options = readOptions(USAGE, ['json', 'quick'], ['people', 'seconds'])
  if (platform() !== 'linux') throw new Plain('The bench reads /proc: it needs Linux.')
  const usual = options.quick === true ? QUICK : FULL
  const scale = {
    ...usual,
    large: wholeNumber('people', options.people, usual.large, 2000, 10_000_000),
    seconds: wholeNumber('seconds', options.seconds, usual.seconds, 2, 6),
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => void leave(130))
  }
  const said = conclude(await measure(scale))
  console.log(tablesOf(said))
  if (options.json === true) console.log(JSON.stringify(said))
  await leave(said.failed === 0 ? 0 : 1)
}

async function measure(scale: Scale): Promise<Measurements> {
  const begin = performance.now()
  const note = (line: string) => {
    const at = ((performance.now() - begin) / 1000).toFixed(0)
    console.error(`${at.padStart(4)} s  ${line}`)
  }
  // First, because it may fail: a test that is red would be found after ten minutes otherwise.
  const counts = await countLogins(note)
  const world = await openWorld(lease, scale.phones, note)
  note(`filling up to ${scale.small} and ${scale.large} people`)
  const small = world.fillStore('small', scale.small)
  const large = world.fillStore('large', scale.large)
  const products = {
    small: await world.serveProduct(small),
    large: await world.serveProduct(large),
  }
  const floor = await world.serveFloor()
  const scene: Scene = { world, products, floor, scale, note }
  await warmUp(scene)
  const others = await whileSwept(async () => ({
    peer: await measurePeer(scene),
    floorParts: await measureFloorParts(scene),
  }))

  const logins = await measureLogins(scene)
  const reached = median(logins.products.small.oidc.map(({ perSecond }) => perSecond))
  const documents = await measurePublic(scene)
  const steps = await measureSteps(scene)
  const open = await measureOpen(scene, reached)
  const phone = await measurePhone(scene)
  for (const served of [products.small, products.large, floor]) await served.child.stop()
  const pending = await measurePending(scene)
  return {
    ...{ logins, steps, open, documents, phone, pending, counts },
    ...others,
    people: { small: scale.small, large: scale.large },
    seconds: (performance.now() - begin) / 1000,
    cores: cpus().length,
    enrolling: world.enrolling,
  }
}

function wholeNumber(
  name: string,
  value: unknown,
  usual: number,
  least: number,
  most: number,
): number {
  const number = value === undefined ? usual : Number(value)
  if (Number.isInteger(number) && number >= least && number <= most) return number
  throw new Plain(`--${name} takes a whole number from ${least} to ${most}.`)
}

async function leave(code: number): Promise<void> {
  if (leaving) return
  leaving = true
  await lease.end()
  process.exit(code)
}

main().catch(async (fault: unknown) => {
  if (!leaving) tell(fault)
  await leave(1)
})
