/**
 * A client of the high profile for the worker tests: its keys, assertions and DPoP proofs whose every member can be bent,
 * the nonce dance, pushed requests, and a whole login with all of it.
 */
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK } from 'jose'
import { type Bytes, sha256, toBase64url, utf8 } from '../../src/bytes.ts'
import {
  approve,
  authorizationParameters,
  type Client,
  landingOf,
  REDIRECT_URI,
  registerClient,
  Tab,
  VERIFIER,
} from './relying-party.ts'
import { type Answer, freshAddress, ISSUER, now, type Person, send } from './world.ts'

/* ---- keys ---- */

export type KeyAlg = 'ES256' | 'PS256' | 'EdDSA'

/** A key of a client: for its assertions, or for its proofs. */
export interface ClientKey {
  readonly alg: KeyAlg
  readonly kid: string
  readonly privateKey: CryptoKey
  readonly publicJwk: JWK
  readonly privateJwk: JWK
  readonly thumbprint: string
}

export async function makeKey(alg: KeyAlg = 'ES256', kid = 'client-key-1'): Promise<ClientKey> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
  const publicJwk = await exportJWK(publicKey)
  return {
    ...{ alg, kid, privateKey: privateKey as CryptoKey, publicJwk },
    privateJwk: await exportJWK(privateKey),
    thumbprint: await calculateJwkThumbprint(publicJwk),
  }
}

/** The key set of a registration. */
export function keySet(...keys: readonly ClientKey[]): { readonly keys: readonly object[] } {
  return { keys: keys.map(({ publicJwk, kid }) => ({ ...publicJwk, kid })) }
}

/* ---- what is signed ---- */

/** What a test wants otherwise in something signed; a member that is `undefined` is left out. */
export interface Bend {
  readonly header?: Record<string, unknown>
  readonly payload?: Record<string, unknown>
  /** Who signs instead. The header goes on naming what it named. */
  readonly key?: ClientKey
  /** What becomes of the signature. */
  readonly signature?: (signature: Bytes) => Uint8Array
}

const SIGN = {
  ES256: { name: 'ECDSA', hash: 'SHA-256' },
  PS256: { name: 'RSA-PSS', saltLength: 32 },
  EdDSA: { name: 'Ed25519' },
} as const

/** The compact JWS of any header and payload: unlike a library it signs whatever it is given. */
export async function signed(
  header: unknown,
  payload: unknown,
  { alg, privateKey }: ClientKey,
  bendSignature: (signature: Bytes) => Uint8Array = (signature) => signature,
): Promise<string> {
  const parts = [header, payload].map((part) =>
    toBase64url(utf8(typeof part === 'string' ? part : JSON.stringify(part))),
  )
  const text = parts.join('.')
  const signature = new Uint8Array(await crypto.subtle.sign(SIGN[alg], privateKey, utf8(text)))
  return `${text}.${toBase64url(bendSignature(signature))}`
}

/** A client that proves itself with its own key. */
export interface KeyedClient extends Client {
  readonly key: ClientKey
  /** What its proofs are signed with. */
  readonly dpop: ClientKey
}

/** What says who a client is. */
export type Asserting = Pick<KeyedClient, 'clientId' | 'key'>

/** A client assertion, right in everything that `bend` leaves alone. */
export function assertion({ clientId, key }: Asserting, bend: Bend = {}): Promise<string> {
  const header = { alg: key.alg, kid: key.kid, typ: 'JWT', ...bend.header }
  const payload = {
    ...{ iss: clientId, sub: clientId, aud: ISSUER, jti: crypto.randomUUID() },
    ...{ iat: now(), exp: now() + 60 },
    ...bend.payload,
  }
  return signed(header, payload, bend.key ?? key, bend.signature)
}

export const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

/** The form members with which a client asserts itself. */
export async function asserted(
  client: Asserting,
  bend: Bend = {},
): Promise<{ client_assertion_type: string; client_assertion: string }> {
  return { client_assertion_type: ASSERTION_TYPE, client_assertion: await assertion(client, bend) }
}

/** What a proof is for. */
export interface ProofAbout {
  readonly method?: string
  readonly path?: string
  readonly nonce?: string | undefined
  readonly accessToken?: string
}

/** A DPoP proof by `key`, by default for the token endpoint; right in everything that `bend` leaves alone. */
export async function proof(
  key: ClientKey,
  { method = 'POST', path = '/oidc/token', nonce, accessToken }: ProofAbout = {},
  bend: Bend = {},
): Promise<string> {
  const header = { typ: 'dpop+jwt', alg: key.alg, jwk: key.publicJwk, ...bend.header }
  const payload = {
    ...{ jti: crypto.randomUUID(), htm: method, htu: `${ISSUER}${path}`, iat: now(), nonce },
    ...(accessToken === undefined ? {} : { ath: toBase64url(await sha256(accessToken)) }),
    ...bend.payload,
  }
  return signed(header, payload, bend.key ?? key, bend.signature)
}

/** A nonce that is good now: every answer to who sends a proof, even a bad one, brings it. */
export async function freshNonce(): Promise<string> {
  const { headers } = await sendForm('/oidc/token', {}, { DPoP: 'none' })
  return headers.get('DPoP-Nonce') ?? ''
}

/** The header `DPoP` with a proof and a fresh nonce. */
export async function proven(
  key: ClientKey,
  about: ProofAbout = {},
  bend: Bend = {},
): Promise<{ DPoP: string }> {
  return { DPoP: await proof(key, { nonce: await freshNonce(), ...about }, bend) }
}

