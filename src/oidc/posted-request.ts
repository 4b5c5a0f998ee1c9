import type { Parameters } from '../http/parameters.ts'

/** An address that we make ourselves is no longer than what we read, in characters. */
const LONGEST_QUERY = 12 * 1024

/**
 * Sends a browser that posted `parameters` to `path` there again by an address of ours, because a form of another site
 * brings none of our cookies along (`SameSite=Lax`, 4-oidc section 5.2, module 31). `undefined` when they don't fit.
 */
export function askedByAddress(
  issuer: string,
  path: string,
  { values, repeated }: Parameters,
): Response | undefined {
  const query = new URLSearchParams([
    ...values,
    // What came twice goes twice: that it is an error is judged there.
    ...[...repeated].map((name): [string, string] => [name, values.get(name) ?? '']),
  ]).toString()
  if (query.length > LONGEST_QUERY) return undefined
  const headers = { Location: `${issuer}${path}?${query}`, 'Cache-Control': 'no-store' }
  return new Response(null, { status: 303, headers })
}
