/** Public documents: JSON that caches keep and that every page may read (5-security 326). */
import { sha256, toBase64url, utf8 } from '../bytes.ts'

/** The methods of a public document, for its 405 and its `OPTIONS`. */
export const DOCUMENT_METHODS = 'GET, HEAD, OPTIONS'

/**
 * `body` as JSON with a strong `ETag`, or 304 for a caller who has it. Hono answers HEAD with the same headers. Only public
 * data may go through here: the answer has CORS `*`.
 */
export async function publicDocument(
  request: Request,
  body: object,
  { cacheControl }: { readonly cacheControl: string },
): Promise<Response> {
  const bytes = utf8(JSON.stringify(body))
  const etag = `"${toBase64url(await sha256(bytes))}"`
  const headers = {
    'Content-Type': 'application/json',
    'Cache-Control': cacheControl,
    'Access-Control-Allow-Origin': '*',
    ETag: etag,
  }
  if (matches(request.headers.get('If-None-Match'), etag)) {
    return new Response(null, { status: 304, headers })
  }
  return new Response(bytes, { headers: { ...headers, 'Content-Length': String(bytes.length) } })
}

/** RFC 9110 section 13.1.2: a list of tags or `*`, compared weakly. */
function matches(ifNoneMatch: string | null, etag: string): boolean {
  const tags = (ifNoneMatch ?? '').split(',').map((tag) => tag.trim().replace(/^W\//, ''))
  return tags.includes('*') || tags.includes(etag)
}

/** The answer to `OPTIONS`. `If-None-Match` is not a safelisted header, so a page that revalidates asks first. */
export function publicPreflight(): Response {
  return new Response(null, {
    status: 204,
    headers: {
      Allow: DOCUMENT_METHODS,
      'Access-Control-Allow-Origin': '*',
      'Access-Control-Allow-Methods': 'GET, HEAD',
      'Access-Control-Allow-Headers': 'If-None-Match',
      'Access-Control-Max-Age': '86400',
    },
  })
}
