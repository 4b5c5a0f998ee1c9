import { CompactEncrypt, exportJWK, SignJWT } from 'jose'
import { beforeAll, describe, expect, test } from 'vitest'
import { createPhone, generateKeys, type Phone } from '../../../dev/phone/phone.ts'

const ISSUER = 'https://id.example.com'
const NOW = 1_800_000_000

let serverKey: CryptoKeyPair
let phone: Phone

beforeAll(async () => {
  serverKey = (await generateKeys()).signing
  const jwk = { ...(await exportJWK(serverKey.publicKey)), kid: 'push-1', alg: 'ES256' }
  phone = await phoneThatSees({ keys: [jwk] })
})

function phoneThatSees(jwks: object): Promise<Phone> {
  const answer = async () => Response.json(jwks)
  return createPhone({ api: '', issuer: ISSUER, fetch: answer, now: () => NOW })
}

type Change = {
  readonly typ?: string
  readonly kid?: string
  readonly claims?: Readonly<Record<string, unknown>>
  readonly signWith?: CryptoKey
  readonly sealTo?: Phone
}

async function push(change: Change = {}): Promise<{ v: string; t: string; jwe: string }> {
  const claims = {
    iss: ISSUER,
    aud: phone.thumbprint,
    sessionId: 'sess_1',
    otp: '123456',
    iat: NOW - 1,
    exp: NOW + 55,
    ...change.claims,
  }
  const jws = await new SignJWT(claims)
    .setProtectedHeader({
      alg: 'ES256',
      typ: change.typ ?? 'idtoken-push+jwt',
      kid: change.kid ?? 'push-1',
    })
    .sign(change.signWith ?? serverKey.privateKey)
  const jwe = await new CompactEncrypt(new TextEncoder().encode(jws))
    .setProtectedHeader({ alg: 'ECDH-ES', enc: 'A256GCM' })
    .encrypt((change.sealTo ?? phone).agreementJwk)
  return { v: '1', t: 'login', jwe }
}

async function kindOf(change: Change): Promise<string> {
  return (await phone.openPush(await push(change))).kind
}

describe('299 a push on the phone', () => {
  test('299 an honest push opens', async () => {
    const opened = await phone.openPush(await push())
    expect(opened).toMatchObject({ kind: 'prompt', prompt: { sessionId: 'sess_1', otp: '123456' } })
  })

  test('299 an inner JWS of another typ is ignored', async () => {
    expect(await kindOf({ typ: 'JWT' })).toBe('ignored')
    expect(await kindOf({ typ: 'idtoken-approve+jwt' })).toBe('ignored')
  })

  test('299 an inner JWS for another device or of another issuer is ignored', async () => {
    const other = await phoneThatSees({ keys: [] })
    expect(await kindOf({ claims: { aud: other.thumbprint } })).toBe('ignored')
    expect(await kindOf({ claims: { aud: undefined } })).toBe('ignored')
    expect(await kindOf({ claims: { iss: 'https://evil.example' } })).toBe('ignored')
  })

  test('299 an inner JWS by another key is ignored, whatever kid it names', async () => {
    const { signing } = await generateKeys()
    expect(await kindOf({ signWith: signing.privateKey })).toBe('ignored')
    expect(await kindOf({ signWith: signing.privateKey, kid: 'push-2' })).toBe('ignored')
  })

  test('299 a push sealed to another phone is ignored', async () => {
    expect(await kindOf({ sealTo: await phoneThatSees({ keys: [] }) })).toBe('ignored')
  })

  test('300 a push after its end is ignored, and so is one without an end', async () => {
    expect(await kindOf({ claims: { exp: NOW } })).toBe('ignored')
    expect(await kindOf({ claims: { exp: undefined } })).toBe('ignored')
  })

  test('a push without content says: look for yourself', async () => {
    expect(await phone.openPush({ v: '1', t: 'login' })).toEqual({ kind: 'pull' })
    expect((await phone.openPush({ v: '1', t: 'other' })).kind).toBe('ignored')
    expect((await phone.openPush({ v: '1', t: 'login', jwe: 'x.y.z' })).kind).toBe('ignored')
  })
})

describe('the phone keeps its keys', () => {
  test('private halves cannot be exported', async () => {
    const { keys } = (await createPhone({ api: '', issuer: ISSUER })).state()
    await expect(crypto.subtle.exportKey('jwk', keys.signing.privateKey)).rejects.toThrow()
    await expect(crypto.subtle.exportKey('jwk', keys.agreement.privateKey)).rejects.toThrow()
  })
})

test('an answer that was cut off is none: the phone asks again, and has not opened the login', async () => {
  const cut = await createPhone({
    ...{ api: '', issuer: ISSUER },
    fetch: async () => new Response('{"nonce":"a', { status: 200 }),
  })
  expect(await cut.claim(`sess_${'0'.repeat(64)}`)).toMatchObject({ ok: false, status: 0 })
})
