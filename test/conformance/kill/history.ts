/**
 * What the clients of one login saw, and the rules that no history may break (5-security G1, G2). The checker reads
 * answers and events only, never the server's store.
 */

/** One answer to a request of a login: what was asked, and what came back. */
export interface Seen {
  readonly act: 'claim' | 'approve' | 'deny' | 'redeem'
  readonly status: number
  readonly code: string | undefined
  /** The parts of the answer that must never change from one retry to the next. */
  readonly content: string
}

export interface History {
  readonly sessionId: string
  readonly plan: string
  readonly answers: Seen[]
  readonly events: Record<string, string>[]
}

/** Every rule that `history` breaks, in words; none for a good one. */
export function faultsOf(history: History): string[] {
  const { answers, events } = history
  const faults: string[] = []
  const good = (act: Seen['act']) =>
    answers.filter((answer) => answer.act === act && answer.status === 200)
  const finals = events.filter(({ type }) =>
    ['approved', 'rejected', 'expired'].includes(type ?? ''),
  )
  const outcomes = new Set(finals.map(({ type }) => type))
  const approvals = new Set(
    finals.filter(({ type }) => type === 'approved').map((e) => e.jwt ?? e.code),
  )

  if (outcomes.size > 1) faults.push(`two outcomes: ${[...outcomes].join(', ')}`)
  if (outcomes.size === 0) faults.push('no outcome: the login was lost')
  if (approvals.size > 1) faults.push('two results of one approval')
  if (good('approve').length > 0 && good('deny').length > 0) faults.push('approved and denied')
  if (good('approve').length > 0 && !outcomes.has('approved'))
    faults.push('an acknowledged approval is lost')
  if (good('deny').length > 0 && !outcomes.has('rejected'))
    faults.push('an acknowledged denial is lost')
  if (good('redeem').length > 1) faults.push('a code was redeemed twice')
  if (new Set(good('claim').map(({ content }) => content)).size > 1) {
    faults.push('the same claim was answered in two ways')
  }
  const broken = answers.filter(({ status, code }) => status === 500 || code === 'invalid_otp')
  if (broken.length > 0) faults.push(`answered ${broken.map(({ status }) => status).join(', ')}`)
  return faults
}
