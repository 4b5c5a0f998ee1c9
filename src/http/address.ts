/**
 * The bucket that a client's address falls into for rate limits: an IPv4 address, or the /64 of an IPv6 address, because
 * whoever has one address of a /64 has all of them (5-security 255). Anything else, also a missing header, is one shared
 * bucket: without a trusted source nobody gets a private quota by inventing addresses (5-security 16).
 */
export function addressBucket(headers: Headers, trustedHeader: string): string {
  const address = trustedHeader === '' ? null : headers.get(trustedHeader)
  if (address === null) return 'unknown'
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  const v4 = mapped ?? (/^\d+\.\d+\.\d+\.\d+$/.test(address) ? address : undefined)
  if (v4 !== undefined) return v4
  return networkOf(address) ?? 'unknown'
}

/** The first four groups of an IPv6 `address`, written out, or `undefined` when it is not one. */
function networkOf(address: string): string | undefined {
  const url = `http://[${address}]/`
  if (!URL.canParse(url)) return undefined
  // `URL` writes the canonical short form; `::` stands for as many zero groups as are missing.
  const [head = '', tail] = new URL(url).hostname.slice(1, -1).split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? [] : Array(8 - left.length - right.length).fill('0')
  return `${[...left, ...zeros, ...right].slice(0, 4).join(':')}::/64`
}
