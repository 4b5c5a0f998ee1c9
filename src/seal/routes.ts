import { Hono } from 'hono'
import { only } from '../http/method.ts'
import { problem } from '../http/problem.ts'
import { currentTrustListText } from './store.ts'

/** `/.well-known/trust-list`: the signed list in force, so that a phone can check seals alone. */
export function trustListRoutes(db: D1Database): Hono {
  const app = new Hono()
  const path = '/.well-known/trust-list'
  app.get(path, async () => {
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
  app.all(path, only('GET, HEAD'))
  return app
}
