/** The public keys as documents: `/.well-known/jwks.json` and `/jwks` for tokens, `device-jwks.json` for phones. */
import { type Context, Hono } from 'hono'
import { DOCUMENT_METHODS, publicDocument, publicPreflight } from '../http/document.ts'
import { only } from '../http/method.ts'
import type { JwkSet, KeyRing } from './key-ring.ts'

const CACHE_CONTROL =
  'public, max-age=300, s-maxage=60, stale-while-revalidate=600, stale-if-error=86400'

/** The routes of the public keys; `ringOf` gives the key ring of the request's deployment. */
export function jwksRoutes(ringOf: (c: Context) => KeyRing): Hono {
  const app = new Hono()
  const documents: Readonly<Record<string, (ring: KeyRing) => Promise<JwkSet>>> = {
    '/.well-known/jwks.json': (ring) => ring.tokenJwks(),
    '/jwks': (ring) => ring.tokenJwks(),
    '/.well-known/device-jwks.json': (ring) => ring.deviceJwks(),
  }
  for (const [path, keysOf] of Object.entries(documents)) {
    app.get(path, async (c) =>
      publicDocument(c.req.raw, await keysOf(ringOf(c)), { cacheControl: CACHE_CONTROL }),
    )
    app.options(path, () => publicPreflight())
    app.all(path, only(DOCUMENT_METHODS))
  }
  return app
}
