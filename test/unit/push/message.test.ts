import { decodeProtectedHeader, exportJWK, generateKeyPair } from 'jose'
import { describe, expect, test } from 'vitest'
import { checkMessage } from '../../../dev/fcm/message-check.ts'
import { findViolations } from '../../../dev/fcm/policy.ts'
import { validFcmToken } from '../../../src/push/fcm.ts'
import { buildMessage, sealPrompt, shortenLife } from '../../../src/push/message.ts'
import { issuer, messageFor, open, phone, promptOf, sign } from './world.ts'

const now = 1_800_000_000
const prompt = promptOf(now)
const sealing = {
  deviceThumbprint: phone.thumbprint,
  encryptionKey: phone.encryptionKey,
  issuer,
  sign,
}

async function sealed(changes: Partial<typeof prompt> = {}): Promise<string> {
  const jwe = await sealPrompt({ ...prompt, ...changes }, sealing)
  if (!jwe.ok) throw new Error(jwe.reason)
  return jwe.value
}

describe('the sealed prompt', () => {
  test('299 opens with the device key to exactly these claims', async () => {
    const jwe = await sealed()
    expect(decodeProtectedHeader(jwe)).toEqual({
      alg: 'ECDH-ES',
      enc: 'A256GCM',
      cty: 'JWT',
      epk: { kty: 'EC', crv: 'P-256', x: expect.any(String), y: expect.any(String) },
    })
    expect(await open(jwe)).toEqual({ iss: issuer, aud: phone.thumbprint, ...prompt })
  })

  test('299 without a code in transfer mode, without a service id for a service that has none', async () => {
    const service = { name: 'Shop', domain: 'shop.example' }
    const claims = await open(
      await sealed({ otp: undefined, service, browser: null, country: null }),
    )
    expect(Object.keys(claims).sort()).toEqual(
      'aud browser country exp iat iss nonce scopes service sessionId'.split(' '),
    )
    expect(claims.service).toEqual(service)
    expect(claims).toMatchObject({ browser: null, country: null })
  })

  test('299 members that a caller added by mistake stay behind', async () => {
    const service = { ...prompt.service, wsToken: 'secret' }
    const claims = await open(await sealed({ service, ...{ wsToken: 'secret' } }))
    expect(JSON.stringify(claims)).not.toContain('secret')
  })

  test('299 two pushes of one login share no ciphertext and no ephemeral key', async () => {
    const [one, two] = [await sealed(), await sealed()]
    expect(decodeProtectedHeader(one).epk).not.toEqual(decodeProtectedHeader(two).epk)
    expect(one.split('.')[3]).not.toBe(two.split('.')[3])
  })

  test('a key that is no public point of P-256 is refused', async () => {
    const { y: _, ...half } = phone.encryptionKey
    const other = await generateKeyPair('ECDH-ES', { crv: 'X25519', extractable: true })
    const keys = [
      {},
      half,
      { ...phone.encryptionKey, x: 'AAAA' },
      { ...phone.encryptionKey, y: phone.encryptionKey.x ?? '' },
      { ...phone.encryptionKey, crv: 'P-384' },
      await exportJWK(other.publicKey),
    ]
    for (const encryptionKey of keys) {
      expect(await sealPrompt(prompt, { ...sealing, encryptionKey })).toEqual({
        ok: false,
        reason: 'invalid_key',
      })
    }
  })

  test('more text than a push carries is refused', async () => {
    const scopes = Array.from({ length: 200 }, (_, index) => `identity:scope_${index}`)
    expect(await sealPrompt({ ...prompt, scopes }, sealing)).toEqual({
      ok: false,
      reason: 'too_large',
    })
  })
})

describe('the message on the wire', () => {
  test('299 is what 6-operations 1.2 says, member by member', () => {
    const login = 'h'.repeat(80)
    const message = buildMessage({
      fcmToken: 'tok',
      jwe: 'a..b.c.d',
      now,
      deadline: now + 60,
      login,
    })
    expect(message).toEqual({
      token: 'tok',
      data: { v: '1', t: 'login', jwe: 'a..b.c.d' },
      android: { priority: 'HIGH', ttl: '55s' },
      apns: {
        headers: {
          'apns-push-type': 'alert',
          'apns-priority': '10',
          'apns-expiration': String(now + 60),
          'apns-collapse-id': 'h'.repeat(64),
        },
        payload: {
          aps: {
            alert: { 'title-loc-key': 'LOGIN_PROMPT_TITLE', 'loc-key': 'LOGIN_PROMPT_BODY' },
            'mutable-content': 1,
            'interruption-level': 'time-sensitive',
          },
        },
      },
      webpush: { headers: { TTL: '55', Urgency: 'high' } },
    })
  })

  test('299 FCM takes it, and nothing of the prompt is readable in it', async () => {
    const message = await messageFor('tok', now)
    expect(checkMessage(message, now)).toEqual([])
    expect(await findViolations(message, now, open)).toEqual([])
    const { jwe, ...rest } = message.data
    expect(jwe?.length).toBeLessThan(2560)
    const clear = JSON.stringify({ ...message, data: rest })
    for (const secret of [
      '042137',
      'sess_',
      'Banque',
      'bank.example',
      'openid',
      'Firefox',
      'FRA',
    ]) {
      expect(clear).not.toContain(secret)
      expect(JSON.stringify(await open(jwe ?? ''))).toContain(secret)
    }
  })

  test('a phone without agreement key gets only v and t; an app id binds the message', () => {
    const packageName = 'org.idtoken.app'
    const message = buildMessage({
      fcmToken: 'tok',
      now,
      deadline: now + 60,
      login: 'h',
      packageName,
    })
    expect(message.data).toEqual({ v: '1', t: 'login' })
    expect(message.android.restricted_package_name).toBe(packageName)
  })

  test('299 the time to live is never more than the seconds left less five, nor negative', () => {
    const at = (time: number) =>
      buildMessage({ fcmToken: 't', now: time, deadline: now + 60, login: 'h' })
    expect(at(now + 0.2).android.ttl).toBe('54s')
    expect(at(now + 57).android.ttl).toBe('0s')
    expect(at(now + 90).webpush.headers.TTL).toBe('0')
    const later = shortenLife(at(now), now + 7)
    expect(later.android.ttl).toBe('48s')
    expect(later.webpush.headers.TTL).toBe('48')
    expect(later.apns).toEqual(at(now).apns)
  })
})

describe('the device token', () => {
  test('301 paths, line breaks, blanks, other letters and 10 KiB are refused', () => {
    const bad = [
      '',
      'a b',
      'a\r\nb',
      'a\n',
      'a\tb',
      'a\0',
      'é',
      '../x',
      'a/../b',
      'a..\\b',
      'x'.repeat(10_240),
    ]
    expect(bad.filter(validFcmToken)).toEqual([])
  })

  test('301 tokens as FCM makes them pass', () => {
    expect(validFcmToken(`dGhpcw:APA91b${'x-_'.repeat(45)}`)).toBe(true)
    expect(validFcmToken('x'.repeat(4096))).toBe(true)
    expect(validFcmToken('x'.repeat(4097))).toBe(false)
  })
})
