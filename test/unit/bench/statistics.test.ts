import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  arrivals,
  median,
  percentile,
  seededDraw,
  summaryOf,
  waited,
} from '../../../bench/statistics.ts'

describe('percentile', () => {
  test('is the nearest rank, in whatever order the values come', () => {
    const hundred = Array.from({ length: 100 }, (_, i) => 100 - i)
    expect(percentile(hundred, 0.5)).toBe(50)
    expect(percentile(hundred, 0.95)).toBe(95)
    expect(percentile(hundred, 0.99)).toBe(99)
    expect(percentile(hundred, 1)).toBe(100)
    expect(percentile([7], 0.99)).toBe(7)
    expect(percentile([], 0.5)).toBeNaN()
  })

  test('sorts numbers as numbers and leaves its argument alone', () => {
    const values = [10, 9, 2]
    expect(percentile(values, 0.3)).toBe(2)
    expect(values).toEqual([10, 9, 2])
  })

  test('is one of the values, and at least that share of them is not above it', () => {
    const some = fc.array(fc.integer(), { minLength: 1 })
    fc.assert(
      fc.property(some, fc.double({ min: 0.01, max: 1, noNaN: true }), (values, share) => {
        const found = percentile(values, share)
        const notAbove = values.filter((value) => value <= found).length
        expect(values).toContain(found)
        expect(notAbove / values.length).toBeGreaterThanOrEqual(share)
      }),
    )
  })

  test('a summary has the count and the largest too', () => {
    expect(summaryOf([3, 1, 2])).toEqual({ count: 3, p50: 2, p95: 3, p99: 3, max: 3 })
  })
})

test.each([
  [[5], 5],
  [[9, 1], 5],
  [[3, 10, 1], 3],
  [[4, 1, 3, 10], 3.5],
])('median of %j is %d', (values, expected) => {
  expect(median(values)).toBe(expected)
})

test('median of nothing is no number', () => {
  expect(median([])).toBeNaN()
})

describe('arrivals', () => {
  test('rise, stay inside the time, and come at the asked rate', () => {
    const times = arrivals(50, 100, seededDraw(1))
    expect(times).toEqual([...times].sort((a, b) => a - b))
    expect(times.at(-1)).toBeLessThan(100_000)
    // Five thousand are expected, and a Poisson count strays by about its root.
    expect(Math.abs(times.length - 5000)).toBeLessThan(300)
  })

  test('are not evenly spaced: the gaps of a Poisson process vary as much as they are long', () => {
    const times = arrivals(50, 100, seededDraw(2))
    const gaps = times.slice(1).map((time, i) => time - (times[i] ?? 0))
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length
    const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length
    expect(Math.sqrt(variance) / mean).toBeGreaterThan(0.9)
    expect(Math.sqrt(variance) / mean).toBeLessThan(1.1)
  })

  test('are the same for the same seed and others for another', () => {
    expect(arrivals(10, 5, seededDraw(7))).toEqual(arrivals(10, 5, seededDraw(7)))
    expect(arrivals(10, 5, seededDraw(7))).not.toEqual(arrivals(10, 5, seededDraw(8)))
  })

  test('a draw is from 0 to 1, 1 excluded', () => {
    const draw = seededDraw(3)
    const drawn = Array.from({ length: 10_000 }, draw)
    expect(Math.min(...drawn)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...drawn)).toBeLessThan(1)
    expect(Math.abs(drawn.reduce((sum, one) => sum + one, 0) / 10_000 - 0.5)).toBeLessThan(0.02)
  })
})

describe('waited', () => {
  test('counts from when the step was due, though it could begin only later', () => {
    // Due at 100, begun at 400 because the client was busy, done at 410: the visitor waited 310.
    expect(waited({ due: 100, previousDone: 50, done: 410 })).toBe(310)
  })

  test('counts from the end of the step before, when that is later', () => {
    expect(waited({ due: 100, previousDone: 300, done: 320 })).toBe(20)
  })
})
