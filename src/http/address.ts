/**
 * The bucket that a client's address falls into for rate limits: an IPv4 address, or the /64 of an IPv6 address, because
 * whoever has one address of a /64 has all of them (5-security 255). Anything else, also a missing header, is one shared
 * bucket: without a trusted source nobody gets a private quota by inventing addresses (5-security 16).
 */
export function addressBucket(headers: Headers, trustedHeader: string): string {
  const address = trustedHeader === '' ? null : headers.get(trustedHeader)
  if (address === null) return 'unknown'
  if (IPV4.test(address)) return address
  const groups = groupsOf(address)
  if (groups === undefined) return 'unknown'
  // RFC 4291 section 2.5.5.2: an IPv4 address in IPv6 clothes is the same client.
  if (groups.slice(0, 6).join(':') === '0:0:0:0:0:ffff') return dotted(groups.slice(6))
  return `${groups.slice(0, 4).join(':')}::/64`
}

const OCTET = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)'
const IPV4 = new RegExp(`^${OCTET}(?:\\.${OCTET}){3}$`)

/** The eight groups of an IPv6 `address`, lower case and without leading zeros, or `undefined` when it is not one. */
function groupsOf(address: string): readonly string[] | undefined {
  const url = `http://[${address}]/`
  if (!/^[0-9a-f:.]+$/i.test(address) || !URL.canParse(url)) return undefined
  // `URL` writes the canonical short form; `::` stands for as many zero groups as are missing.
  const [head = '', tail] = new URL(url).hostname.slice(1, -1).split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? [] : Array(8 - left.length - right.length).fill('0')
  return [...left, ...zeros, ...right]
}

/** `['c000', '201']` as `192.0.2.1`. */
function dotted(groups: readonly string[]): string {
  const octets = groups.map((group) => Number.parseInt(group, 16)).flatMap((n) => [n >> 8, n & 255])
  return octets.join('.')
}
