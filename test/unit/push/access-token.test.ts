import fc from 'fast-check'
import { decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose'
import { describe, expect, test } from 'vitest'
import { makeServiceAccount, publicKeyOf } from '../../../dev/fcm/service-account.ts'
import { buildTokenRequest, readTokenAnswer, refreshTime } from '../../../src/push/access-token.ts'
import { readAccount } from './world.ts'

const json = await makeServiceAccount('http://127.0.0.1:9099', 'idtoken-dev')
const account = readAccount(json)
const now = 1_800_000_000

describe('the exchange request', () => {
  test('is a form with an RS256 assertion, its claims exactly', async () => {
    const request = await buildTokenRequest(account, now + 0.7)
    if (!request.ok) throw new Error(request.reason)
    expect(request.value.url).toBe('http://127.0.0.1:9099/token')
    const form = new URLSearchParams(request.value.body)
    expect([...form.keys()]).toEqual(['grant_type', 'assertion'])
    expect(form.get('grant_type')).toBe('urn:ietf:params:oauth:grant-type:jwt-bearer')
    const assertion = form.get('assertion') ?? ''
    expect(decodeProtectedHeader(assertion)).toEqual({
      alg: 'RS256',
      typ: 'JWT',
      kid: json.private_key_id,
    })
    expect(decodeJwt(assertion)).toEqual({
      iss: json.client_email,
      aud: json.token_uri,
      scope: 'https://www.googleapis.com/auth/firebase.messaging',
      iat: now,
      exp: now + 3600,
    })
    await jwtVerify(assertion, await publicKeyOf(json), { currentDate: new Date(now * 1000) })
  })

  test('a broken key is a refusal, not a throw', async () => {
    const privateKey = account.privateKey.slice(0, 400)
    expect(await buildTokenRequest({ ...account, privateKey }, now)).toEqual({
      ok: false,
      reason: 'unusable_key',
    })
  })
})

describe('the answer of the token endpoint', () => {
  const good = { access_token: 'ya29.x', expires_in: 3599, token_type: 'Bearer' }

  test('gives the token and its end, an hour at most', () => {
    expect(readTokenAnswer(200, JSON.stringify(good), now)).toEqual({
      ok: true,
      value: { token: 'ya29.x', expiresAt: now + 3599 },
    })
    const long = JSON.stringify({ ...good, expires_in: 1e9 })
    expect(readTokenAnswer(200, long, now)).toMatchObject({ value: { expiresAt: now + 3600 } })
  })

  test('298 garbage is unreadable, a refusal is told apart', () => {
    const bad = [
      { ...good, access_token: 'a\r\nb' },
      { ...good, access_token: '' },
      { ...good, expires_in: 0 },
      { ...good, expires_in: '3599' },
      { ...good, token_type: 'MAC' },
      [],
      null,
    ]
    for (const body of bad) {
      expect(readTokenAnswer(200, JSON.stringify(body), now)).toEqual({
        ok: false,
        reason: 'unreadable',
      })
    }
    expect(readTokenAnswer(400, '{"error":"invalid_grant"}', now)).toEqual({
      ok: false,
      reason: 'rejected',
    })
    for (const status of [302, 429, 500, 503]) {
      expect(readTokenAnswer(status, JSON.stringify(good), now)).toEqual({
        ok: false,
        reason: 'unreadable',
      })
    }
  })

  test('any body is answered, never thrown at', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 200, max: 599 }),
        fc.oneof(fc.string(), fc.json()),
        (status, body) => {
          expect(readTokenAnswer(status, body, now).ok).toBe(false)
        },
      ),
    )
  })

  test('is refreshed after 80 to 90 % of its life', () => {
    expect(refreshTime(1000, 2000, 0)).toBe(1800)
    expect(refreshTime(1000, 2000, 1)).toBe(1900)
  })
})
