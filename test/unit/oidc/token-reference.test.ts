import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fromBase64url, toBase64url } from '../../../src/bytes.ts'
import { sealBox } from '../../../src/keys/sealed-box.ts'
import {
  openReference,
  sealReference,
  type TokenReference,
} from '../../../src/oidc/token-reference.ts'
import { secretOf } from '../keys/secrets.ts'

const master = secretOf([1, 1])
const random12 = new Uint8Array(12).map((_, i) => i)
const CONTEXT = 'oidc token reference'
const reference: TokenReference = {
  grantId: 'AAAAAAAAAAAAAAAAAAAAAA',
  clientId: 'bar-le-central',
  tokenId: '11111111-2222-4333-8444-555555555555',
  enrollmentId: 'enr_1',
  trustLevel: 2,
  scope: 'openid identity:name',
}

describe('the reference in a jti', () => {
  test('gives back what was sealed, and shows none of it', async () => {
    const jti = await sealReference(master, reference, random12)
    expect(await openReference(master, jti)).toEqual(reference)
    const inside = Buffer.from(jti.slice(2), 'base64url').toString('latin1')
    for (const word of [reference.tokenId, 'bar-le-central', 'openid', 'enr_1']) {
      expect(inside).not.toContain(word)
    }
  })

  test('the same twice is another text: no two tokens have one jti', async () => {
    const other = await sealReference(master, reference, random12.with(0, 99))
    expect(other).not.toBe(await sealReference(master, reference, random12))
  })

  test('seals no member that its type does not name', async () => {
    const more = { ...reference, sub: 's', claims: { name: 'Ana' } }
    expect(await openReference(master, await sealReference(master, more, random12))).toEqual(
      reference,
    )
  })

  test.each<[string, { grantedTo?: string; jkt?: string }]>([
    ['whom the person approved', { grantedTo: 'cinema' }],
    ['the key', { jkt: '269lB5m6l3kXaW53m60w7INnaOjrBq_CRJvoDDk37g' }],
    ['both', { grantedTo: 'cinema', jkt: 'thumbprint' }],
  ])('and %s, where it is said', async (_, more) => {
    const jti = await sealReference(master, { ...reference, ...more }, random12)
    expect(await openReference(master, jti)).toEqual({ ...reference, ...more })
    const inside = Buffer.from(jti.slice(2), 'base64url').toString('latin1')
    for (const word of Object.values(more)) expect(inside).not.toContain(word)
  })

  test('what is not said has no member: absent is neither null nor empty', async () => {
    const opened = await openReference(master, await sealReference(master, reference, random12))
    expect(Object.keys(opened ?? {}).sort()).toEqual(Object.keys(reference).sort())
    const text = (more: object) => JSON.stringify({ ...reference, ...more })
    const box = (plain: string) => sealBox(master, 'token', plain, CONTEXT, random12)
    const taken = { grantedTo: 'cinema', jkt: 'k' }
    expect(await openReference(master, await box(text(taken)))).toEqual({ ...reference, ...taken })
    for (const name of ['grantedTo', 'jkt']) {
      for (const value of [null, '', 1, true, [], ['k'], {}, { sub: 'k' }]) {
        expect(await openReference(master, await box(text({ [name]: value })))).toBeUndefined()
      }
    }
    for (const name of ['granted_to', 'cnf', 'act', 'Jkt']) {
      expect(await openReference(master, await box(text({ [name]: 'k' })))).toBeUndefined()
    }
  })

  test('any content', async () => {
    const text = fc.string({ minLength: 1 })
    const required = [
      'grantId',
      'clientId',
      'tokenId',
      'enrollmentId',
      'trustLevel',
      'scope',
    ] as const
    const content = fc.record(
      {
        ...{ grantId: text, clientId: text, tokenId: text, enrollmentId: text, scope: text },
        trustLevel: fc.constantFrom(1 as const, 2 as const, 3 as const),
        ...{ grantedTo: text, jkt: text },
      },
      { requiredKeys: [...required] },
    )
    await fc.assert(
      fc.asyncProperty(content, async (made) => {
        expect(await openReference(master, await sealReference(master, made, random12))).toEqual(
          made,
        )
      }),
    )
  })

  test('a flipped bit in any byte is refused', async () => {
    const jti = await sealReference(master, reference, random12)
    const bytes = fromBase64url(jti.slice(2)) ?? new Uint8Array()
    expect(bytes.length).toBeGreaterThan(100)
    for (let at = 0; at < bytes.length; at++) {
      const flipped = bytes.map((byte, i) => (i === at ? byte ^ (1 << (at & 7)) : byte))
      expect(await openReference(master, `1.${toBase64url(flipped)}`)).toBeUndefined()
    }
  })

  test('115 a box of another kind, of another version of us, or of another secret is none', async () => {
    const plain = JSON.stringify(reference)
    const box = (label: 'token' | 'cookie', context: string, text = plain) =>
      sealBox(master, label, text, context, random12)
    expect(await openReference(master, await box('token', CONTEXT))).toEqual(reference)
    for (const other of [
      await box('cookie', CONTEXT),
      await box('token', 'oidc access token'),
      await box('token', 'oidc refresh token'),
      await box('token', CONTEXT, JSON.stringify({ ...reference, audience: 'x' })),
      await box('token', CONTEXT, JSON.stringify({ ...reference, trustLevel: 4 })),
      await box('token', CONTEXT, JSON.stringify({ ...reference, scope: '' })),
      await box('token', CONTEXT, JSON.stringify([reference])),
      ...(await Promise.all(
        ['null', '{}', '', 'x', '"x"'].map((text) => box('token', CONTEXT, text)),
      )),
      await sealReference(secretOf([1, 2]), reference, random12),
    ]) {
      expect(await openReference(master, other)).toBeUndefined()
    }
    const rotated = secretOf([2, 2], [1, 1])
    const old = await sealReference(master, reference, random12)
    expect(await openReference(rotated, old)).toEqual(reference)
  })

  test('anything else gives undefined and never throws', async () => {
    const value = fc.oneof(
      fc.anything(),
      fc.string(),
      fc.base64String().map((text) => `1.${text}`),
      fc.uint8Array({ minLength: 28, maxLength: 400 }).map((bytes) => `1.${toBase64url(bytes)}`),
    )
    await fc.assert(
      fc.asyncProperty(value, async (jti) => {
        expect(await openReference(master, jti)).toBeUndefined()
      }),
    )
  })
})
