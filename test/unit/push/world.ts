/** A fake FCM on a real port, an account of the product on it, and a phone that can open prompts. */
import { compactDecrypt, compactVerify, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import { createFakeFcm, type FakeFcm, type FakeFcmOptions } from '../../../dev/fcm/fake-fcm.ts'
import { serveFakeFcm } from '../../../dev/fcm/server.ts'
import { makeServiceAccount } from '../../../dev/fcm/service-account.ts'
import {
  buildMessage,
  type FcmMessage,
  type Prompt,
  sealPrompt,
} from '../../../src/push/message.ts'
import { parseServiceAccount, type ServiceAccount } from '../../../src/push/service-account.ts'

export const issuer = 'http://127.0.0.1:8787'

/** One RSA key for all worlds of a test file: making one takes longer than a test may. */
const template = await makeServiceAccount('http://127.0.0.1:1', 'idtoken-dev')

export type World = {
  readonly fake: FakeFcm
  readonly account: ServiceAccount
  readonly close: () => Promise<void>
}

/** Every world has an account of its own, because `fcm.ts` remembers what it learnt of one. */
export async function startWorld(options: FakeFcmOptions = {}): Promise<World> {
  const fake = createFakeFcm(options)
  const { origin, close } = await serveFakeFcm(fake, 0)
  const json = {
    ...template,
    private_key_id: crypto.randomUUID(),
    token_uri: `${origin}/token`,
    messaging_endpoint: origin,
  }
  fake.useServiceAccount(json)
  return { fake, account: readAccount(json), close }
}

export function readAccount(json: object): ServiceAccount {
  const parsed = parseServiceAccount(JSON.stringify(json), { loopbackAllowed: true })
  if (!parsed.ok) throw new Error(parsed.reason)
  return parsed.value
}

const agreement = await generateKeyPair('ECDH-ES', { crv: 'P-256', extractable: true })
const pushKey = await generateKeyPair('ES256')

export const phone = {
  thumbprint: 'device-key-thumbprint',
  encryptionKey: (await exportJWK(agreement.publicKey)) as JWK,
}

/** Signs as the push key of the product does. */
export function sign(claims: Record<string, unknown>): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'ES256', typ: 'idtoken-push+jwt', kid: 'push-1' })
    .sign(pushKey.privateKey)
}

/** Opens a prompt as the phone does; throws on anything foreign. */
export async function open(jwe: string): Promise<Record<string, unknown>> {
  const outer = await compactDecrypt(jwe, agreement.privateKey)
  const inner = await compactVerify(outer.plaintext, pushKey.publicKey)
  const claims: Record<string, unknown> = JSON.parse(new TextDecoder().decode(inner.payload))
  if (inner.protectedHeader.typ !== 'idtoken-push+jwt') throw new Error('another typ')
  if (claims.aud !== phone.thumbprint) throw new Error('another device')
  return claims
}

export function promptOf(now: number): Prompt {
  return {
    sessionId: 'sess_0123456789abcdef',
    nonce: 'bm9uY2Utbm9uY2Utbm9uY2U',
    otp: '042137',
    service: { id: 'svc_bank', name: 'Banque Éxemple', domain: 'bank.example' },
    scopes: ['identity:age_over_18', 'openid'],
    browser: 'Firefox',
    country: 'FRA',
    iat: now,
    exp: now + 60,
  }
}

/** A sealed prompt for `fcmToken`, with 60 s left at `now`. */
export async function messageFor(fcmToken: string, now: number): Promise<FcmMessage> {
  const sealing = {
    deviceThumbprint: phone.thumbprint,
    encryptionKey: phone.encryptionKey,
    issuer,
    sign,
  }
  const jwe = await sealPrompt(promptOf(Math.floor(now)), sealing)
  if (!jwe.ok) throw new Error(jwe.reason)
  const login = 'hash-of-the-login'
  return buildMessage({ fcmToken, jwe: jwe.value, now, deadline: Math.floor(now) + 60, login })
}
