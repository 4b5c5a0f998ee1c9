import { Hono } from 'hono'
import { problem } from '../http/problem.ts'
import { get } from '../http/routes.ts'
import { currentTrustListText } from './store.ts'

/** `/.well-known/trust-list`: the signed list in force, so that a phone can check seals alone. */
export function trustListRoutes(db: D1Database): Hono {
  const app = new Hono()
  get(app, '/.well-known/trust-list', async () => {
    const jws = await currentTrustListText(db)
    if (jws === undefined) return problem('not_found')
    return new Response(jws, {
      headers: {
        'Content-Type': 'application/trustlist+jwt',
        'Cache-Control': 'public, max-age=300',
        'Access-Control-Allow-Origin': '*',
      },
    })
  })
  return app
}
