/**
 * The floor: the least that a login could cost. A request names how many of each it makes: calls of one object, calls that write
 * a row there, new objects with one write, reads of one row by its key, inserts of a row with one index, questions to a rate
 * limit; or one write in an object by its name. Nothing else happens.
 */
import { DurableObject } from 'cloudflare:workers'

type FloorEnv = {
  readonly DB: D1Database
  readonly THING: DurableObjectNamespace<Thing>
  readonly LIMIT: RateLimit
}

const TABLE = 'CREATE TABLE IF NOT EXISTS thing (id INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT'

export class Thing extends DurableObject<FloorEnv> {
  /** Answers. */
  ping(): number {
    return 1
  }

  /** One row. */
  write(): number {
    const { sql } = this.ctx.storage
    sql.exec(TABLE)
    return sql.exec('INSERT OR REPLACE INTO thing VALUES (1, ?)', crypto.randomUUID()).rowsWritten
  }
}

export default {
  async fetch(request, env): Promise<Response> {
    const { searchParams } = new URL(request.url)
    const times = (name: string) => Array.from({ length: Number(searchParams.get(name) ?? 0) })
    for (const _ of times('calls')) await env.THING.getByName('the one').ping()
    for (const _ of times('writes')) await env.THING.getByName('the one').write()
    const named = searchParams.get('named')
    if (named !== null) await env.THING.getByName(named).write()
    for (const _ of times('limits')) await env.LIMIT.limit({ key: crypto.randomUUID() })
    for (const _ of times('objects')) await env.THING.get(env.THING.newUniqueId()).write()
    for (const _ of times('reads')) {
      const key = Math.floor(Math.random() * 1000)
      await env.DB.prepare('SELECT body FROM thing WHERE id = ?').bind(`thing-${key}`).first()
    }
    for (const _ of times('inserts')) {
      await env.DB.prepare('INSERT INTO note (once, body) VALUES (?, ?)')
        .bind(crypto.randomUUID(), crypto.randomUUID())
        .run()
    }
    return new Response('ok')
  },
} satisfies ExportedHandler<FloorEnv>
