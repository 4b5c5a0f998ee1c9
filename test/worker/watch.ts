/** What the Worker, its objects and D1 are asked and write, counted where it passes (1-architecture section 5). */
import { onTestFinished, vi } from 'vitest'
import worker from '../../src/index.ts'
import {
  type D1Query,
  type ObjectWrite,
  watchD1,
  watchObjects,
  watchObjectWrites,
} from './storage.ts'

/** What has passed since the watch began. */
export interface Watch {
  readonly workerRequests: string[]
  readonly objectRequests: string[]
  readonly objectWrites: ObjectWrite[]
  readonly d1: D1Query[]
}

/** Watches everything until the test ends. */
export async function watchEverything(): Promise<Watch> {
  const workerRequests: string[] = []
  const real = worker.fetch
  const spy = vi.spyOn(worker, 'fetch').mockImplementation((request, ...rest) => {
    workerRequests.push(`${request.method} ${new URL(request.url).pathname.replace(/sess_.*/, '')}`)
    return Reflect.apply(real, worker, [request, ...rest])
  })
  onTestFinished(() => spy.mockRestore())
  return {
    workerRequests,
    objectWrites: await watchObjectWrites(),
    objectRequests: watchObjects(),
    d1: watchD1(),
  }
}

/** The sums that budgets are about. */
export function totals({ workerRequests, objectRequests, objectWrites, d1 }: Watch) {
  return {
    workerRequests: workerRequests.length,
    objectRequests: objectRequests.length,
    objectRows: objectWrites.reduce((sum, { rows }) => sum + rows, 0),
    d1Queries: d1.length,
    d1Rows: d1.reduce((sum, { written }) => sum + written, 0),
  }
}
