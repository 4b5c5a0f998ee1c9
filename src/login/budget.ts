/**
 * The book of one person's inbox: open logins, push budget and quiet mode (1-architecture decision 7), as pure functions.
 * Times are Unix milliseconds. What it decides is never told to whoever started a login.
 */
import type { Asked } from './door.ts'
import { LONGEST_ATTEMPT_MS } from './session.ts'

const MINUTE = 60_000
const DAY = 24 * 60 * MINUTE
/** What a phone is shown, and what a revocation must find and end. */
const LISTED_LOGINS = 10
const KNOWN_LOGINS = 100
const PUSHES_IN_TEN_MINUTES = 3
const PUSHES_A_DAY = 10

export interface OpenLogin {
  readonly sessionId: string
  /** When it ends unless the phone claims it. */
  readonly deadline: number
  readonly begunBy: Asked['begunBy']
  readonly pushed: boolean
  /** Cancelled by the browser that began: no longer listed, but its push has rung. */
  readonly cancelled?: boolean
}

export interface Book {
  readonly open: readonly OpenLogin[]
  /** Times of the pushes of the last day. */
  readonly pushes: readonly number[]
  /** The last success: pushes before it no longer count towards three in ten minutes. */
  readonly succeededAt: number
  /** Until when nothing is pushed; "not me" sets it, a success lifts it. */
  readonly quietUntil: number
}

export const EMPTY_BOOK: Book = { open: [], pushes: [], succeededAt: 0, quietUntil: 0 }

/** `book` without what is over at `now`. A claimed login may outlive its first deadline by a minute. */
export function tidy(book: Book, now: number): Book {
  return {
    ...book,
    open: book.open.filter(({ deadline }) => now < latest(deadline)),
    pushes: book.pushes.filter((at) => now - at < DAY),
  }
}

/** Whether the book of a person is blank at `now`, so that nothing need be stored. */
export function isBlank(book: Book, now: number): boolean {
  const { open, pushes, quietUntil } = tidy(book, now)
  return open.length === 0 && pushes.length === 0 && quietUntil <= now
}

/**
 * Logins whose first deadline has passed but that a claim may have stretched. Only their objects know, so a start asks
 * them before it decides about a push.
 */
export function doubtful(book: Book, now: number): readonly string[] {
  return tidy(book, now)
    .open.filter(({ deadline, pushed }) => pushed && deadline <= now)
    .map(({ sessionId }) => sessionId)
}

/** A login that begins. `pushable`: the push channel works; the same for everybody, whatever their phone. */
export interface NewLogin extends Omit<OpenLogin, 'pushed' | 'cancelled'> {
  readonly pushable: boolean
}

/**
 * Takes a new login into the book and says whether it may be pushed. `ended` are doubtful logins found to be over. Nothing
 * here depends on whether the person is enrolled, so that neither the book nor the work tells (5-security 3.3).
 */
export function start(
  book: Book,
  login: NewLogin,
  ended: readonly string[],
  now: number,
): { readonly book: Book; readonly push: boolean } {
  const tidied = tidy(book, now)
  // An entry of the login itself is that of its last attempt, which this one closes.
  const others = tidied.open.filter(({ sessionId }) => sessionId !== login.sessionId)
  // What has ended was heard all the same: its "not me" may still come.
  const open = others.map((other) =>
    ended.includes(other.sessionId) ? { ...other, pushed: false, cancelled: true } : other,
  )
  const recent = tidied.pushes.filter((at) => now - at < 10 * MINUTE && at >= tidied.succeededAt)
  const push =
    login.pushable &&
    now >= tidied.quietUntil &&
    !open.some(({ pushed }) => pushed) &&
    recent.length < PUSHES_IN_TEN_MINUTES &&
    tidied.pushes.length < PUSHES_A_DAY
  const { sessionId, deadline, begunBy } = login
  return {
    push,
    book: {
      ...tidied,
      open: keep([...open, { sessionId, deadline, begunBy, pushed: push }], KNOWN_LOGINS),
      pushes: push ? [...tidied.pushes, now] : tidied.pushes,
    },
  }
}

export type LoginEnd = 'approved' | 'declined' | 'not_me' | 'cancelled' | 'ended'

/** Takes an ended login out of the book. Repeating it changes nothing that matters. */
export function end(book: Book, sessionId: string, how: LoginEnd, now: number): Book {
  const tidied = tidy(book, now)
  const open = tidied.open.filter((login) => login.sessionId !== sessionId)
  switch (how) {
    case 'approved':
      return { ...tidied, open, succeededAt: now, quietUntil: 0 }
    case 'not_me':
      return { ...tidied, open, quietUntil: now + DAY }
    case 'cancelled':
      // A stranger could else ring, cancel and ring again at once: the push holds its place until its deadline.
      return {
        ...tidied,
        open: tidied.open.map((login) =>
          login.sessionId === sessionId ? { ...login, cancelled: true } : login,
        ),
      }
    case 'declined':
    case 'ended':
      return { ...tidied, open }
  }
}

/** The logins that a phone is shown at `now`. */
export function listed(book: Book, now: number): readonly OpenLogin[] {
  return keep(
    book.open.filter(({ deadline, cancelled }) => now < deadline && cancelled !== true),
    LISTED_LOGINS,
  )
}

/**
 * At most `count` of `open`. First goes what strangers can begin in any number: logins of pages, the oldest first; then
 * those of back ends; never the one that was pushed, which the person sees (5-security 184).
 */
function keep(open: readonly OpenLogin[], count: number): readonly OpenLogin[] {
  const giving = [
    ...open.filter(({ pushed, begunBy }) => !pushed && begunBy === 'page'),
    ...open.filter(({ pushed, begunBy }) => !pushed && begunBy === 'back-end'),
  ].slice(0, Math.max(0, open.length - count))
  return open.filter((login) => !giving.includes(login))
}

function latest(deadline: number): number {
  return deadline + LONGEST_ATTEMPT_MS / 2
}
