/** What a run measures, phase by phase. Nothing is judged here: medians, ratios and words are made in `report.ts`. */
import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Plain } from '../dev/options.ts'
import { type Counts, readCounts } from './cost.ts'
import { basic, type Door, REDIRECT_URI } from './doors.ts'
import { FLOOR, FLOOR_PARTS, FLOOR_WITH_ROWS, namedObjects } from './floor/rounds.ts'
import type { Cost } from './load.ts'
import { cpuOf, memoryOf, openFilesLimitOf, openFilesOf } from './process.ts'
import { type Summary, summaryOf } from './statistics.ts'
import type { Served, World } from './world.ts'

export const DOORS = ['oidc', 'direct'] as const satisfies readonly Door[]
/** The two populations: how many people are enrolled. */
export const POPULATIONS = ['small', 'large'] as const
export type Population = (typeof POPULATIONS)[number]

/** How large a run is. */
export type Scale = {
  readonly small: number
  readonly large: number
  /** People with phones; each may be rung ten times at each product. */
  readonly phones: number
  readonly rounds: number
  /** Length of a round of logins, in seconds. */
  readonly seconds: number
  /** Most logins of a round, so that nobody is rung too often. */
  readonly mostLogins: number
  /** Logins that go through the doors step by step. */
  readonly stageLogins: number
  readonly openSeconds: number
  readonly pending: readonly number[]
  readonly peerRequests: number
}

export type Scene = {
  readonly world: World
  readonly products: Readonly<Record<Population, Served>>
  readonly floor: Served
  readonly scale: Scale
  readonly note: (line: string) => void
}

/** So many hands keep one workerd busy; more only make a queue. */
const HANDS = 8
/** What a login by the direct door is worth, of the open loop's visitors. */
const SHARE: Readonly<Record<Door, number>> = { oidc: 0.6, direct: 0.4 }
/** The open loop asks for this much of what the closed loop has reached. */
const OPEN_LOAD = 0.4
const EVICTION_MILLISECONDS = 12_000
/** When the last object of a login has emptied itself: a minute after its end, and some seconds. */
const SWEEP_MILLISECONDS = 66_000

/** The first of everything, which nobody counts: code gets compiled, inboxes are made, keys are fetched. */
export async function warmUp({ world, products, floor, scale, note }: Scene): Promise<void> {
  note('warm-up, which is not counted')
  for (const name of POPULATIONS) {
    await world.join(name, products[name])
    for (const door of DOORS) {
      await world.load.call('rehearse', { name, door })
      const count = Math.floor(scale.phones / 2)
      await world.load.call('logins', { name, door, hands: HANDS, count })
    }
  }
  for (const door of DOORS) await playFloor(world, floor, FLOOR[door], scale.seconds / 2)
}

/** Lets `work` be done, which is about other programs, while the products sweep the logins that were played so far. */
export async function whileSwept<T>(work: () => Promise<T>): Promise<T> {
  const sweptAt = performance.now() + SWEEP_MILLISECONDS
  const done = await work()
  await wait(Math.max(0, sweptAt - performance.now()))
  return done
}

type ByDoor<T> = Readonly<Record<Door, T>>

export type LoginRounds = {
  readonly products: Readonly<Record<Population, ByDoor<Cost[]>>>
  readonly floor: ByDoor<Cost[]>
  readonly floorWithRows: ByDoor<Cost[]>
  /** CPU of a login that falls due a minute after it, in milliseconds: the object wakes and empties itself. */
  readonly sweeps: Readonly<Record<Population, ByDoor<number>>>
  /** Lines of the log that a login leaves, its sweep included. */
  readonly lines: ByDoor<number>
}

/**
 * Logins by each door at each product and the floor of each, in turns, so that a bad minute of the machine hits all of them. All
 * rounds of a door end before its first login is swept; then comes a minute of waiting, and the sweep is divided among them.
 */
