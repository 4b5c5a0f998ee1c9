import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { addressBucket } from '../../../src/http/address.ts'

const HEADER = 'CF-Connecting-IP'

function bucket(address: string): string {
  return addressBucket(new Headers({ [HEADER]: address }), HEADER)
}

const group = fc.integer({ min: 0, max: 0xffff }).map((n) => n.toString(16))
const groups = (count: number) => fc.array(group, { minLength: count, maxLength: count })
const v4 = fc.ipV4()

describe('addressBucket', () => {
  it('255 a thousand addresses of one /64 are one bucket', () => {
    const buckets = new Set<string>()
    for (let i = 0; i < 1000; i++) {
      const tail = Array.from({ length: 4 }, (_, g) => ((i * 2654435761 * (g + 1)) >>> 8) & 0xffff)
      buckets.add(bucket(`2001:db8:7:9:${tail.map((n) => n.toString(16)).join(':')}`))
    }
    expect([...buckets]).toEqual(['2001:db8:7:9::/64'])
  })

  it('255 whatever the last 64 bits are, the first decide', () => {
    fc.assert(
      fc.property(groups(4), groups(4), groups(4), (network, one, other) => {
        const ofOne = bucket([...network, ...one].join(':'))
        expect(bucket([...network, ...other].join(':'))).toBe(ofOne)
        expect(ofOne).toMatch(/^([0-9a-f]{1,4}:){4}:\/64$/)
      }),
    )
  })

  it('255 another /64 is another bucket', () => {
    fc.assert(
      fc.property(groups(4), groups(4), groups(4), (one, other, host) => {
        const differ = one.join(':') !== other.join(':')
        const buckets = [one, other].map((network) => bucket([...network, ...host].join(':')))
        expect(buckets[0] !== buckets[1]).toBe(differ)
      }),
    )
  })

  it.each([
    ['2001:db8::', '2001:db8:0:0::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:DB8:0:0:FFFF::1', '2001:db8:0:0::/64'],
    ['2001:0db8:0000:0000:0000:0000:0000:0001', '2001:db8:0:0::/64'],
    ['2001:db8:1::', '2001:db8:1:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['1::8', '1:0:0:0::/64'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4::/64'],
    ['1:2:3:4:5:6:7::', '1:2:3:4::/64'],
    ['::2:3:4:5:6:7:8', '0:2:3:4::/64'],
    ['fe80::1', 'fe80:0:0:0::/64'],
  ])('255 %s in any spelling is %s', (address, expected) => {
    expect(bucket(address)).toBe(expected)
  })

  it('255 an IPv4 address and its IPv6-mapped forms are one bucket', () => {
    fc.assert(
      fc.property(v4, (address) => {
        const bytes = address.split('.').map(Number)
        const [a = 0, b = 0, c = 0, d = 0] = bytes
        const words = [(a << 8) | b, (c << 8) | d].map((n) => n.toString(16)).join(':')
        for (const spelling of [
          `::ffff:${address}`,
          `::FFFF:${address}`,
          `::ffff:${words}`,
          `0:0:0:0:0:ffff:${words}`,
          `0:0:0:0:0:ffff:${address}`,
          `0000:0000:0000:0000:0000:ffff:${address}`,
        ]) {
          expect([spelling, bucket(spelling)]).toEqual([spelling, address])
        }
      }),
    )
  })

  it('255 two IPv4 addresses are two buckets', () => {
    expect(bucket('192.0.2.1')).toBe('192.0.2.1')
    expect(bucket('192.0.2.2')).toBe('192.0.2.2')
    expect(bucket('::ffff:192.0.2.1')).not.toBe(bucket('::ffff:192.0.2.2'))
  })

  it.each([
    '',
    'unknown',
    'localhost',
    '192.0.2',
    '192.0.2.256',
    '192.0.2.01',
    '999.999.999.999',
    '192.0.2.1, 203.0.113.9',
    '192.0.2.1:443',
    '[2001:db8::1]',
    '2001:db8::1%eth0',
    '2001:db8::1/128',
    '1:2:3:4:5:6:7',
    '1::2::3',
    '12345::',
    '::ffff:999.1.1.1',
    'evil.example]/x[',
  ])('016 %j is no address: one bucket for all that cannot be told apart', (address) => {
    expect(bucket(address)).toBe('unknown')
  })

  it('016 no text whatsoever makes a bucket that is not an address', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme-ascii' }), (text) => {
        expect(bucket(text)).toMatch(/^unknown$|^\d+\.\d+\.\d+\.\d+$|^([0-9a-f]{1,4}:){4}:\/64$/)
      }),
    )
  })

  it('016 only the configured header counts; without one there is one bucket', () => {
    const headers = new Headers({
      'X-Forwarded-For': '192.0.2.1',
      'X-Real-IP': '192.0.2.2',
      'CF-Connecting-IP': '192.0.2.3',
    })
    expect(addressBucket(headers, '')).toBe('unknown')
    expect(addressBucket(headers, 'CF-Connecting-IP')).toBe('192.0.2.3')
    expect(addressBucket(headers, 'X-Real-IP')).toBe('192.0.2.2')
    expect(addressBucket(new Headers(), 'CF-Connecting-IP')).toBe('unknown')
  })
})
