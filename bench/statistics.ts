/** Numbers about numbers: percentiles, medians, and when the visitors of an open loop come. Nothing here measures. */

export type Summary = {
  readonly count: number
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly max: number
}

/** The smallest of `values` that `share` (0 to 1) of them don't exceed: nearest rank. NaN of nothing. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}

export function summaryOf(values: readonly number[]): Summary {
  return {
    count: values.length,
    p50: percentile(values, 0.5),
    p95: percentile(values, 0.95),
    p99: percentile(values, 0.99),
    max: percentile(values, 1),
  }
}

/** The middle of `values`, or the mean of the two in the middle. NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length / 2
  const [low = Number.NaN, high = low] = sorted.slice(Math.ceil(middle) - 1, Math.floor(middle) + 1)
  return (low + high) / 2
}

/**
 * When visitors come who know nothing of each other, in milliseconds from the beginning: a Poisson process of `perSecond`
 * over `seconds`. `draw` gives numbers from 0 to 1, 1 excluded.
 */
export function arrivals(perSecond: number, seconds: number, draw: () => number): number[] {
  const times: number[] = []
  for (let at = 0; ; times.push(at)) {
    at += (-Math.log(1 - draw()) / perSecond) * 1000
    if (at >= seconds * 1000) return times
  }
}

/**
 * How long a step took for whoever waited, in milliseconds. A step is due when its time has come and the step before it of
 * the same visitor is done; what a crowded client or server makes of it after that counts (coordinated omission). It is
 * never held against a visitor that he was still busy with a step before.
 */
export function waited(step: {
  readonly due: number
  readonly previousDone: number
  readonly done: number
}): number {
  return step.done - Math.max(step.due, step.previousDone)
}

/** Numbers from 0 to 1 that are the same in each run with the same `seed` (mulberry32). */
export function seededDraw(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
