import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { fromBase64url, toBase64url } from '../../../src/bytes.ts'
import { sealBox } from '../../../src/keys/sealed-box.ts'
import type { AuthorizationRequest } from '../../../src/oidc/authorization-request.ts'
import {
  isPushedReference,
  openPushedRequest,
  PUSHED_SECONDS,
  type PushedRequest,
  sealPushedRequest,
} from '../../../src/oidc/pushed-request.ts'
import { sealReference } from '../../../src/oidc/token-reference.ts'
import { secretOf } from '../keys/secrets.ts'

const URN = 'urn:ietf:params:oauth:request_uri:'
const master = secretOf([1, 1])
const random12 = new Uint8Array(12).map((_, i) => i)
const now = 1_705_312_800

const request: AuthorizationRequest = {
  clientId: 'bar-le-central',
  redirectUri: 'https://bar.example/cb',
  responseMode: 'query',
  state: 'random-csrf-token',
  nonce: null,
  requestedScopes: ['openid', 'identity:name'],
  scopes: ['identity:name'],
  offlineAccess: false,
  email: false,
  prompts: ['login'],
  maxAge: 60,
  codeChallenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
  dpopJkt: null,
  resource: 'https://api.example/v1',
  minTrustLevel: 2,
  idTokenClaims: [],
  expectedSubject: null,
  idTokenHint: null,
  loginHint: 'Ana',
}
const pushed: PushedRequest = {
  request,
  expectedSubs: ['sub'],
  sessionId: `sess_${'0123456789abcdef'.repeat(4)}`,
  pushedAt: now,
}

async function reference(what: PushedRequest = pushed, random = random12): Promise<string> {
  return (await sealPushedRequest(master, what, random)) ?? 'too long'
}

describe('the reference to a pushed request', () => {
  test('gives back what was sealed, to its last second and not after', async () => {
    const uri = await reference()
    expect(await openPushedRequest(master, uri, now)).toEqual(pushed)
    expect(await openPushedRequest(master, uri, now + PUSHED_SECONDS - 1)).toEqual(pushed)
    expect(await openPushedRequest(master, uri, now + PUSHED_SECONDS)).toBeUndefined()
  })

  test('has the form of RFC 9126 section 2.2, in characters of an address, and shows nothing of the request', async () => {
    const uri = await reference()
    expect(uri).toMatch(/^urn:ietf:params:oauth:request_uri:1\.[A-Za-z0-9_-]{100,}$/)
    expect(isPushedReference(uri)).toBe(true)
    const inside = Buffer.from(uri.slice(URN.length + 2), 'base64url').toString('latin1')
    for (const word of ['bar', 'random-csrf-token', 'Ana', 'sess_', 'openid']) {
      expect(inside).not.toContain(word)
    }
    expect(await reference(pushed, random12.with(0, 99))).not.toBe(uri)
  })

  test.each([undefined, '', 'urn:ietf:params:oauth:request_uri', URN.toUpperCase(), ` ${URN}`])(
    '%j is no reference of ours, and https addresses are none',
    (uri) => {
      expect(isPushedReference(uri)).toBe(false)
      expect(isPushedReference('https://bar.example/request.jwt')).toBe(false)
    },
  )

  test('any request', async () => {
    const text = fc.string({ unit: 'binary', maxLength: 100 })
    const some = fc.record({ state: text, redirectUri: text, loginHint: text })
    await fc.assert(
      fc.asyncProperty(some, async (changes) => {
        const wellFormed = Object.fromEntries(
          Object.entries(changes).map(([name, value]) => [name, value.toWellFormed()]),
        )
        const what = { ...pushed, request: { ...request, ...wellFormed } }
        expect(await openPushedRequest(master, await reference(what), now)).toEqual(what)
      }),
      { numRuns: 30 },
    )
  })

  test('069 a flipped bit in any byte is refused', async () => {
    const uri = await reference()
    const bytes = fromBase64url(uri.slice(URN.length + 2)) ?? new Uint8Array()
    expect(bytes.length).toBeGreaterThan(300)
    for (let at = 0; at < bytes.length; at++) {
      const flipped = bytes.map((byte, i) => (i === at ? byte ^ (1 << (at & 7)) : byte))
      const bent = `${URN}1.${toBase64url(flipped)}`
      expect(await openPushedRequest(master, bent, now)).toBeUndefined()
    }
  })

  test('069 truncated anywhere, extended, or in other letters it is none', async () => {
    const uri = await reference()
    for (let length = 0; length < uri.length; length++) {
      expect(await openPushedRequest(master, uri.slice(0, length), now)).toBeUndefined()
    }
    for (const bent of [`${uri}A`, `${uri}=`, `${uri}.`, ` ${uri}`, uri.toUpperCase(), `${URN}`]) {
      expect(await openPushedRequest(master, bent, now)).toBeUndefined()
    }
  })

  test('115 a box of another kind, or of another secret, is none', async () => {
    const plain = JSON.stringify(pushed)
    const box = (label: 'token' | 'cookie', context: string) =>
      sealBox(master, label, plain, context, random12)
    const jti = {
      ...{ grantId: 'g', clientId: 'bar-le-central', tokenId: 't', enrollmentId: 'e' },
      trustLevel: 2 as const,
      scope: 'openid',
    }
    for (const other of [
      await box('cookie', 'oidc pushed request 1'),
      await box('token', 'oidc access token'),
      await box('token', 'oidc pushed request'),
      await sealReference(master, jti, random12),
    ]) {
      expect(await openPushedRequest(master, `${URN}${other}`, now)).toBeUndefined()
    }
    const strange = await sealPushedRequest(secretOf([1, 2]), pushed, random12)
    expect(await openPushedRequest(master, strange ?? '', now)).toBeUndefined()
    const rotated = secretOf([2, 2], [1, 1])
    expect(await openPushedRequest(rotated, await reference(), now)).toEqual(pushed)
  })

  test('116 one that would be too long for an address is not made, and not looked at', async () => {
    const long = { ...pushed, request: { ...request, state: 's'.repeat(12_000) } }
    expect(await sealPushedRequest(master, long, random12)).toBeUndefined()
    const decrypt = vi.spyOn(crypto.subtle, 'decrypt')
    const text = `${URN}1.${'A'.repeat(64 * 1024)}`
    expect(await openPushedRequest(master, text, now)).toBeUndefined()
    expect(decrypt).not.toHaveBeenCalled()
    decrypt.mockRestore()
    // The longest state and nonce that authorize takes still fit.
    const large = { ...request, state: 's'.repeat(4096), nonce: 'n'.repeat(1024) }
    expect(await reference({ ...pushed, request: large })).not.toBe('too long')
  })

  test('any text gives undefined and never throws', async () => {
    const tail = fc.oneof(
      fc.string(),
      fc.string({ unit: 'binary' }),
      fc.base64String().map((text) => `1.${text}`),
      fc.uint8Array({ minLength: 28, maxLength: 400 }).map((bytes) => `1.${toBase64url(bytes)}`),
    )
    await fc.assert(
      fc.asyncProperty(tail, async (text) => {
        expect(await openPushedRequest(master, text, now)).toBeUndefined()
        expect(await openPushedRequest(master, `${URN}${text}`, now)).toBeUndefined()
      }),
    )
  })
})
