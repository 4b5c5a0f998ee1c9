import { describe, expect, test } from 'vitest'
import { costPerMillion, PRICES, readCounts } from '../../../bench/cost.ts'

const NOTHING = {
  workerRequests: 0,
  cpuMilliseconds: 0,
  objectRequests: 0,
  objectGigabyteSeconds: 0,
  rowsWritten: 0,
  rowsRead: 0,
  logLines: 0,
}

describe('costPerMillion', () => {
  test('the budget of the architecture, without metric points and spans, costs what the design computed', () => {
    const { parts, total } = costPerMillion({
      workerRequests: 8,
      cpuMilliseconds: 24,
      objectRequests: 8,
      objectGigabyteSeconds: 0.04,
      rowsWritten: 13,
      rowsRead: 12,
      logLines: 0.4,
    })
    expect(parts.workerRequests).toBeCloseTo(2.4)
    expect(parts.cpuMilliseconds).toBeCloseTo(0.48)
    expect(parts.objectRequests).toBeCloseTo(1.2)
    expect(parts.objectGigabyteSeconds).toBeCloseTo(0.5)
    expect(parts.rowsWritten).toBeCloseTo(13)
    expect(parts.rowsRead).toBeCloseTo(0.012)
    expect(parts.logLines).toBeCloseTo(0.24)
    expect(total).toBeCloseTo(17.832)
  })

  test('what is not used costs nothing, and every price counts', () => {
    expect(costPerMillion(NOTHING).total).toBe(0)
    for (const [name, price] of Object.entries(PRICES)) {
      expect(costPerMillion({ ...NOTHING, [name]: 1 }).total).toBe(price)
    }
  })
})

describe('readCounts', () => {
  const line = 'workerRequests 7, objectRequests 8, objectRows 10, d1Queries 5, d1Rows 2'
  const counts = { workerRequests: 7, objectRequests: 8, objectRows: 10, d1Queries: 5, d1Rows: 2 }

  test('finds each kind of login among whatever else is printed', () => {
    const printed = `RUN v5\n\ncost of a login (oidc): ${line}\nnoise (x): 1\ncost of a login (back-end, first of the day): ${line}\n`
    expect(readCounts(printed)).toEqual({
      oidc: counts,
      'back-end, first of the day': counts,
    })
  })

  test('a line that lacks a count is no count', () => {
    expect(readCounts('cost of a login (oidc): workerRequests 7, objectRows 10')).toEqual({})
    expect(readCounts('')).toEqual({})
  })
})