export async function measureLogins(scene: Scene): Promise<LoginRounds> {
  const [oidc, direct] = [await measureDoor(scene, 'oidc'), await measureDoor(scene, 'direct')]
  const byDoor = <T>(of: (door: DoorRounds) => T) => ({ oidc: of(oidc), direct: of(direct) })
  return {
    products: { small: byDoor((d) => d.products.small), large: byDoor((d) => d.products.large) },
    floor: byDoor((d) => d.floor),
    floorWithRows: byDoor((d) => d.floorWithRows),
    sweeps: { small: byDoor((d) => d.sweeps.small), large: byDoor((d) => d.sweeps.large) },
    lines: byDoor((d) => d.lines),
  }
}

type DoorRounds = {
  readonly products: Readonly<Record<Population, Cost[]>>
  readonly floor: Cost[]
  readonly floorWithRows: Cost[]
  readonly sweeps: Readonly<Record<Population, number>>
  readonly lines: number
}

async function measureDoor(scene: Scene, door: Door): Promise<DoorRounds> {
  const { world, products, floor, scale, note } = scene
  const { seconds, mostLogins: count } = scale
  const found = { small: [] as Cost[], large: [] as Cost[] }
  const floors: Cost[] = []
  const floorsWithRows: Cost[] = []
  const linesOf = () => products.small.child.call('lines', undefined as never)
  const linesBefore = await linesOf()
  for (let round = 1; round <= scale.rounds; round++) {
    note(`logins by the door ${door}, round ${round} of ${scale.rounds}`)
    for (const name of round % 2 === 1 ? POPULATIONS : POPULATIONS.toReversed()) {
      const order = { name, door, hands: HANDS, seconds, count }
      found[name].push(await world.load.call('logins', order))
      const [paths, into] = name === 'small' ? [FLOOR, floors] : [FLOOR_WITH_ROWS, floorsWithRows]
      into.push(await playFloor(world, floor, paths[door], seconds / 2))
    }
  }
  note('the sweep of these logins')
  const before = { small: cpuOf(products.small.pid), large: cpuOf(products.large.pid) }
  await wait(SWEEP_MILLISECONDS)
  const loginsOf = (name: Population) => found[name].reduce((sum, { count }) => sum + count, 0)
  const sweepOf = (name: Population) => (cpuOf(products[name].pid) - before[name]) / loginsOf(name)
  const sweeps = { small: sweepOf('small'), large: sweepOf('large') }
  const swept = (name: Population) =>
    found[name].map((cost) => ({ ...cost, cpu: cost.cpu + sweeps[name] }))
  return {
    products: { small: swept('small'), large: swept('large') },
    floor: floors,
    floorWithRows: floorsWithRows,
    sweeps,
    lines: ((await linesOf()) - linesBefore) / loginsOf('small'),
  }
}

function playFloor(
  { load }: World,
  { origin, pid }: Served,
  paths: readonly string[],
  seconds: number,
): Promise<Cost> {
  return load.call('floor', { origin, pid, paths, hands: HANDS, seconds })
}

/** What each part of the floor costs in a request of its own. */
export async function measureFloorParts({ world, floor, scale, note }: Scene) {
  note('the parts of the floor')
  const { origin, pid } = floor
  const sleepers = { origin, pid, hands: HANDS, paths: namedObjects(scale.stageLogins) }
  await world.load.call('paths', sleepers)
  const asleepAt = performance.now() + EVICTION_MILLISECONDS
  const parts: Record<string, Cost> = {}
  const seconds = scale.seconds / 4
  for (const [part, path] of Object.entries(FLOOR_PARTS)) {
    const order = { url: `${origin}${path}`, pid, hands: HANDS, seconds }
    parts[part] = await world.load.call('requests', order)
  }
  await wait(Math.max(0, asleepAt - performance.now()))
  parts['call that wakes an object, one row written'] = await world.load.call('paths', sleepers)
  return parts
}

export type Steps = Readonly<Record<Population, ByDoor<Readonly<Record<string, Cost[]>>>>>