/* ---- requests ---- */

/** The form members and headers with which `client` proves itself by `method`, whatever it is registered for. */
export async function credentialsBy(
  method: string,
  client: Client | KeyedClient,
): Promise<{ readonly form: Record<string, string>; readonly headers: Record<string, string> }> {
  const { clientId: client_id, secret: client_secret, basic: headers } = client
  switch (method) {
    case 'client_secret_basic':
      return { form: {}, headers }
    case 'client_secret_post':
      return { form: { client_id, client_secret }, headers: {} }
    case 'private_key_jwt':
      if (!('key' in client)) throw new Error(`${client_id} has no key`)
      return { form: await asserted(client), headers: {} }
    default:
      return { form: { client_id }, headers: {} }
  }
}

/** Sends a form, from an address of its own; `undefined` drops a parameter. */
export function sendForm(
  path: string,
  form: Record<string, string | undefined>,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const present = Object.entries(form).filter((entry): entry is [string, string] => !!entry[1])
  return send('POST', path, new URLSearchParams(present).toString(), {
    'Content-Type': 'application/x-www-form-urlencoded',
    'CF-Connecting-IP': freshAddress(),
    ...headers,
  })
}

/** Registers a client that proves itself with `key` (one of its own when not given), by default of profile `fapi2`. */
export async function registerKeyed(
  oidc: Record<string, unknown> = { profile: 'fapi2' },
  service: Record<string, unknown> = {},
  clientId = 'bar-le-central',
  key?: ClientKey,
): Promise<KeyedClient> {
  const own = key ?? (await makeKey('ES256', `${clientId}-key-1`))
  const record = { token_endpoint_auth_method: 'private_key_jwt', jwks: keySet(own), ...oidc }
  const client = await registerClient(record, service, clientId)
  return { ...client, key: own, dpop: await makeKey('ES256', 'proof') }
}

/** Pushes the plain request with `changes` (`undefined` drops a parameter); no proof unless `headers` bring one. */
export async function push(
  client: Asserting,
  changes: Record<string, string | undefined> = {},
  headers: Record<string, string> = {},
): Promise<Answer> {
  const { clientId } = client
  const parameters = await authorizationParameters({ client_id: clientId, ...changes })
  return sendForm('/oidc/par', { ...(await asserted(client)), ...parameters }, headers)
}

/** The `request_uri` of a pushed request. */
export async function pushed(
  client: Asserting,
  changes: Record<string, string | undefined> = {},
  headers: Record<string, string> = {},
): Promise<string> {
  const answer = await push(client, changes, headers)
  if (answer.status !== 201) throw new Error(`not pushed: ${JSON.stringify(answer.body)}`)
  return answer.body.request_uri
}

/** The browser opens a pushed request; `more` is what else stands in the address. */
export function open(
  tab: Tab,
  clientId: string,
  requestUri: string,
  more: Record<string, string> = {},
): Promise<Answer> {
  const query = new URLSearchParams({ client_id: clientId, request_uri: requestUri, ...more })
  return tab.send('GET', `/oidc/authorize?${query}`)
}

/** Brings a code, or whatever `form` says instead, with assertion and proof. */
export async function redeemKeyed(
  client: KeyedClient,
  code: string | undefined,
  form: Record<string, string | undefined> = {},
  headers?: Record<string, string>,
): Promise<Answer> {
  const whole = {
    ...(await asserted(client)),
    ...{ grant_type: 'authorization_code', code, redirect_uri: REDIRECT_URI },
    ...{ code_verifier: VERIFIER, ...form },
  }
  return sendForm('/oidc/token', whole, headers ?? (await proven(client.dpop)))
}

/** A client with what a login brought it. */
export interface Visit {
  readonly client: KeyedClient
  readonly person: Person
  readonly tab: Tab
  readonly requestUri: string
  readonly code: string
}

/** A login by a pushed request, up to the client's own address. */
export async function visit(
  client: KeyedClient,
  person: Person,
  changes: Record<string, string | undefined> = {},
  headers: Record<string, string> = {},
): Promise<Visit> {
  const tab = new Tab()
  const requestUri = await pushed(client, changes, headers)
  const waiting = await tab.type(await open(tab, client.clientId, requestUri), person.tokenId)
  await approve(person, waiting)
  const { parameters } = landingOf(await tab.press(waiting, '/login/continue'))
  if (parameters.code === undefined) throw new Error(`no code: ${JSON.stringify(parameters)}`)
  return { client, person, tab, requestUri, code: parameters.code }
}

/** A whole login of the high profile: the body of the token answer. */
export async function visitRedeemed(
  client: KeyedClient,
  person: Person,
  changes: Record<string, string | undefined> = {},
): Promise<Visit & { readonly tokens: Answer['body'] }> {
  const login = await visit(client, person, changes)
  const answer = await redeemKeyed(client, login.code)
  if (answer.status !== 200) throw new Error(`no tokens: ${JSON.stringify(answer.body)}`)
  return { ...login, tokens: answer.body }
}

/** Userinfo with a bound token and a proof for it. */
export async function userinfoKeyed(
  key: ClientKey,
  accessToken: string,
  bend: Bend = {},
  { method = 'GET', scheme = 'DPoP' }: { readonly method?: string; readonly scheme?: string } = {},
): Promise<Answer> {
  const about = { method, path: '/oidc/userinfo', accessToken }
  const headers = await proven(key, about, bend)
  return send(method, '/oidc/userinfo', undefined, {
    Authorization: `${scheme} ${accessToken}`,
    ...headers,
  })
}
