/** What the browser itself says about where a request comes from. No script can write these headers. */

/**
 * Whether a form that changes something may have been posted by a page of ours. `origin` is the issuer's origin. Our pages
 * have `Referrer-Policy: no-referrer`, so their forms send `Origin: null` (Fetch standard, "append a request Origin header");
 * a sandboxed frame elsewhere sends that too, and is told by `Sec-Fetch-Site`. Browsers that send neither header are held off by
 * `SameSite=Lax` and the ticket of the form.
 */
export function isOwnNavigation(headers: Headers, origin: string): boolean {
  const site = headers.get('Sec-Fetch-Site')
  const sender = headers.get('Origin')
  return (
    (site === null || site === 'same-origin') &&
    (sender === null || sender === 'null' || sender === origin)
  )
}

/** Whether a page would be shown in a tab of its own: not fetched by a script, framed, or loaded ahead (5-security 339). */
export function isTopLevel(headers: Headers): boolean {
  const destination = headers.get('Sec-Fetch-Dest')
  if (destination !== null && destination !== 'document') return false
  return !AHEAD.some((name) => /prefetch|prerender|preview/i.test(headers.get(name) ?? ''))
}

/** `Sec-Purpose` of the Fetch standard and what came before it. */
const AHEAD = ['Sec-Purpose', 'Purpose', 'X-Purpose', 'X-Moz']
