import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EXAMPLE_MASTER_SECRET, parseMasterSecret } from '../../../src/keys/master-secret.ts'

const one = Buffer.from(Array.from({ length: 32 }, (_, i) => i * 7 + 1))
const two = Buffer.from(Array.from({ length: 48 }, (_, i) => 255 - i))

describe('317 MASTER_SECRET', () => {
  it.each([
    ['nothing', undefined, 'missing'],
    ['an empty text', '', 'missing'],
    ['white space', ' \n', 'missing'],
    ['31 bytes', one.subarray(0, 31).toString('base64url'), 'short'],
    [
      '31 bytes as the second version',
      `2:${two.toString('base64url')},1:${one.toString('hex').slice(0, 4)}`,
      'short',
    ],
    ['32 zero bytes', Buffer.alloc(32).toString('base64url'), 'weak'],
    ['64 equal bytes', Buffer.alloc(64, 7).toString('base64url'), 'weak'],
    [
      'a repeated pattern',
      Buffer.from('abcabcabcabcabcabcabcabcabcabcabcabc').toString('base64'),
      'weak',
    ],
    ['the example of the README', EXAMPLE_MASTER_SECRET, 'weak'],
    ['the example as a version', `1:${EXAMPLE_MASTER_SECRET}`, 'weak'],
    ['another replace-me', 'replace-me-0123456789-0123456789-0123456789', 'weak'],
    ['no base64', 'this is not base64, but it is long enough for it', 'malformed'],
    ['non-zero trailing bits', `${one.toString('base64url').slice(0, -1)}_`, 'malformed'],
    ['a version 0', `0:${one.toString('base64url')}`, 'malformed'],
    ['a version 01', `01:${one.toString('base64url')}`, 'malformed'],
    [
      'a version twice',
      `1:${one.toString('base64url')},1:${two.toString('base64url')}`,
      'malformed',
    ],
    ['an empty entry', `1:${one.toString('base64url')},`, 'malformed'],
    [
      'a list without versions',
      `1:${one.toString('base64url')},${two.toString('base64url')}`,
      'malformed',
    ],
  ])('refuses %s', (_, text, reason) => {
    expect(parseMasterSecret(text)).toEqual({ ok: false, reason })
  })

  it('reads a bare value in either base64 alphabet, padded or not, as version 1', () => {
    const forms = [two.toString('base64'), two.toString('base64url'), `${one.toString('base64')}\n`]
    expect(forms.map((form) => form.length)).toEqual([64, 64, 45])
    for (const [i, form] of forms.entries()) {
      const parsed = parseMasterSecret(form)
      const bytes = new Uint8Array(i === 2 ? one : two)
      expect(parsed).toEqual({ ok: true, value: { current: 1, versions: new Map([[1, bytes]]) } })
    }
  })

  it('reads a list: the first is current, all are accepted', () => {
    const parsed = parseMasterSecret(`7:${two.toString('base64url')},3:${one.toString('base64')}`)
    expect(parsed.ok && parsed.value.current).toBe(7)
    expect(parsed.ok && [...parsed.value.versions.keys()]).toEqual([7, 3])
  })

  it('the example would be long enough and well-formed, were it not the example', () => {
    expect(parseMasterSecret(EXAMPLE_MASTER_SECRET.replaceAll('-ME', '_ME')).ok).toBe(true)
  })

  it('never throws, and never repeats the value in its answer', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const parsed = parseMasterSecret(text)
        expect(parsed.ok || ['missing', 'malformed', 'short', 'weak'].includes(parsed.reason)).toBe(
          true,
        )
      }),
    )
  })

  it('does not show in JSON', () => {
    const parsed = parseMasterSecret(one.toString('base64url'))
    expect(JSON.stringify(parsed)).toBe('{"ok":true,"value":{"current":1,"versions":{}}}')
  })
})
