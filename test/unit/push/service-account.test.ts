import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeServiceAccount } from '../../../dev/fcm/service-account.ts'
import { parseServiceAccount } from '../../../src/push/service-account.ts'

const json = await makeServiceAccount('http://127.0.0.1:9099', 'idtoken-dev')
const { messaging_endpoint: _, ...google } = {
  ...json,
  token_uri: 'https://oauth2.googleapis.com/token',
}

function parse(account: unknown, loopbackAllowed = false) {
  return parseServiceAccount(JSON.stringify(account), { loopbackAllowed })
}

describe('the service account secret', () => {
  test("Google's JSON is read, and FCM is where Google has it", () => {
    expect(parse(google)).toEqual({
      ok: true,
      value: {
        projectId: 'idtoken-dev',
        clientEmail: 'push@idtoken-dev.iam.gserviceaccount.com',
        privateKeyId: json.private_key_id,
        privateKey: json.private_key,
        tokenEndpoint: 'https://oauth2.googleapis.com/token',
        messagingEndpoint: 'https://fcm.googleapis.com',
      },
    })
  })

  test('a loopback http account is taken only when the issuer is loopback http', () => {
    expect(parse(json)).toEqual({ ok: false, reason: 'endpoint_refused' })
    expect(parse(json, true)).toMatchObject({
      ok: true,
      value: { messagingEndpoint: 'http://127.0.0.1:9099' },
    })
  })

  test.each([
    ['http://10.0.0.1/token', 'another private host'],
    ['http://127.0.0.1.evil.example/token', 'a host that begins like loopback'],
    ['https://user:pass@oauth2.googleapis.com/token', 'credentials'],
    ['https://oauth2.googleapis.com/token?x=1', 'a query'],
    ['ftp://127.0.0.1/token', 'another scheme'],
    ['token', 'no URL'],
  ])('token_uri %s is refused: %s', (token_uri) => {
    expect(parse({ ...google, token_uri }, true)).toEqual({ ok: false, reason: 'endpoint_refused' })
    const messaging_endpoint = token_uri
    expect(parse({ ...google, messaging_endpoint }, true)).toEqual({
      ok: false,
      reason: 'endpoint_refused',
    })
  })

  test('301 a project id that would leave its path is refused', () => {
    for (const project_id of ['..', '../x', 'a/b', 'a?b', 'a\r\nb', '', 'A-b-c']) {
      expect(parse({ ...google, project_id })).toEqual({ ok: false, reason: 'wrong_shape' })
    }
  })

  test('a key that is no RSA key in PKCS #8 is refused', async () => {
    const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
      'sign',
      'verify',
    ])
    const der = Buffer.from(await crypto.subtle.exportKey('pkcs8', pair.privateKey)).toString(
      'base64',
    )
    const keys = [
      `-----BEGIN PRIVATE KEY-----\n${der}\n-----END PRIVATE KEY-----\n`,
      json.private_key.replaceAll('PRIVATE', 'RSA PRIVATE'),
      '-----BEGIN PRIVATE KEY-----\n=A=\n-----END PRIVATE KEY-----',
      'not a key',
    ]
    for (const private_key of keys) {
      expect(parse({ ...google, private_key })).toEqual({ ok: false, reason: 'not_an_rsa_key' })
    }
  })

  test('any text gives a tag and never throws', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        expect(parseServiceAccount(text, { loopbackAllowed: true }).ok).toBe(false)
      }),
    )
  })

  test('any one member of another type is refused', () => {
    fc.assert(
      fc.property(fc.constantFrom(...Object.keys(google)), fc.jsonValue(), (name, value) => {
        fc.pre(typeof value !== 'string' && name !== 'client_id')
        expect(parse({ ...google, [name]: value }).ok).toBe(false)
      }),
    )
  })
})
