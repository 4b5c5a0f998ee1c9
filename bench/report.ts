/** What the measured numbers say: medians, ratio, growth, cost, as one object and as tables to read. */
import { type Counts, costPerMillion } from './cost.ts'
import type { Door } from './doors.ts'
import { FLOOR, FLOOR_WITH_ROWS, LIMIT_PART, totalsOf } from './floor/rounds.ts'
import { LIMITS_ASKED } from './limits.ts'
import type { Cost } from './load.ts'
import type { Comparison, LoginRounds, OpenLoop, Pending, Population, Steps } from './measures.ts'
import { median, type Summary } from './statistics.ts'

export type Measurements = {
  readonly people: Readonly<Record<Population, number>>
  readonly seconds: number
  readonly cores: number
  readonly logins: LoginRounds
  readonly floorParts: Readonly<Record<string, Cost>>
  readonly steps: Steps
  readonly documents: Readonly<Record<string, readonly Cost[]>>
  readonly open: Readonly<Record<Population, OpenLoop>>
  readonly phone: { readonly signature: number }
  readonly peer: Comparison
  readonly pending: readonly Pending[]
  readonly counts: Readonly<Record<string, Counts>>
  readonly enrolling: Cost
}

export const BUDGET = { ratio: 2, growth: 0.1, dollars: 18 } as const

/** Billed time of the two objects of a login, as 6-operations 7.2 models it; nothing local can measure it. */
const GIGABYTE_SECONDS = 0.04
/** Rows that a login reads, likewise. */
const ROWS_READ = 12
/** An isolate that doesn't know the client yet, or no longer, asks D1 for it once. */
const COLD_QUERIES = 1

/** The figure of a budget: a median of rounds, and all of the rounds. */
type Figure = { readonly median: number; readonly rounds: readonly number[] }

function figure(costs: readonly Cost[], of: (cost: Cost) => number): Figure {
  return figureOf(costs.map(of))
}

function figureOf(rounds: readonly number[]): Figure {
  return { median: median(rounds), rounds }
}

/** CPU of `costs` by that of `others`, round by round: a bad minute of the machine is in both. */
function ratioOf(costs: readonly Cost[], others: readonly Cost[]): Figure {
  return figureOf(costs.map(({ cpu }, round) => cpu / (others[round]?.cpu ?? Number.NaN)))
}

/** What `npm run bench -- --json` says on its last line. */
export function conclude(found: Measurements) {
  const { logins, counts, steps, open, phone } = found
  const cpu = (costs: readonly Cost[]) => figure(costs, (cost) => cost.cpu)
  const rate = (costs: readonly Cost[]) => figure(costs, (cost) => cost.perSecond)
  const limits = LIMITS_ASKED * (found.floorParts[LIMIT_PART]?.cpu ?? Number.NaN)
  const door = (name: Door) => {
    const small = logins.products.small[name]
    const large = logins.products.large[name]
    const floor = logins.floor[name]
    const floorWithRows = logins.floorWithRows[name]
    return {
      perSecond: { small: rate(small), large: rate(large) },
      cpu: { small: cpu(small), large: cpu(large) },
      floor: cpu(floor),
      floorWithRows: cpu(floorWithRows),
      ratio: ratioOf(small, floor),
      ratioToFloorWithRows: ratioOf(small, floorWithRows),
      ratioWithMiniflareLimits: (cpu(small).median + limits) / cpu(floor).median,
      growth: figureOf(ratioOf(large, small).rounds.map((ratio) => ratio - 1)),
      sweep: logins.sweeps.small[name],
      loadCpu: figure(small, (cost) => cost.ownCpu).median,
    }
  }
  const doors = { oidc: door('oidc'), direct: door('direct') }
  const oidcCounts = counts.oidc
  const cost =
    oidcCounts &&
    costPerMillion({
      workerRequests: oidcCounts.workerRequests,
      // An upper bound: workerd's CPU here holds D1 and the objects' storage, which are not billed as CPU.
      cpuMilliseconds: doors.oidc.cpu.small.median,
      objectRequests: oidcCounts.objectRequests,
      objectGigabyteSeconds: GIGABYTE_SECONDS,
      rowsWritten: oidcCounts.objectRows + oidcCounts.d1Rows,
      rowsRead: ROWS_READ,
      logLines: logins.lines.oidc,
    })
  return {
    people: found.people,
    cores: found.cores,
    seconds: found.seconds,
    failed: failuresIn(found),
    doors,
    floorParts: mapValues(found.floorParts, (one) => one.cpu),
    steps: mapValues(steps, (byDoor) =>
      mapValues(byDoor, (byStep) =>
        mapValues(byStep, (costs) => ({ cpu: cpu(costs), perSecond: rate(costs) })),
      ),
    ),
    documents: mapValues(found.documents, (costs) => ({ cpu: cpu(costs), perSecond: rate(costs) })),
    open,
    phone: {
      signature: phone.signature,
      perLogin: phone.signature * 2,
      openingThePush: median((steps.small.oidc.push ?? []).map((one) => one.ownCpu)),
    },
    peer: {
      'oidc-provider': mapValues(found.peer, sideOf),
      here: {
        discovery: sideOf(found.documents['/.well-known/openid-configuration'] ?? []),
        token: sideOf(steps.small.oidc.token ?? []),
        userinfo: sideOf(steps.small.oidc.userinfo ?? []),
      },
    },
    pending: found.pending,
    counts,
    d1QueriesOfAnIsolateThatForgotTheClient:
      oidcCounts === undefined ? null : oidcCounts.d1Queries + COLD_QUERIES,
    linesPerLogin: logins.lines,
    cost: cost ?? null,
    enrollment: { cpu: found.enrolling.cpu, perSecond: found.enrolling.perSecond },
    budget: {
      ratio: mapValues(doors, ({ ratio }) => ratio.median <= BUDGET.ratio),
      growth: mapValues(doors, ({ growth }) => growth.median < BUDGET.growth),
      floorIsFair: isFair(counts),
      dollars: cost === undefined ? null : cost.total <= BUDGET.dollars,
    },
  }
}