/** Every step of a login by itself: all go through one before any goes on. */
export async function measureSteps({ world, scale, note }: Scene): Promise<Steps> {
  const found: Record<Population, Record<Door, Record<string, Cost[]>>> = {
    small: { oidc: {}, direct: {} },
    large: { oidc: {}, direct: {} },
  }
  // The direct door last, and all of it within a minute: its objects are swept later, as if that were a step's work.
  for (const door of DOORS) {
    for (let round = 1; round <= scale.rounds; round++) {
      note(`step by step, door ${door}, round ${round} of ${scale.rounds}`)
      for (const name of POPULATIONS) {
        const order = { name, door, hands: HANDS, count: scale.stageLogins }
        const costs = await world.load.call('stages', order)
        for (const [step, cost] of Object.entries(costs)) {
          const costsOfStep = found[name][door][step] ?? []
          costsOfStep.push(cost)
          found[name][door][step] = costsOfStep
        }
      }
    }
  }
  return found
}

/** Endpoints that belong to no login. */
export const PUBLIC_PATHS = ['/.well-known/openid-configuration', '/.well-known/jwks.json'] as const

export async function measurePublic({ world, products, scale, note }: Scene) {
  note('public documents')
  const { origin, pid } = products.small
  const costs: Record<string, Cost[]> = {}
  for (let round = 0; round < scale.rounds; round++) {
    for (const path of PUBLIC_PATHS) {
      const order = { url: `${origin}${path}`, pid, hands: HANDS, seconds: scale.seconds / 4 }
      const known = costs[path] ?? []
      known.push(await world.load.call('requests', order))
      costs[path] = known
    }
  }
  return costs
}

export type OpenLoop = {
  readonly perSecond: number
  readonly failed: number
  readonly steps: ByDoor<Readonly<Record<string, Summary>>>
}

/** Visitors of both doors who come when they come. `reached`: logins per second of the closed loop. */
export async function measureOpen(
  { world, scale, note }: Scene,
  reached: number,
): Promise<Readonly<Record<Population, OpenLoop>>> {
  // Nobody may be rung too often, however fast the machine.
  const most = scale.mostLogins / scale.openSeconds
  const perSecond = Math.max(1, Math.min(reached * OPEN_LOAD, most))
  const visit = async (name: Population): Promise<OpenLoop> => {
    note(`open loop, ${perSecond.toFixed(1)} logins a second, ${name} population`)
    const order = (door: Door, seed: number) => ({
      ...{ name, door, seed, seconds: scale.openSeconds },
      perSecond: perSecond * SHARE[door],
    })
    const [oidc, direct] = await Promise.all([
      world.load.call('visits', order('oidc', 1)),
      world.load.call('visits', order('direct', 2)),
    ])
    const failed = oidc.failed + direct.failed
    const steps = { oidc: summaries(oidc.latencies), direct: summaries(direct.latencies) }
    return { perSecond, failed, steps }
  }
  return { small: await visit('small'), large: await visit('large') }
}

function summaries(latencies: Readonly<Record<string, readonly number[]>>) {
  const { push: _waitsForFcm, ...requests } = latencies
  return Object.fromEntries(
    Object.entries(requests).map(([step, times]) => [step, summaryOf(times)]),
  )
}

/** One signature of a phone, in milliseconds of the load's CPU. */
export async function measurePhone({ world }: Scene) {
  return world.load.call('phoneWork', { name: 'small', rounds: 2000 })
}

/** What we and the peer answer to the same questions. */
export type Comparison = Readonly<Record<string, Cost[]>>

