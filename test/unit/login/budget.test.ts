/** The book of one person's inbox: who may be pushed, when, and what stands open. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Book,
  doubtful,
  EMPTY_BOOK,
  end,
  isBlank,
  type LoginEnd,
  listed,
  start,
  tidy,
} from '../../../src/login/budget.ts'
import { ATTEMPT_MS } from '../../../src/login/session.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const DAY = 24 * 60 * MINUTE
const START = 1_800_000_000_000

/** A login `name` that starts at `now`; `ended` as the objects of the doubtful ones would say. */
function begin(book: Book, name: string, now: number, ended: readonly string[] = []) {
  return start(
    book,
    { sessionId: name, deadline: now + ATTEMPT_MS, begunBy: 'page', pushable: true },
    ended,
    now,
  )
}

/** Starts logins every `step` ms, each ended before the next; gives the times of the pushes. */
function pushes(count: number, step: number, how: LoginEnd): readonly number[] {
  let book = EMPTY_BOOK
  const times: number[] = []
  for (let i = 0; i < count; i++) {
    const now = START + i * step
    const { book: next, push } = begin(book, `login ${i}`, now)
    if (push) times.push(now - START)
    book = end(next, `login ${i}`, how, now + 1)
  }
  return times
}

describe('the push budget', () => {
  test('183 inbox: one pending push; the second login is taken in without one', () => {
    const first = begin(EMPTY_BOOK, 'a', START)
    expect(first.push).toBe(true)
    const second = begin(first.book, 'b', START + 1)
    expect(second.push).toBe(false)
    expect(second.book.open.map(({ sessionId }) => sessionId)).toEqual(['a', 'b'])
    expect(begin(end(second.book, 'a', 'declined', START + 2), 'c', START + 3).push).toBe(true)
  })

  test('184 inbox: three pushes in ten minutes, then one for each that grows old', () => {
    expect(pushes(5, MINUTE, 'declined')).toEqual([0, MINUTE, 2 * MINUTE])
    expect(pushes(12, MINUTE, 'ended')).toEqual([0, 1, 2, 10, 11].map((at) => at * MINUTE))
  })

  test('184 inbox: ten pushes a day, a success or none', () => {
    expect(pushes(100, 4 * MINUTE, 'ended')).toHaveLength(10)
    expect(pushes(100, MINUTE, 'approved')).toHaveLength(10)
    expect(pushes(24 * 60 + 1, MINUTE, 'approved')).toHaveLength(11)
  })

  test('256 inbox: a success forgives the three in ten minutes', () => {
    expect(pushes(8, MINUTE, 'approved')).toHaveLength(8)
  })

  test('256 inbox: a push in the very millisecond of a success counts', () => {
    let { book } = begin(EMPTY_BOOK, 'own', START)
    book = end(book, 'own', 'approved', START)
    let pushed = 0
    for (let i = 0; i < 4; i++) {
      const begun = begin(book, `login ${i}`, START)
      if (begun.push) pushed += 1
      book = end(begun.book, `login ${i}`, 'declined', START)
    }
    expect(pushed).toBeLessThanOrEqual(3)
  })

  test('225 inbox: "not me" silences pushes for a day, and a success ends the silence', () => {
    const quiet = end(begin(EMPTY_BOOK, 'a', START).book, 'a', 'not_me', START)
    expect(begin(quiet, 'b', START + DAY - 1).push).toBe(false)
    expect(begin(quiet, 'b', START + DAY).push).toBe(true)
    expect(begin(end(quiet, 'b', 'approved', START + 1), 'c', START + 2).push).toBe(true)
    expect(begin(end(quiet, 'b', 'declined', START + 1), 'c', START + 2).push).toBe(false)
  })

  test('193 inbox: a login that can not be pushed spends nothing and blocks nothing', () => {
    const login = {
      sessionId: 'a',
      deadline: START + ATTEMPT_MS,
      begunBy: 'page',
      pushable: false,
    } as const
    const { book, push } = start(EMPTY_BOOK, login, [], START)
    expect(push).toBe(false)
    expect(book.pushes).toEqual([])
    expect(begin(book, 'b', START + 1).push).toBe(true)
  })
})

