/** The bar as a relying party: how its back end calls the identity provider, and how it checks what comes back. */
import { createRemoteJWKSet, type JWTPayload, jwtVerify } from 'jose'
import type { MovingQr } from './qr.ts'

export type BarService = {
  /** The issuer URL of the identity provider. */
  readonly issuer: string
  readonly serviceId: string
  readonly secret: string
  /** Set when the bar wants the code typed into the phone. */
  readonly confirmation?: 'transfer' | undefined
}

/** What `/auth/initiate` answers to a back end. */
export type Begun = {
  readonly sessionId: string
  readonly wsToken: string
  readonly random: string
  readonly expiresAt: string
  readonly autoPassword?: string
  readonly qr: MovingQr
}

/** What it answers when a phone is only to say that it trusts the bar. `qr.url` is the whole text of the QR. */
export type BegunRegistration = Omit<Begun, 'autoPassword' | 'qr'> & {
  readonly serviceVds: string
  readonly qr: { readonly url: string }
}

export type Fault = { readonly status: number; readonly code: string }

export const SCOPES = ['identity:given_name', 'identity:age_over_18']
export const REQUIRED_SCOPES = ['identity:age_over_18']

/** All that is asked of somebody who only wants a drink: no name. */
export const AGE_CHECK = ['identity:age_over_18']

/** The identity provider's answer to a POST with our credentials. */
export async function callProvider<T>(
  { issuer, serviceId, secret }: BarService,
  path: string,
  body: object,
): Promise<
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly fault: Fault }
> {
  try {
    const response = await fetch(`${issuer}${path}`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        authorization: `Basic ${btoa(`${serviceId}:${secret}`)}`,
      },
      body: JSON.stringify(body),
    })
    const answer = (await response.json()) as Record<string, unknown>
    return response.ok
      ? { ok: true, value: answer as T }
      : { ok: false, fault: { status: response.status, code: String(answer.code) } }
  } catch {
    return { ok: false, fault: { status: 502, code: 'unreachable' } }
  }
}

/** Begins a login for the person who typed `tokenId`. */
export function beginLogin(service: BarService, tokenId: string) {
  return initiate<Begun>(service, { tokenId, scopes: SCOPES, requiredScopes: REQUIRED_SCOPES })
}

/** Begins an age check for whoever scans the QR: nobody types a number, and we need none. */
export function beginAgeCheck(service: BarService) {
  return initiate<Begun>(service, { scopes: AGE_CHECK, requiredScopes: AGE_CHECK })
}

/** Begins a registration: a phone scans who we are, and its person says that they trust us. */
export function beginRegistration(service: BarService) {
  return initiate<BegunRegistration>(service, { purpose: 'register' })
}

function initiate<T>(service: BarService, wanted: object) {
  const { serviceId, confirmation } = service
  const careful = confirmation === undefined ? {} : { confirmation }
  return callProvider<T>(service, '/auth/initiate', { serviceId, ...wanted, ...careful })
}

/** Turns a page's code into the token. */
export function redeem(service: BarService, sessionId: string, code: string) {
  const body = { sessionId, code }
  return callProvider<{ jwt: string; random: string }>(service, '/auth/result', body)
}

/** Gives the claims of a token that is the provider's, for us, now, and for the login whose `random` we know. Else throws. */
export function makeTokenCheck({ issuer, serviceId }: BarService) {
  const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`))
  return async (jwt: string, random: string): Promise<JWTPayload> => {
    const { payload } = await jwtVerify(jwt, keys, {
      algorithms: ['ES256'],
      typ: 'JWT',
      issuer,
      audience: serviceId,
      requiredClaims: ['exp', 'iat', 'sub', 'nonce'],
    })
    if (payload.nonce !== random) throw new Error('nonce belongs to another login')
    return payload
  }
}