export type Conclusion = ReturnType<typeof conclude>

function sideOf(costs: readonly Cost[]) {
  return {
    cpu: figure(costs, (cost) => cost.cpu),
    perSecond: figure(costs, (cost) => cost.perSecond),
    p50: figure(costs, (cost) => cost.times.p50),
    p99: figure(costs, (cost) => cost.times.p99),
  }
}

/** How the budget test names the doors. */
const KINDS = { oidc: 'oidc', direct: 'back-end' } as const satisfies Record<Door, string>

/** Whether the floors make no more of anything than the budget test has counted for a login. */
function isFair(counts: Measurements['counts']): boolean {
  return (['oidc', 'direct'] as const).every((door) => {
    const counted = counts[KINDS[door]]
    return [FLOOR[door], FLOOR_WITH_ROWS[door]]
      .map(totalsOf)
      .every(
        (made) =>
          counted !== undefined &&
          made.workerRequests <= counted.workerRequests &&
          made.objectRequests <= counted.objectRequests &&
          made.objectRows <= counted.objectRows &&
          made.d1Queries <= counted.d1Queries,
      )
  })
}

/** How many things went wrong, wherever it was. A run with failures proves nothing. */
function failuresIn({ logins, floorParts, steps, documents, open, peer, enrolling }: Measurements) {
  const costs: readonly Cost[] = [
    enrolling,
    ...Object.values(logins.products).flatMap((byDoor) => Object.values(byDoor).flat()),
    ...Object.values(logins.floor).flat(),
    ...Object.values(logins.floorWithRows).flat(),
    ...Object.values(floorParts),
    ...Object.values(steps).flatMap((byDoor) =>
      Object.values(byDoor).flatMap((byStep) => Object.values(byStep).flat()),
    ),
    ...Object.values(documents).flat(),
    ...Object.values(peer).flat(),
  ]
  const open_ = Object.values(open).reduce((sum, { failed }) => sum + failed, 0)
  return costs.reduce((sum, { failed }) => sum + failed, open_)
}