describe('the open logins', () => {
  test('237 inbox: twenty starts: one push, ten shown, the pushed one among them, all known', () => {
    let book = EMPTY_BOOK
    let pushed = 0
    for (let i = 0; i < 20; i++) {
      const begun = begin(book, `login ${i}`, START)
      book = begun.book
      if (begun.push) pushed += 1
    }
    expect(pushed).toBe(1)
    const names = listed(book, START).map(({ sessionId }) => sessionId)
    expect(names).toEqual(['login 0', ...Array.from({ length: 9 }, (_, i) => `login ${i + 11}`)])
    expect(book.open).toHaveLength(20)
  })

  test('184 inbox: a flood of page logins hides neither the pushed login nor one of a back end', () => {
    const own = { sessionId: 'own', deadline: START + ATTEMPT_MS, pushable: true }
    let { book } = begin(EMPTY_BOOK, 'pushed', START)
    book = start(book, { ...own, begunBy: 'back-end' }, [], START).book
    for (let i = 0; i < 300; i++) book = begin(book, `flood ${i}`, START).book
    const names = listed(book, START).map(({ sessionId }) => sessionId)
    expect(names).toHaveLength(10)
    expect(names.slice(0, 2)).toEqual(['pushed', 'own'])
    expect(book.open).toHaveLength(100)
  })

  test('354 inbox: a pushed login past its first deadline is asked about, and blocks while it lives', () => {
    const { book } = begin(EMPTY_BOOK, 'a', START)
    expect(doubtful(book, START + ATTEMPT_MS - 1)).toEqual([])
    expect(doubtful(book, START + ATTEMPT_MS)).toEqual(['a'])
    expect(begin(book, 'b', START + ATTEMPT_MS).push).toBe(false)
    expect(begin(book, 'b', START + ATTEMPT_MS, ['a']).push).toBe(true)
    // No claim stretches it beyond two minutes.
    expect(doubtful(book, START + 2 * MINUTE)).toEqual([])
    expect(begin(book, 'b', START + 2 * MINUTE).push).toBe(true)
  })

  test('357 inbox: the next attempt of a login takes the place of the last, pushed or not', () => {
    const first = begin(EMPTY_BOOK, 'a', START)
    const second = begin(first.book, 'a', START + 30 * SECOND)
    expect(second.push).toBe(true)
    expect(second.book.open).toEqual([
      { sessionId: 'a', deadline: START + 90 * SECOND, begunBy: 'page', pushed: true },
    ])
    // Nor does it free the way for another login, nor come by more pushes than any.
    expect(begin(second.book, 'b', START + 31 * SECOND).push).toBe(false)
    const third = begin(second.book, 'a', START + 60 * SECOND)
    const fourth = begin(third.book, 'a', START + 90 * SECOND)
    expect([third.push, fourth.push]).toEqual([true, false])
    expect(fourth.book.open).toHaveLength(1)
    expect(begin(fourth.book, 'b', START + 91 * SECOND).push).toBe(false)
  })

  test('309 inbox: a day after the last push nothing is worth keeping', () => {
    const { book } = begin(EMPTY_BOOK, 'a', START)
    expect(isBlank(book, START + DAY - 1)).toBe(false)
    expect(isBlank(book, START + DAY)).toBe(true)
    const quiet = end(book, 'a', 'not_me', START + MINUTE)
    expect(isBlank(quiet, START + DAY)).toBe(false)
    expect(isBlank(quiet, START + DAY + MINUTE)).toBe(true)
    expect(isBlank(EMPTY_BOOK, START)).toBe(true)
  })
})

/* ---- random histories ---- */

interface Step {
  readonly wait: number
  readonly act: 'start' | 'again' | LoginEnd
  /** Which of the open logins ends, or has its next attempt. */
  readonly which: number
}

const steps: fc.Arbitrary<Step> = fc.record({
  wait: fc.oneof(
    fc.constantFrom(0, 1, ATTEMPT_MS, 10 * MINUTE),
    fc.integer({ min: 0, max: 3 * MINUTE }),
    fc.integer({ min: 0, max: 5 * 60 * MINUTE }),
  ),
  act: fc.constantFrom(
    'start',
    'start',
    'start',
    'start',
    'again',
    'again',
    'approved',
    'declined',
    'not_me',
    'ended',
  ),
  which: fc.nat(),
})

interface Seen {
  /** Starts with their times; `endedAt` when the person or the service ended it. */
  readonly name: string
  readonly at: number
  readonly pushed: boolean
  endedAt: number | undefined
}

