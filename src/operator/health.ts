/** What `/health` says: 503 while anything is failing that a login needs (5-security 311, 318). */
import { listFreshness } from '../seal/trust-list.ts'

export type Check = 'ok' | 'warning' | 'failing'

export interface Health {
  readonly status: 'ok' | 'failing'
  readonly checks: Readonly<Record<string, Check>>
}

/**
 * Runs `checks` side by side. A check that throws is failing. The answer says which part, never why: an operator finds the
 * reason in the log.
 */
export async function examine(
  checks: Readonly<Record<string, () => Promise<Check>>>,
): Promise<Health> {
  const results = await Promise.all(
    Object.entries(checks).map(async ([name, check]) => [name, await outcomeOf(check)] as const),
  )
  const failing = results.some(([, outcome]) => outcome === 'failing')
  return { status: failing ? 'failing' : 'ok', checks: Object.fromEntries(results) }
}

interface List {
  /** Unix seconds. */
  readonly nextUpdate: number
}

/** No list is a warning: a new deployment has none yet, and can neither enroll nor log anybody in. */
export function checkTrustList(list: List | undefined, now: number, graceSeconds: number): Check {
  if (list === undefined) return 'warning'
  const freshness = listFreshness(list, now, graceSeconds)
  return freshness === 'fresh' ? 'ok' : freshness === 'grace' ? 'warning' : 'failing'
}

/** A deployment need not import revocations. A list that is overdue still holds, so logins go on and the operator is told. */
export function checkRevocationList(list: List | undefined, now: number): Check {
  return list === undefined || now <= list.nextUpdate ? 'ok' : 'warning'
}

async function outcomeOf(check: () => Promise<Check>): Promise<Check> {
  try {
    return await check()
  } catch {
    return 'failing'
  }
}
