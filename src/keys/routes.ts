/** The public keys as documents: `/.well-known/jwks.json` and `/jwks` for tokens, `device-jwks.json` for phones. */
import { type Context, Hono } from 'hono'
import { sha256, toBase64url } from '../bytes.ts'
import { problem } from '../http/problem.ts'
import type { JwkSet, KeyRing } from './key-ring.ts'

/** Public data, and the only documents here that every page may read (5-security 326). */
const HEADERS = {
  'Content-Type': 'application/json',
  'Cache-Control':
    'public, max-age=300, s-maxage=60, stale-while-revalidate=600, stale-if-error=86400',
  'Access-Control-Allow-Origin': '*',
}
const METHODS = 'GET, HEAD, OPTIONS'

/** The routes of the public keys; `ringOf` gives the key ring of the request's deployment. */
export function jwksRoutes(ringOf: (c: Context) => KeyRing): Hono {
  const app = new Hono()
  const documents: Readonly<Record<string, (ring: KeyRing) => Promise<JwkSet>>> = {
    '/.well-known/jwks.json': (ring) => ring.tokenJwks(),
    '/jwks': (ring) => ring.tokenJwks(),
    '/.well-known/device-jwks.json': (ring) => ring.deviceJwks(),
  }
  for (const [path, keysOf] of Object.entries(documents)) {
    app.get(path, async (c) => publicJson(c, await keysOf(ringOf(c))))
    app.options(path, () => preflight())
    app.all(path, () => problem('method_not_allowed', { allow: METHODS }))
  }
  return app
}

/** A JSON document with a strong `ETag`, or 304 for a caller who has it. Hono answers HEAD with the same headers. */
async function publicJson(c: Context, document: JwkSet): Promise<Response> {
  const body = JSON.stringify(document)
  const etag = `"${toBase64url(await sha256(body))}"`
  if (matches(c.req.header('If-None-Match'), etag)) {
    return new Response(null, { status: 304, headers: { ...HEADERS, ETag: etag } })
  }
  const length = String(new TextEncoder().encode(body).length)
  return new Response(body, { headers: { ...HEADERS, ETag: etag, 'Content-Length': length } })
}

/** RFC 9110 section 13.1.2: a list of tags or `*`, compared weakly. */
function matches(ifNoneMatch: string | undefined, etag: string): boolean {
  const tags = (ifNoneMatch ?? '').split(',').map((tag) => tag.trim().replace(/^W\//, ''))
  return tags.includes('*') || tags.includes(etag)
}

/** `If-None-Match` is not a safelisted header, so a page that revalidates asks first. */
function preflight(): Response {
  return new Response(null, {
    status: 204,
    headers: {
      Allow: METHODS,
      'Access-Control-Allow-Origin': '*',
      'Access-Control-Allow-Methods': 'GET, HEAD',
      'Access-Control-Allow-Headers': 'If-None-Match',
      'Access-Control-Max-Age': '86400',
    },
  })
}
