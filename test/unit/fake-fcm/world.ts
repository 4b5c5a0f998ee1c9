/** The fake, called as Google is called; nothing of the product takes part. */
import { importPKCS8, type JWTPayload, SignJWT } from 'jose'
import { createFakeFcm, type FakeFcm, type FakeFcmOptions } from '../../../dev/fcm/fake-fcm.ts'
import { makeServiceAccount } from '../../../dev/fcm/service-account.ts'

export const origin = 'http://127.0.0.1:9099'
export const now = 1_800_000_000
export const account = await makeServiceAccount(origin, 'idtoken-dev')
const key = await importPKCS8(account.private_key, 'RS256')

/** A fake with one account, whose clock stands at `now`. */
export function newFake(options: FakeFcmOptions = {}): FakeFcm {
  const fake = createFakeFcm({ now: () => now, ...options })
  fake.useServiceAccount(account)
  return fake
}

export type AssertionChanges = {
  readonly claims?: JWTPayload
  readonly header?: Record<string, unknown>
}

/** An assertion as Google wants it, but for `changes`. */
export function assertionOf({ claims = {}, header = {} }: AssertionChanges = {}): Promise<string> {
  return new SignJWT({
    iss: account.client_email,
    aud: account.token_uri,
    scope: 'https://www.googleapis.com/auth/firebase.messaging',
    iat: now,
    exp: now + 3600,
    ...claims,
  })
    .setProtectedHeader({ alg: 'RS256', typ: 'JWT', kid: account.private_key_id, ...header })
    .sign(key)
}

export function tokenRequest(form: Record<string, string>, init: RequestInit = {}): Request {
  return new Request(`${origin}/token`, {
    method: 'POST',
    body: new URLSearchParams(form),
    ...init,
  })
}

export async function accessToken(fake: FakeFcm): Promise<string> {
  const grant_type = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
  const answer = await fake.handle(tokenRequest({ grant_type, assertion: await assertionOf() }))
  const body: { access_token: string } = await answer.json()
  return body.access_token
}

/** What was answered to one send: HTTP code, status, FCM's own code, faulty fields. */
export type SendAnswer = {
  readonly http: number
  readonly headers: Headers
  readonly name?: string
  readonly status?: string
  readonly errorCode?: string
  readonly fields: readonly string[]
}

export async function send(
  fake: FakeFcm,
  body: unknown,
  {
    bearer,
    project = 'idtoken-dev',
    init = {},
  }: { bearer?: string; project?: string; init?: RequestInit } = {},
): Promise<SendAnswer> {
  const authorization = `Bearer ${bearer ?? (await accessToken(fake))}`
  const request = new Request(`${origin}/v1/projects/${project}/messages:send`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    ...init,
  })
  const answer = await fake.handle(request)
  const text = await answer.text()
  if (!text.startsWith('{')) return { http: answer.status, headers: answer.headers, fields: [] }
  const { name, error } = JSON.parse(text)
  const details: { errorCode?: string; fieldViolations?: { field: string }[] }[] =
    error?.details ?? []
  return {
    http: answer.status,
    headers: answer.headers,
    name,
    status: error?.status,
    errorCode: details
      .map((detail) => detail.errorCode)
      .find((code) => code !== undefined) as never,
    fields: details.flatMap((detail) => detail.fieldViolations ?? []).map(({ field }) => field),
  }
}

/** A message that keeps every promise. */
export function goodMessage(token: string) {
  return {
    token,
    data: { v: '1', t: 'login' } as Record<string, unknown>,
    android: { priority: 'HIGH', ttl: '55s' } as Record<string, unknown>,
    apns: {
      headers: {
        'apns-push-type': 'alert',
        'apns-priority': '10',
        'apns-expiration': String(now + 60),
      } as Record<string, unknown>,
      payload: { aps: { alert: { 'loc-key': 'PROMPT' }, 'mutable-content': 1 } as unknown },
    },
  }
}
