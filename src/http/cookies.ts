/**
 * Cookies, as strictly as RFC 6265 section 4.1.1 writes them. Ours are all `__Host-`: only this host can set them, over TLS,
 * for every path, and no script reads them (5-security 334).
 */
export type HostCookieName = `__Host-${string}`

/**
 * The value of the cookie `name` in a `Cookie` header, or `undefined` when it is absent, is not made of cookie octets, or
 * was sent twice: then somebody else has set one of them.
 */
export function readCookie(header: string | null, name: string): string | undefined {
  return cookiesOf(header, (other) => other === name).get(name)
}

/** All cookies whose names begin with `prefix`: full name -> value, by the rules of `readCookie`. */
export function readCookies(header: string | null, prefix: string): ReadonlyMap<string, string> {
  return cookiesOf(header, (name) => name.startsWith(prefix))
}

/**
 * The text of a `Set-Cookie` header; `maxAge` in whole seconds. Throws when `name` or `value` isn't made of the characters
 * that a cookie may hold: only our own code names and fills cookies.
 */
export function cookie(
  name: HostCookieName,
  value: string,
  { maxAge }: { readonly maxAge: number },
): string {
  if (!HOST_NAME.test(name) || !VALUE.test(value) || !Number.isSafeInteger(maxAge)) {
    throw new TypeError('not a cookie')
  }
  return `${name}=${value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=${Math.max(0, maxAge)}`
}

/** The text of a `Set-Cookie` header that removes the cookie `name`. */
export function expiredCookie(name: HostCookieName): string {
  return cookie(name, '', { maxAge: 0 })
}

/** `__Host-` and a token of RFC 9110 section 5.6.2. */
const HOST_NAME = /^__Host-[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
/** `*cookie-octet`: no white space, quote, comma, semicolon, backslash. */
const VALUE = /^[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*$/

function cookiesOf(
  header: string | null,
  isWanted: (name: string) => boolean,
): ReadonlyMap<string, string> {
  const seen = new Set<string>()
  const found = new Map<string, string>()
  for (const part of (header ?? '').split(';')) {
    const pair = part.replace(/^[ \t]+|[ \t]+$/g, '')
    const cut = pair.indexOf('=')
    const name = pair.slice(0, Math.max(0, cut))
    if (name === '' || !isWanted(name)) continue
    const value = pair.slice(cut + 1)
    if (!seen.has(name) && VALUE.test(value)) found.set(name, value)
    else found.delete(name)
    seen.add(name)
  }
  return found
}
