import { DurableObject } from 'cloudflare:workers'
import {
  type Book,
  doubtful,
  EMPTY_BOOK,
  end,
  isBlank,
  type LoginEnd,
  listed,
  type NewLogin,
  start,
  tidy,
} from './budget.ts'
import type { RejectionReason } from './door.ts'

/** What the inbox asks of the object of an open login. */
export interface OpenLoginObject {
  isOpen(): Promise<boolean>
  cancel(reason: RejectionReason): Promise<void>
}

/** What the inbox needs from the composition. */
export interface InboxHouse {
  /** Unix milliseconds. */
  readonly now: () => number
  readonly sessionOf: (sessionId: string) => OpenLoginObject | undefined
}

const DAY = 24 * 60 * 60_000

/**
 * The `PhoneInbox` Durable Object: one person's open logins, push budget and quiet mode. It is named by a keyed hash of
 * the tokenId and never learns the tokenId itself. One exists for every tokenId that anyone typed, enrolled or not, so
 * that timing tells nothing; a day after the last push it is empty again.
 */
export abstract class PhoneInboxObject extends DurableObject<Env> {
  /** Handed in by the composition. */
  protected abstract readonly house: InboxHouse
  /** What is stored, once it was read or written: nobody else writes here, and a write that fails takes the instance with it. */
  #book: Book | undefined

  /** Takes in a login that has begun, and says whether it may be pushed. */
  async start(login: NewLogin): Promise<boolean> {
    const ended = await this.#endedAmong(doubtful(this.#load(), this.house.now()))
    const { book, push } = start(this.#load(), login, ended, this.house.now())
    this.#save(book)
    await this.#sweepLater()
    return push
  }

  /** A login of this person has ended. "Not me" also ends every other login that was pushed. */
  async end(sessionId: string, how: LoginEnd): Promise<void> {
    const book = end(this.#load(), sessionId, how, this.house.now())
    this.#save(book)
    if (how === 'not_me') {
      await this.#cancel(
        book.open.filter(({ pushed }) => pushed),
        'not_me',
      )
    }
  }

  /** "Not me" about a login whose object is gone; `false` when this person was never told of it. */
  async report(sessionId: string): Promise<boolean> {
    const { open } = tidy(this.#load(), this.house.now())
    const isKnown = open.some((login) => login.sessionId === sessionId)
    if (isKnown) await this.end(sessionId, 'not_me')
    return isKnown
  }

  /** The open logins that were typed for this person: what the phone lists when push fails. */
  async pending(): Promise<readonly { readonly sessionId: string; readonly deadline: number }[]> {
    const now = this.house.now()
    return listed(this.#load(), now).map(({ sessionId, deadline }) => ({ sessionId, deadline }))
  }

  /** The tokenId was revoked: every open login ends, and this returns when all have. */
  async revoke(): Promise<void> {
    await this.#cancel(tidy(this.#load(), this.house.now()).open, 'revoked')
  }

  /** Empties the object once nothing in it matters any more. */
  override async alarm(): Promise<void> {
    if (isBlank(this.#load(), this.house.now())) {
      this.#book = undefined
      await this.ctx.storage.deleteAll()
    } else await this.ctx.storage.setAlarm(this.house.now() + DAY)
  }

  async #endedAmong(sessionIds: readonly string[]): Promise<readonly string[]> {
    const ended: string[] = []
    for (const sessionId of sessionIds) {
      // An object that doesn't answer counts as open: at worst one push less, and no difference to be seen from outside.
      const open = await this.house
        .sessionOf(sessionId)
        ?.isOpen()
        .catch(() => true)
      if (open !== true) ended.push(sessionId)
    }
    return ended
  }

  /** Ends `logins` and takes them out of the book. */
  async #cancel(
    logins: readonly { readonly sessionId: string }[],
    reason: RejectionReason,
  ): Promise<void> {
    if (logins.length === 0) return
    for (const { sessionId } of logins) await this.house.sessionOf(sessionId)?.cancel(reason)
    // Only these: another login may have begun while they were told.
    const ended = logins.map(({ sessionId }) => sessionId)
    const book = this.#load()
    this.#save({ ...book, open: book.open.filter(({ sessionId }) => !ended.includes(sessionId)) })
  }

  #load(): Book {
    if (this.#book !== undefined) return this.#book
    const { sql } = this.ctx.storage
    const exists = sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'inbox'").toArray().length > 0
    if (!exists) return EMPTY_BOOK
    const row = sql.exec<{ book: string }>('SELECT book FROM inbox').toArray()[0]
    this.#book = row === undefined ? EMPTY_BOOK : (JSON.parse(row.book) as Book)
    return this.#book
  }

  #save(book: Book): void {
    const { sql } = this.ctx.storage
    const stored = JSON.stringify(book)
    sql.exec(
      'CREATE TABLE IF NOT EXISTS inbox (id INTEGER PRIMARY KEY CHECK (id = 1), book TEXT NOT NULL) STRICT',
    )
    sql.exec('INSERT INTO inbox VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET book = ?1', stored)
    this.#book = JSON.parse(stored)
  }

  /** One sweep at a time stands in the diary: an alarm costs a row. */
  async #sweepLater(): Promise<void> {
    if ((await this.ctx.storage.getAlarm()) === null) {
      await this.ctx.storage.setAlarm(this.house.now() + DAY + 60_000)
    }
  }
}
