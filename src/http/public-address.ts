/** Which addresses may be named as somebody's public home, in a registration as in a Service VDS (5-security 166, 167). */

/** Whether `hostname` (as `URL` gives it) names this machine and no other. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '127.0.0.1' || hostname === '[::1]'
}

/** Whether the address `text`, which `URL` can read, is of a public host. `loopback`: the issuer is loopback http itself. */
export function isPublicUrl(text: string, loopback: boolean): boolean {
  const url = new URL(text)
  if (url.username !== '' || url.password !== '') return false
  return isAllowedHost(url, loopback)
}

/** Whether `text` is exactly an origin: scheme, host, perhaps a port, in the form a browser sends it. */
export function isPublicOrigin(text: string, loopback: boolean): boolean {
  if (!URL.canParse(text)) return false
  const url = new URL(text)
  return url.origin === text && isAllowedHost(url, loopback)
}

function isAllowedHost(url: URL, loopback: boolean): boolean {
  if (url.protocol === 'http:') return loopback && isLoopback(url.hostname)
  if (url.protocol !== 'https:') return false
  // A literal address is never the public home of a service, and a private one would aim inside somebody's network.
  const literal = url.hostname.startsWith('[') || /^[\d.]+$/.test(url.hostname)
  // Neither is a name of the own machine or network, nor the absolute form of a name: to a browser another origin.
  const inward = /(?:\.|\.localhost|\.local|\.internal)$/.test(url.hostname)
  // `URL` lets `*`, `;` and `,` stand in a name; in a Content-Security-Policy each would say something of its own.
  return !literal && !inward && /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)+$/.test(url.hostname)
}
