/**
 * Tokens for a protected resource: a client that may ask for them, the resource itself, and the calls of introspection,
 * revocation and token exchange. With keys of the server to sign what no endpoint would: only so a test knows that it is
 * not merely the signature that is refused.
 */
import { env } from 'cloudflare:workers'
import { createLocalJWKSet, importJWK, type JWTVerifyResult, jwtVerify } from 'jose'
import { parseMasterSecret } from '../../src/keys/master-secret.ts'
import { openBox } from '../../src/keys/sealed-box.ts'
import { createKeyRing, loadKeys } from '../../src/keys/store.ts'
import { sendForm } from './high-security.ts'
import type { About } from './redeemed.ts'
import { CLIENT_REGISTRATION, type Client, registerClient, token } from './relying-party.ts'
import { type Answer, ISSUER, now, operator, send } from './world.ts'

/** What clients ask tokens for. */
export const API = 'https://api.example/v1'
export const LEDGER = 'urn:example:ledger'

export const SCOPE = 'openid identity:name identity:age_over_18'

/** A login at a client that asks for a token for the API, and for a refresh token. */
export const AT_API = {
  oidc: { resources: [API, LEDGER], offline_access: true },
  request: { scope: `${SCOPE} offline_access`, resource: API },
} as const satisfies About

/** The same without a resource: the access token is for us. */
export const AT_HOME = {
  oidc: AT_API.oidc,
  request: { scope: AT_API.request.scope },
} as const satisfies About

/** Registers the API itself, which may exchange what it gets for a token for the ledger. */
export function registerApi(
  oidc: Record<string, unknown> = {},
  service: Record<string, unknown> = {},
  clientId = 'api',
): Promise<Client> {
  return registerClient({ resource: API, resources: [LEDGER], ...oidc }, service, clientId)
}

/** Takes the client record away from a service, which goes on without: at the direct door. */
export function endClient({ clientId }: Pick<Client, 'clientId'>): Promise<Answer> {
  return operator('PUT', `/operator/services/${clientId}`, CLIENT_REGISTRATION)
}

export function introspect(
  { basic }: Pick<Client, 'basic'>,
  text: string,
  more: Record<string, string> = {},
): Promise<Answer> {
  return sendForm('/oidc/introspect', { token: text, ...more }, basic)
}

export function revoke(
  { basic }: Pick<Client, 'basic'>,
  text: string,
  more: Record<string, string> = {},
): Promise<Answer> {
  return sendForm('/oidc/revoke', { token: text, ...more }, basic)
}

export function refresh(
  { basic }: Pick<Client, 'basic'>,
  refreshToken: string,
  more: Record<string, string> = {},
): Promise<Answer> {
  return token({ grant_type: 'refresh_token', refresh_token: refreshToken, ...more }, basic)
}

export const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
export const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
export const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token'

/** Exchanges an access token for one at the ledger, unless `more` says otherwise; `undefined` drops a parameter. */
export function exchange(
  { basic }: Pick<Client, 'basic'>,
  subjectToken: string,
  more: Record<string, string | undefined> = {},
  headers: Record<string, string> = {},
): Promise<Answer> {
  const form = {
    ...{ grant_type: EXCHANGE, subject_token: subjectToken, subject_token_type: ACCESS_TOKEN },
    ...{ resource: LEDGER, ...more },
  }
  return token(form, { ...basic, ...headers })
}

/** An access token verified as a gateway does it: with what the JWKS serves, and nothing else of ours. */
export async function verifiedAccess(
  accessToken: string,
  audience: string = API,
  algorithm = 'ES256',
): Promise<JWTVerifyResult> {
  const jwks = createLocalJWKSet((await send('GET', '/.well-known/jwks.json')).body)
  return jwtVerify(accessToken, jwks, {
    ...{ issuer: ISSUER, audience, algorithms: [algorithm], typ: 'at+jwt' },
    requiredClaims: ['sub', 'exp', 'iat', 'jti', 'client_id', 'scope', 'auth_time', 'acr'],
    currentDate: new Date(),
  })
}

/* ---- our own keys ---- */

/** To be called before a test that counts on a key: the isolate may remember those of an earlier test's database. */
export function freshKeys(): Promise<Answer> {
  return send('GET', '/health')
}

function master() {
  const read = parseMasterSecret(env.MASTER_SECRET)
  if (!read.ok) throw new Error(read.reason)
  return read.value
}

/** A key ring over the same keys as the Worker's. */
export function ourRing() {
  return createKeyRing({ db: env.DB, master: master(), issuer: ISSUER, now })
}

/** The private half of the active token key, and its name. */
export async function ourKey(
  alg: 'ES256' | 'RS256' = 'ES256',
): Promise<{ readonly kid: string; readonly privateKey: CryptoKey }> {
  await freshKeys()
  const stored = (await loadKeys(env.DB)).find(
    (key) => key.purpose === 'token' && key.alg === alg && key.status === 'active',
  )
  if (stored === undefined) throw new Error(`no ${alg} key`)
  const { kid, wrappedPrivateKey } = stored
  const box = await openBox(master(), 'wrap', wrappedPrivateKey, `signing-key/token/${kid}`)
  const privateKey = await importJWK(JSON.parse(new TextDecoder().decode(box)), alg)
  return { kid, privateKey: privateKey as CryptoKey }
}
