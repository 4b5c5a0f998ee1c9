import { describe, expect, test } from 'vitest'
import { FLOOR, FLOOR_WITH_ROWS, LIMIT_PART, totalsOf } from '../../../bench/floor/rounds.ts'
import type { Cost } from '../../../bench/load.ts'
import { conclude, type Measurements, tablesOf } from '../../../bench/report.ts'

const COUNTS = { workerRequests: 7, objectRequests: 8, objectRows: 10, d1Queries: 5, d1Rows: 2 }
const DIRECT = { ...COUNTS, workerRequests: 4, objectRequests: 7 }
const TIMES = { count: 1, p50: 1, p95: 2, p99: 3, max: 4 }

function cost(cpu: number, failed = 0): Cost {
  return { count: 10, failed, perSecond: 20, cpu, ownCpu: 9, times: TIMES }
}

const both = <T>(value: T) => ({ oidc: value, direct: value })
const costs = (...cpu: readonly number[]) => cpu.map((one) => cost(one))

function run(changed: Partial<Measurements> = {}): Measurements {
  const steps = both({ push: costs(0), token: costs(6), userinfo: costs(3) })
  const open = { perSecond: 5, failed: 0, steps: both({ token: TIMES }) }
  return {
    people: { small: 1000, large: 1_000_000 },
    seconds: 600,
    cores: 2,
    logins: {
      products: { small: both(costs(30, 60, 31)), large: both(costs(31, 63, 31)) },
      floor: both(costs(15, 32, 20)),
      floorWithRows: both(costs(20, 40, 20)),
      sweeps: { small: both(1), large: both(1) },
      lines: both(1),
    },
    floorParts: { 'empty request': cost(0.2), [LIMIT_PART]: cost(1.5) },
    steps: { small: steps, large: steps },
    documents: { '/.well-known/openid-configuration': costs(0.5) },
    open: { small: open, large: open },
    phone: { signature: 0.25 },
    peer: { discovery: costs(0.4), token: costs(2), userinfo: costs(1) },
    pending: [
      { pending: 0, mebibytes: 100, files: 50, seconds: 0 },
      { pending: 1000, mebibytes: 300, files: 2050, seconds: 10 },
    ],
    counts: { oidc: COUNTS, 'back-end': DIRECT },
    enrolling: cost(15),
    ...changed,
  }
}

describe('conclude', () => {
  test('compares round by round, so that a bad minute in both is in neither ratio', () => {
    const { oidc } = conclude(run()).doors
    expect(oidc.ratio.rounds).toEqual([2, 1.875, 1.55])
    expect(oidc.ratio.median).toBe(1.875)
    expect(oidc.ratioToFloorWithRows.median).toBe(1.5)
    // The medians of the columns would say 31 of 20.
    expect(oidc.cpu.small.median / oidc.floor.median).toBe(1.55)
    expect(oidc.growth.rounds.map((share) => share.toFixed(3))).toEqual(['0.033', '0.050', '0.000'])
  })

  test("tells what Miniflare's own rate limits would have added: two of them a login", () => {
    expect(conclude(run()).doors.oidc.ratioWithMiniflareLimits).toBe((31 + 3) / 20)
  })

  test('a ratio above two or a growth of ten percent is a budget not kept, door by door', () => {
    const { logins } = run()
    expect(conclude(run()).budget).toMatchObject({
      ratio: both(true),
      growth: both(true),
      floorIsFair: true,
    })
    const slow = { ...logins, floor: { ...logins.floor, direct: costs(14, 14, 14) } }
    expect(conclude(run({ logins: slow })).budget).toMatchObject({
      ratio: { oidc: true, direct: false },
      growth: both(true),
    })
    const large = { ...logins.products.large, direct: costs(33, 66, 40) }
    const grown = { ...logins, products: { ...logins.products, large } }
    expect(conclude(run({ logins: grown })).budget).toMatchObject({
      ratio: both(true),
      growth: { oidc: true, direct: false },
    })
  })

  test('a floor that makes more than a login was counted to make is not fair', () => {
    const counts = (oidc: object) => ({ oidc: { ...COUNTS, ...oidc }, 'back-end': DIRECT })
    for (const less of [{ d1Queries: 4 }, { workerRequests: 6 }, { objectRequests: 7 }]) {
      expect(conclude(run({ counts: counts(less) })).budget.floorIsFair).toBe(false)
    }
    expect(conclude(run({ counts: { oidc: COUNTS } })).budget.floorIsFair).toBe(false)
  })

  test('counts failures wherever they happened', () => {
    expect(conclude(run()).failed).toBe(0)
    const open = { ...run().open, large: { ...run().open.large, failed: 2 } }
    const failed = conclude(run({ open, enrolling: cost(15, 3), floorParts: { a: cost(1, 4) } }))
    expect(failed.failed).toBe(9)
  })

  test('the cost of a login follows from its counts; without them there is none', () => {
    const { cost: price, budget } = conclude(run())
    expect(price?.parts.workerRequests).toBeCloseTo(2.1)
    expect(price?.parts.rowsWritten).toBeCloseTo(12)
    expect(price?.parts.cpuMilliseconds).toBeCloseTo(0.62)
    expect(budget.dollars).toBe(true)
    const none = conclude(run({ counts: {} }))
    expect([none.cost, none.budget.dollars]).toEqual([null, null])
  })
})

describe('tablesOf', () => {
  test('shows every round beside its median, memory beside the empty server, and the verdicts', () => {
    const tables = tablesOf(conclude(run()))
    expect(tables).toContain('1.88 (1.55 to 2.00)')
    expect(tables).toContain('| 1,000 | 300 | 205 | 2,050 | 10 |')
    expect(tables).toContain('ratio kept')
    const { logins } = run()
    const slow = { ...logins, floor: both(costs(10, 10, 10)) }
    expect(tablesOf(conclude(run({ logins: slow })))).toContain('ratio NOT KEPT')
  })

  test('every row of a table has as many cells as its head', () => {
    const blocks = tablesOf(conclude(run())).split('\n\n')
    const tables = blocks.filter((block) => block.startsWith('|'))
    expect(tables.length).toBe(8)
    for (const table of tables) {
      const widths = table.split('\n').map((line) => line.split('|').length)
      expect(new Set(widths).size, table).toBe(1)
    }
  })
})

describe('the floor', () => {
  test('makes as many requests, object calls and queries as a login by each door', () => {
    expect(totalsOf(FLOOR.oidc)).toEqual({
      workerRequests: 7,
      objectRequests: 8,
      objectRows: 1,
      d1Queries: 5,
    })
    expect(totalsOf(FLOOR.direct)).toEqual({
      workerRequests: 4,
      objectRequests: 7,
      objectRows: 1,
      d1Queries: 4,
    })
  })

  test('with rows differs only in what it writes', () => {
    for (const door of ['oidc', 'direct'] as const) {
      const { objectRows: few, ...plain } = totalsOf(FLOOR[door])
      const { objectRows: many, ...written } = totalsOf(FLOOR_WITH_ROWS[door])
      expect(written).toEqual(plain)
      expect(many).toBeGreaterThan(few)
    }
  })
})