/** Plays `history`; calls `check` after each start. Unclaimed logins are over at their deadline, as their objects say. */
function play(
  history: readonly Step[],
  check: (world: {
    readonly now: number
    readonly begun: Seen
    readonly logins: readonly Seen[]
    /** Those that began after the last success. */
    readonly sinceSuccess: readonly Seen[]
    readonly quietSince: number | undefined
    readonly book: Book
  }) => void,
): void {
  let book = EMPTY_BOOK
  let now = START
  let quietSince: number | undefined
  const logins: Seen[] = []
  let sinceSuccess: Seen[] = []
  for (const [index, { wait, act, which }] of history.entries()) {
    now += wait
    // Only a login that is still open can end; the others had their end.
    const open = logins.filter(({ at, endedAt }) => endedAt === undefined && now < at + ATTEMPT_MS)
    const chosen = open[which % (open.length || 1)]
    if (act === 'start' || act === 'again') {
      const over = doubtful(book, now)
      const name = (act === 'again' && chosen?.name) || `login ${index}`
      if (act === 'again' && chosen !== undefined) chosen.endedAt = now
      const started = begin(book, name, now, over)
      book = started.book
      const begun: Seen = { name, at: now, pushed: started.push, endedAt: undefined }
      logins.push(begun)
      sinceSuccess.push(begun)
      check({ now, begun, logins, sinceSuccess, quietSince, book })
      continue
    }
    if (chosen === undefined) continue
    chosen.endedAt = now
    book = end(book, chosen.name, act, now)
    if (act === 'approved') {
      sinceSuccess = []
      quietSince = undefined
    }
    if (act === 'not_me') quietSince = now
  }
}

describe('any history', () => {
  const histories = fc.array(steps, { maxLength: 60 })

  test('184 inbox: never more than three pushes in ten minutes without a success, nor ten a day', () => {
    fc.assert(
      fc.property(histories, (history) =>
        play(history, ({ now, logins, sinceSuccess }) => {
          const pushed = logins.filter((login) => login.pushed)
          const recent = sinceSuccess.filter(
            (login) => login.pushed && now - login.at < 10 * MINUTE,
          )
          expect(recent.length).toBeLessThanOrEqual(3)
          expect(pushed.filter(({ at }) => now - at < DAY).length).toBeLessThanOrEqual(10)
        }),
      ),
      { numRuns: 300 },
    )
  })

  test('183 inbox: never two pushed logins open at once, however many others begin', () => {
    fc.assert(
      fc.property(histories, (history) =>
        play(history, ({ now, logins, book }) => {
          const open = logins.filter(
            ({ at, pushed, endedAt }) => pushed && endedAt === undefined && now < at + ATTEMPT_MS,
          )
          expect(open.length).toBeLessThanOrEqual(1)
          expect(book.open.length).toBeLessThanOrEqual(10)
          const known = tidy(book, now).open.map(({ sessionId }) => sessionId)
          for (const { name } of open) expect(known).toContain(name)
        }),
      ),
      { numRuns: 300 },
    )
  })

  test('225 inbox: never a push in quiet mode', () => {
    fc.assert(
      fc.property(histories, (history) =>
        play(history, ({ now, begun, quietSince }) => {
          if (quietSince !== undefined && now < quietSince + DAY) expect(begun.pushed).toBe(false)
        }),
      ),
      { numRuns: 300 },
    )
  })

  test('193 inbox: a person whom nobody bothers is always pushed', () => {
    // One login every twenty minutes at most, each approved or left to expire: no rule but the daily one is ever met.
    const calm = fc.array(
      fc.record({
        wait: fc.integer({ min: 20 * MINUTE, max: 60 * MINUTE }),
        approved: fc.boolean(),
      }),
      { maxLength: 10 },
    )
    fc.assert(
      fc.property(calm, (logins) => {
        let book = EMPTY_BOOK
        let now = START
        for (const [index, { wait, approved }] of logins.entries()) {
          now += wait
          const begun = begin(book, `login ${index}`, now, doubtful(book, now))
          expect(begun.push).toBe(true)
          book = approved ? end(begun.book, `login ${index}`, 'approved', now + 5000) : begun.book
        }
      }),
      { numRuns: 100 },
    )
  })
})