/** The same for people: tables in Markdown. */
export function tablesOf(said: Conclusion): string {
  const { doors, people } = said
  const both = (['oidc', 'direct'] as const).map((name) => [name, doors[name]] as const)
  const small = thousands(people.small)
  const large = thousands(people.large)
  return [
    `## Logins (${said.cores} cores, ${thousands(Math.round(said.seconds))} s, failures: ${said.failed})`,
    table(
      [
        'door',
        `logins/s, ${small} people`,
        `logins/s, ${large}`,
        `CPU ms, ${small}`,
        `CPU ms, ${large}`,
        'growth',
        'floor, CPU ms',
        'ratio',
        'floor with rows',
        'ratio',
      ],
      both.map(([name, d]) => [
        name,
        spread(d.perSecond.small, 1),
        spread(d.perSecond.large, 1),
        spread(d.cpu.small, 1),
        spread(d.cpu.large, 1),
        `${spread(percentOf(d.growth), 1)} %`,
        spread(d.floor, 1),
        spread(d.ratio, 2),
        spread(d.floorWithRows, 1),
        spread(d.ratioToFloorWithRows, 2),
      ]),
    ),
    `Of the CPU of a login ${both.map(([name, d]) => `${d.sweep.toFixed(1)} ms (${name})`).join(' and ')} fall due a minute later, when what is left of its object is swept.`,
    `With Miniflare's own rate limits instead of counters in memory the ratio would be ${both
      .map(([name, d]) => `${d.ratioWithMiniflareLimits.toFixed(2)} (${name})`)
      .join(' and ')}.`,
    `The phone's own work, not in workerd: two signatures of ${said.phone.signature.toFixed(2)} ms, one push opened in ${said.phone.openingThePush.toFixed(2)} ms. The load process spends ${doors.oidc.loadCpu.toFixed(1)} ms a login on browser, phone and service together.`,
    '## Floor, one part in a request (CPU ms)',
    table(
      ['part', 'CPU ms'],
      Object.entries(said.floorParts).map(([part, cpu]) => [part, cpu.toFixed(2)]),
    ),
    '## Steps (CPU ms of workerd each; what follows an answer counts with it)',
    table(
      ['door', 'step', `${small} people`, `${large} people`],
      both.flatMap(([name]) =>
        Object.entries(said.steps.small[name] ?? {}).map(([step, one]) => [
          name,
          step,
          spread(one.cpu, 2),
          spread(said.steps.large[name]?.[step]?.cpu ?? one.cpu, 2),
        ]),
      ),
    ),
    `## Open loop (ms), ${said.open.small.perSecond.toFixed(1)} logins a second`,
    table(
      ['door', 'step', 'samples', `p50 ${small}`, 'p95', 'p99', `p50 ${large}`, 'p95', 'p99'],
      both.flatMap(([name]) =>
        Object.entries(said.open.small.steps[name]).map(([step, times]) => [
          name,
          step,
          String(times.count),
          ...times3(times),
          ...times3(said.open.large.steps[name][step] ?? times),
        ]),
      ),
    ),
    '## Public documents',
    table(
      ['path', 'CPU ms', 'requests/s'],
      Object.entries(said.documents).map(([path, one]) => [
        path,
        spread(one.cpu, 2),
        spread(one.perSecond, 0),
      ]),
    ),
    '## Beside oidc-provider (medians)',
    table(
      ['request', 'whose', 'CPU ms', 'requests/s', 'p50 ms', 'p99 ms'],
      (['discovery', 'token', 'userinfo'] as const).flatMap((request) =>
        (['here', 'oidc-provider'] as const).map((whose) => {
          const side = (said.peer[whose] as Readonly<Record<string, ReturnType<typeof sideOf>>>)[
            request
          ]
          if (side === undefined) return [request, whose, '', '', '', '']
          const { cpu, perSecond, p50, p99 } = side
          return [
            request,
            whose,
            spread(cpu, 2),
            spread(perSecond, 0),
            spread(p50, 1),
            spread(p99, 1),
          ]
        }),
      ),
    ),
    '## Pending logins with sockets',
    table(
      ['pending', 'memory MiB', 'KiB each', 'open files', 'opened in s'],
      said.pending.map(({ pending, mebibytes, files, seconds }) => [
        thousands(pending),
        mebibytes.toFixed(0),
        pending === 0
          ? ''
          : (((mebibytes - (said.pending[0]?.mebibytes ?? 0)) * 1024) / pending).toFixed(0),
        thousands(files),
        seconds.toFixed(0),
      ]),
    ),
    '## Counts and list price',
    table(
      [
        'kind of login',
        'Worker requests',
        'object requests',
        'object rows',
        'D1 queries',
        'D1 rows',
      ],
      Object.entries(said.counts).map(([kind, c]) => [
        kind,
        ...[c.workerRequests, c.objectRequests, c.objectRows, c.d1Queries, c.d1Rows].map(String),
      ]),
    ),
    `An isolate that does not know the client asks D1 once more: ${said.d1QueriesOfAnIsolateThatForgotTheClient} queries. Log lines a login: ${both.map(([name]) => `${said.linesPerLogin[name].toFixed(1)} (${name})`).join(', ')}.`,
    said.cost === null
      ? 'No counts, no cost.'
      : `List price of a million OpenID Connect logins: $${said.cost.total.toFixed(2)} (${Object.entries(
          said.cost.parts,
        )
          .map(([part, dollars]) => `${part} ${dollars.toFixed(2)}`)
          .join(', ')}).`,
    `Budget: ${both
      .map(
        ([name]) =>
          `${name}: ratio ${verdict(said.budget.ratio[name])}, growth ${verdict(said.budget.growth[name])}`,
      )
      .join(
        '; ',
      )}; floor no more than a login makes ${verdict(said.budget.floorIsFair)}; cost ${verdict(said.budget.dollars === true)}.`,
  ].join('\n\n')
}

function verdict(kept: boolean): string {
  return kept ? 'kept' : 'NOT KEPT'
}

function percentOf({ median, rounds }: Figure): Figure {
  return { median: median * 100, rounds: rounds.map((share) => share * 100) }
}

function times3({ p50, p95, p99 }: Summary): string[] {
  return [p50, p95, p99].map((time) => time.toFixed(1))
}

/** The median, and the smallest and largest of several. */
function spread({ median, rounds }: Figure, digits: number): string {
  const middle = median.toFixed(digits)
  if (rounds.length < 2) return middle
  return `${middle} (${Math.min(...rounds).toFixed(digits)} to ${Math.max(...rounds).toFixed(digits)})`
}

function thousands(n: number): string {
  return n.toLocaleString('en-GB')
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

function mapValues<K extends string, V, W>(
  object: Readonly<Record<K, V>>,
  change: (value: V) => W,
): Record<K, W> {
  const entries = Object.entries(object) as [K, V][]
  return Object.fromEntries(entries.map(([key, value]) => [key, change(value)])) as Record<K, W>
}