export async function measurePeer({ world, scale, note }: Scene): Promise<Comparison> {
  note('oidc-provider, side by side')
  const { origin, pid, child } = await world.startPeer()
  const verifier = randomBytes(32).toString('base64url')
  const challenge = createHash('sha256').update(verifier).digest('base64url')
  const client = { serviceId: 'bench', secret: world.secrets.operatorToken, origin, issuer: '' }
  const found: Record<string, Cost[]> = { discovery: [], token: [], userinfo: [] }
  const order = { pid, hands: HANDS }
  for (let round = 0; round <= scale.rounds; round++) {
    const codes = await child.call('codes', { count: scale.peerRequests, challenge })
    const discovery = await world.load.call('requests', {
      ...order,
      url: `${origin}/.well-known/openid-configuration`,
      seconds: scale.seconds / 4,
    })
    const exchange = await world.load.call('each', {
      ...order,
      url: `${origin}/token`,
      member: 'access_token',
      requests: codes.map((code) => ({
        method: 'POST' as const,
        headers: { ...basic(client), 'content-type': 'application/x-www-form-urlencoded' },
        body: new URLSearchParams({
          grant_type: 'authorization_code',
          redirect_uri: REDIRECT_URI,
          code_verifier: verifier,
          code,
        }).toString(),
      })),
    })
    const userinfo = await world.load.call('each', {
      ...order,
      url: `${origin}/me`,
      member: 'age_over_18',
      requests: exchange.values.map((token) => ({ headers: { authorization: `Bearer ${token}` } })),
    })
    // The first is the warm-up.
    if (round === 0) continue
    found.discovery?.push(discovery)
    found.token?.push(exchange.cost)
    found.userinfo?.push(userinfo.cost)
  }
  await child.stop()
  return found
}

/** Memory and files of workerd with so many logins that wait for a phone, each with its browser's socket. */
export type Pending = {
  readonly pending: number
  readonly mebibytes: number
  readonly files: number
  readonly seconds: number
}

/** New objects come at this pace at most, so that those before them have gone to sleep: an awake one holds more files. */
const HOLD_PER_SECOND = 110
/** What a pending login needs of open files, with those that are awake in between. */
const FILES_EACH = 3.5
/** Older logins run out when opening takes longer: no more are begun then. */
const HOLD_SECONDS = 100

export async function measurePending({ world, scale, note }: Scene): Promise<readonly Pending[]> {
  // Without the measuring aid of the other phases, which keeps the heap large.
  const served = await world.serveProduct(world.storeInMemory(), false)
  await world.join('pending', served)
  const { pid } = served
  const at = async (seconds: number, pending: number): Promise<Pending> => {
    await wait(1000)
    return { pending, mebibytes: memoryOf(pid), files: openFilesOf(pid), seconds }
  }
  const found = [await at(0, 0)]
  let [begun, seconds] = [0, 0]
  for (const pending of scale.pending) {
    note(`memory with ${pending} pending logins`)
    if (openFilesLimitOf(pid) < pending * FILES_EACH) {
      note('that needs more open files than this machine allows')
      break
    }
    const order = { name: 'pending', hands: HANDS * 2, perSecond: HOLD_PER_SECOND }
    const count = pending - begun
    const opened = await world.load.call('hold', { ...order, count, seconds: HOLD_SECONDS })
    begun = pending
    seconds += opened.seconds
    found.push(await at(seconds, opened.held))
  }
  await world.load.call('release', undefined as never)
  await served.child.stop()
  return found
}

/** The counts of the budget test, which passes every request and every write through its own hands. */
export async function countLogins(
  note: (line: string) => void,
): Promise<Readonly<Record<string, Counts>>> {
  note('counts of a login, by the budget test')
  const root = fileURLToPath(new URL('..', import.meta.url))
  const args = ['run', '--project', 'worker', 'test/worker/budgets.test.ts']
  const environment = {
    CLOUDFLARE_CF_FETCH_ENABLED: 'false',
    WRANGLER_SEND_METRICS: 'false',
    NO_COLOR: '1',
  }
  const env = { ...process.env, ...environment }
  try {
    const { stdout } = await promisify(execFile)('vitest', args, { cwd: root, env })
    return readCounts(stdout)
  } catch {
    throw new Plain('The budget test is red: `npm test -- test/worker/budgets.test.ts`.')
  }
}
