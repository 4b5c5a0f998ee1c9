/** The ways to put load on something: all at once by a few hands, or by visitors who come when they come. */
import { setTimeout as wait } from 'node:timers/promises'
import { cpuOf } from './process.ts'
import { waited } from './statistics.ts'

/** What a piece of work cost. CPU time is that of the process under test; times in milliseconds. */
export type Measured = {
  readonly count: number
  readonly failed: number
  readonly milliseconds: number
  readonly cpu: number
  /** CPU of the process that made the load. */
  readonly ownCpu: number
  readonly latencies: readonly number[]
}

const QUIET_AFTER = 3000
const FAULTS_SHOWN = 3

/**
 * `hands` of them do what `next` gives, one after the other, until it gives nothing more. What the process does after its answers
 * belongs to the cost: the clock of its CPU is read when it has come to rest.
 */
export async function closedLoop(
  pid: number,
  hands: number,
  next: () => (() => Promise<void>) | undefined,
): Promise<Measured> {
  const latencies: number[] = []
  const tally = tallyOf()
  const begin = { at: performance.now(), cpu: cpuOf(pid), own: cpuOf(process.pid) }
  const hand = async () => {
    for (let job = next(); job !== undefined; job = next()) {
      const start = performance.now()
      if (await tally(job)) latencies.push(performance.now() - start)
    }
  }
  await Promise.all(Array.from({ length: hands }, hand))
  const milliseconds = performance.now() - begin.at
  const ownCpu = cpuOf(process.pid) - begin.own
  await untilQuiet(pid)
  const { failed } = tally
  return {
    ...{ count: latencies.length, failed, milliseconds, ownCpu, latencies },
    cpu: cpuOf(pid) - begin.cpu,
  }
}

/** Gives `job` until `seconds` have passed. */
export function forSeconds(
  seconds: number,
  job: () => (() => Promise<void>) | undefined,
): () => (() => Promise<void>) | undefined {
  const end = performance.now() + seconds * 1000
  return () => (performance.now() < end ? job() : undefined)
}

/** Gives each of `items` once. */
export function once<T>(
  items: Iterable<T>,
  job: (item: T) => Promise<void>,
): () => (() => Promise<void>) | undefined {
  const iterator = items[Symbol.iterator]()
  return () => {
    const { done, value } = iterator.next()
    return done === true ? undefined : () => job(value)
  }
}

export type Timed<T> = {
  readonly name: string
  readonly after: number
  readonly run: (visit: T) => Promise<void>
}

/**
 * Visitors come at `times` (milliseconds from now) whatever has become of those before them, and each goes through `steps`, every
 * step at its own time. Gives the times that each step took for its visitor, by name.
 */
export async function openLoop<T>(
  times: readonly number[],
  steps: readonly Timed<T>[],
  begin: () => T | undefined,
  end: (visit: T) => void,
): Promise<{ readonly failed: number; readonly latencies: Record<string, number[]> }> {
  const latencies: Record<string, number[]> = Object.fromEntries(steps.map((s) => [s.name, []]))
  const tally = tallyOf()
  const origin = performance.now()
  const now = () => performance.now() - origin
  const visit = async (start: number) => {
    await untilTime(start, now)
    const visitor = begin()
    if (visitor === undefined) throw new Error('There is nobody left to come.')
    try {
      let previousDone = start
      for (const { name, after, run } of steps) {
        const due = start + after
        await untilTime(due, now)
        await run(visitor)
        const done = now()
        latencies[name]?.push(waited({ due, previousDone, done }))
        previousDone = done
      }
    } finally {
      end(visitor)
    }
  }
  await Promise.all(times.map((start) => tally(() => visit(start))))
  return { failed: tally.failed, latencies }
}

/** Returns when `pid` does nothing worth mentioning any more. */
export async function untilQuiet(pid: number): Promise<void> {
  const end = performance.now() + QUIET_AFTER
  for (let before = cpuOf(pid), still = 0; still < 3 && performance.now() < end; ) {
    await wait(100)
    const after = cpuOf(pid)
    still = after === before ? still + 1 : 0
    before = after
  }
}

async function untilTime(time: number, now: () => number): Promise<void> {
  const left = time - now()
  if (left > 0) await wait(left)
}

/** Runs jobs, says whether each went well, counts those that didn't and tells of the first. */
function tallyOf() {
  const tally = async (job: () => Promise<void>): Promise<boolean> => {
    try {
      await job()
      return true
    } catch (fault) {
      tally.failed += 1
      if (tally.failed <= FAULTS_SHOWN) console.error(fault)
      return false
    }
  }
  tally.failed = 0
  return tally
}
