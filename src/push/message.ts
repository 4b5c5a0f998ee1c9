/**
 * What goes over the wire to a phone. FCM isn't end-to-end encrypted, so the prompt travels as one JWE to the agreement key of
 * the device, with a JWS of ours inside: Google reads nothing, and a thief of the FCM credential forges nothing (5-security
 * 3.11). Outside stands only what FCM, APNs and the push services need to hurry and to give up in time.
 */
import { CompactEncrypt, importJWK, type JWK } from 'jose'
import { utf8 } from '../bytes.ts'
import { ok, type Result, refuse } from '../result.ts'

/** What the phone shows before the person opens the login. `iat` and `exp` in Unix seconds. */
export type Prompt = {
  readonly sessionId: string
  readonly nonce: string
  /** Only in compare mode: in transfer mode the phone must learn the code from the person. */
  readonly otp?: string | undefined
  readonly service: {
    readonly id?: string | undefined
    readonly name: string
    readonly domain: string
  }
  readonly scopes: readonly string[]
  readonly browser: string | null
  readonly country: string | null
  readonly iat: number
  readonly exp: number
}

/** For whom a prompt is sealed, by whom. `sign` makes the inner JWS; its header (`typ`, `kid`) is the signer's business. */
export type PromptSealing = {
  readonly deviceThumbprint: string
  readonly encryptionKey: JWK
  readonly issuer: string
  readonly sign: (claims: Record<string, unknown>) => Promise<string>
}

/** FCM takes 4096 bytes of data; this leaves room for what stands beside the JWE and for a wordy push service. */
const LONGEST_JWE = 2560

/**
 * The prompt as a compact JWE (ECDH-ES, A256GCM) around our JWS. Every call makes another ephemeral key, so two pushes of one
 * login share no bytes. Refused: an agreement key that isn't a point of P-256, or more text than a push can carry; the
 * phone then gets a message without `jwe` and pulls.
 */
export async function sealPrompt(
  prompt: Prompt,
  { deviceThumbprint, encryptionKey, issuer, sign }: PromptSealing,
): Promise<Result<string, 'invalid_key' | 'too_large'>> {
  const recipient = await importAgreementKey(encryptionKey)
  if (!recipient) return refuse('invalid_key')
  const { id, name, domain } = prompt.service
  const statement = await sign({
    iss: issuer,
    aud: deviceThumbprint,
    sessionId: prompt.sessionId,
    nonce: prompt.nonce,
    ...(prompt.otp === undefined ? {} : { otp: prompt.otp }),
    service: { ...(id === undefined ? {} : { id }), name, domain },
    scopes: prompt.scopes,
    browser: prompt.browser,
    country: prompt.country,
    iat: prompt.iat,
    exp: prompt.exp,
  })
  const jwe = await new CompactEncrypt(utf8(statement))
    .setProtectedHeader({ alg: 'ECDH-ES', enc: 'A256GCM', cty: 'JWT' })
    .encrypt(recipient)
  return jwe.length > LONGEST_JWE ? refuse('too_large') : ok(jwe)
}

async function importAgreementKey(jwk: JWK) {
  const { kty, crv, x, y } = jwk
  if (kty !== 'EC' || crv !== 'P-256' || x === undefined || y === undefined) return undefined
  try {
    return await importJWK({ kty, crv, x, y }, 'ECDH-ES')
  } catch {
    return undefined
  }
}

/** What a push is about: a login that waits, or word that another phone has taken this phone's place. */
export type Notice = 'login' | 'replaced'

const ALERTS = {
  login: { 'title-loc-key': 'LOGIN_PROMPT_TITLE', 'loc-key': 'LOGIN_PROMPT_BODY' },
  replaced: { 'title-loc-key': 'PHONE_REPLACED_TITLE', 'loc-key': 'PHONE_REPLACED_BODY' },
} as const satisfies Record<Notice, object>

/** One message of FCM HTTP v1 (`Message` resource), the members that we use. */
export type FcmMessage = {
  readonly token: string
  readonly data: Readonly<Record<string, string>>
  readonly android: {
    readonly priority: 'HIGH'
    readonly ttl: string
    readonly restricted_package_name?: string
  }
  readonly apns: {
    readonly headers: Readonly<Record<string, string>> & { readonly 'apns-expiration': string }
    readonly payload: { readonly aps: Readonly<Record<string, unknown>> }
  }
  readonly webpush: { readonly headers: { readonly TTL: string; readonly Urgency: 'high' } }
}

/**
 * The FCM message of one login, or of another `notice`. `now` and `deadline` in Unix seconds; `login` is a hash of the login, at most 64 characters, under
 * which an iPhone replaces an older prompt; `packageName` binds delivery to our Android app. Never a `collapse_key` (FCM throttles
 * collapsible messages) and never a `notification`: that would be readable text.
 */
export function buildMessage(login: {
  readonly fcmToken: string
  readonly jwe?: string | undefined
  readonly now: number
  readonly deadline: number
  readonly login: string
  readonly packageName?: string | undefined
  readonly notice?: Notice
}): FcmMessage {
  const { fcmToken, jwe, packageName, notice = 'login' } = login
  const ttl = String(timeToLive(login.deadline, login.now))
  return {
    token: fcmToken,
    data: { v: '1', t: notice, ...(jwe === undefined ? {} : { jwe }) },
    android: {
      priority: 'HIGH',
      ttl: `${ttl}s`,
      ...(packageName === undefined ? {} : { restricted_package_name: packageName }),
    },
    apns: {
      headers: {
        'apns-push-type': 'alert',
        'apns-priority': '10',
        'apns-expiration': String(Math.floor(login.deadline)),
        'apns-collapse-id': login.login.slice(0, 64),
      },
      payload: {
        aps: {
          alert: ALERTS[notice],
          'mutable-content': 1,
          'interruption-level': 'time-sensitive',
        },
      },
    },
    webpush: { headers: { TTL: ttl, Urgency: 'high' } },
  }
}

/** The same message sent again at `now`: its time to live has shrunk meanwhile. */
export function shortenLife(message: FcmMessage, now: number): FcmMessage {
  const ttl = String(timeToLive(Number(message.apns.headers['apns-expiration']), now))
  return {
    ...message,
    android: { ...message.android, ttl: `${ttl}s` },
    webpush: { headers: { ...message.webpush.headers, TTL: ttl } },
  }
}

/** Five seconds short of the deadline: a prompt that rings when nothing can be approved any more only alarms. */
function timeToLive(deadline: number, now: number): number {
  return Math.max(0, Math.floor(Math.floor(deadline) - now) - 5)
}
