import { toBase64url } from '../bytes.ts'
import { deriveKey, hmacSha256, stableVersion } from '../keys/derive.ts'
import type { MasterSecret } from '../keys/master-secret.ts'
import { type AuditEvent, isKept, recordOf } from './events.ts'

export interface Audit {
  /**
   * Writes the line (unless `line` is false: it was written before) and, for events that are kept, the row. The row of a
   * login is insert-or-ignore by its login id, so that repeating it is harmless; so are that of a refused enrollment by
   * person, reason and day, that of a word of trust by person, service, word and hour, those of a replay and an end by grant, and that of an exchange by grant, service and resource, so
   * that nobody can fill the table.
   * @throws when D1 does; the act is already done by then, and a login's object tries again.
   */
  record(event: AuditEvent, options?: { readonly line?: boolean }): Promise<void>
  /**
   * A statement that writes the row of `event`, for one batch with the change it belongs to: both are stored or neither.
   * Where the change is conditional, `guard` is the query that finds it done.
   */
  statement(event: AuditEvent, guard?: Guard): Promise<D1PreparedStatement>
  /** The line alone: for statements that ran in a batch, and for events that are not kept. */
  line(event: AuditEvent): Promise<void>
}

/** A query with one parameter that has a row exactly when the act took place. */
export interface Guard {
  readonly query: string
  readonly value: string
}

const ALWAYS: Guard = { query: 'SELECT ?', value: '' }

/**
 * The audit of one Worker; `now` is Unix milliseconds. `requestId` is that of the request being answered; an object that
 * acts by itself has none.
 */
export function auditOf(
  db: D1Database,
  master: MasterSecret,
  now: () => number,
  requestId: () => string | undefined,
): Audit {
  async function subjectOf(event: AuditEvent): Promise<string | undefined> {
    if (!('tokenId' in event)) return undefined
    const key = await deriveKey(master, 'audit', stableVersion(master))
    return toBase64url(await hmacSha256(key, event.tokenId)).slice(0, 22)
  }

  async function recorded(event: AuditEvent): Promise<Record<string, unknown>> {
    const id = requestId()
    return { ...recordOf(event, await subjectOf(event)), ...(id && { requestId: id }) }
  }

  async function line(event: AuditEvent): Promise<void> {
    const record = await recorded(event)
    const at = new Date(now()).toISOString()
    console.log(JSON.stringify({ at, event: event.event, ...record }))
  }

  async function statement(event: AuditEvent, guard: Guard = ALWAYS): Promise<D1PreparedStatement> {
    const record = await recorded(event)
    const at = Math.floor(now() / 1000)
    return db
      .prepare(
        `INSERT OR IGNORE INTO audit (at, event, once, detail) SELECT ?, ?, ?, ? WHERE EXISTS (${guard.query})`,
      )
      .bind(at, event.event, onceOf(event, record, at), JSON.stringify(record), guard.value)
  }

  return {
    line,
    statement,
    async record(event, options = {}) {
      if (options.line !== false) await line(event)
      if (isKept(event)) await (await statement(event)).run()
    },
  }
}

/** What has at most one row; `null` for acts that each have their own. */
function onceOf(event: AuditEvent, record: Record<string, unknown>, at: number): string | null {
  if (event.event === 'login') return event.login
  if (event.event === 'replayed') return `replayed ${event.what} ${event.grant}`
  if (event.event === 'grant_ended') return `ended ${event.grant}`
  if (event.event === 'token_exchanged') {
    return `exchanged ${event.grant} ${event.service} ${event.resource}`
  }
  if (event.event === 'trust_said') {
    const hour = Math.floor(at / 3600)
    return `trust ${record.subject} ${event.service} ${event.trusted} ${hour}`
  }
  if (event.event !== 'enrollment_refused') return null
  return `refused ${record.subject} ${event.reason} ${Math.floor(at / 86_400)}`
}
