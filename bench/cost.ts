/** What a login costs at list price, from counts alone. The prices are those of Cloudflare's Workers Paid plan as of 2026; read them again before quoting. */

/** Dollars for a million of each, beyond what the plan includes. */
export const PRICES = {
  workerRequests: 0.3,
  cpuMilliseconds: 0.02,
  objectRequests: 0.15,
  objectGigabyteSeconds: 12.5,
  rowsWritten: 1,
  rowsRead: 0.001,
  logLines: 0.6,
} as const

/** How much of everything that is billed one login needs. Rows are those of D1 and of the objects. */
export type Usage = { readonly [K in keyof typeof PRICES]: number }

/** Dollars for a million logins of `usage`, part by part and in all. */
export function costPerMillion(usage: Usage): {
  readonly parts: Usage
  readonly total: number
} {
  const names = Object.keys(PRICES) as (keyof Usage)[]
  const parts = Object.fromEntries(names.map((name) => [name, usage[name] * PRICES[name]])) as Usage
  return { parts, total: names.reduce((sum, name) => sum + parts[name], 0) }
}

/** What the counting test says of one kind of login. */
export type Counts = {
  readonly workerRequests: number
  readonly objectRequests: number
  readonly objectRows: number
  readonly d1Queries: number
  readonly d1Rows: number
}

const COUNT_LINE = /cost of a login \(([^)]*)\): ((?:\w+ \d+(?:, )?)+)/g
const NAMES = ['workerRequests', 'objectRequests', 'objectRows', 'd1Queries', 'd1Rows'] as const

/** The counts in what `test/worker/budgets.test.ts` prints, by kind of login. */
export function readCounts(printed: string): Readonly<Record<string, Counts>> {
  const found = [...printed.matchAll(COUNT_LINE)].map(([, kind = '', list = '']) => {
    const said = Object.fromEntries(list.split(', ').map((pair) => pair.split(' ')))
    const counts = Object.fromEntries(NAMES.map((name) => [name, Number(said[name])]))
    return [kind, counts as Counts] as const
  })
  return Object.fromEntries(
    found.filter(([, counts]) => Object.values(counts).every(Number.isInteger)),
  )
}
