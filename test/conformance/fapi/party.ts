/** A relying party with keys: what it is registered with, and its requests to the endpoints that clients call. */
import { randomInt } from 'node:crypto'
import { request } from 'node:http'
import { expect } from 'vitest'
import {
  type Answer,
  type Changes,
  type Context,
  call,
  endpoint,
  type Metadata,
  type Parameters,
  presentIn,
  randomText,
} from '../oidc/party.ts'
import type { Client, World } from '../oidc/world.ts'
import { type ClientAlg, hashOf, type Members, makeKey, type SigningKey, signed } from './keys.ts'

/** A client of the profile. Its secret, which every service has, is good for nothing here. */
export interface FapiClient extends Client {
  /** Signs its assertions. */
  readonly key: SigningKey
  readonly kid: string
}

export interface FapiContext extends Context {
  /** Both with ES256. */
  readonly first: FapiClient
  readonly second: FapiClient
  readonly ps256: FapiClient
  readonly eddsa: FapiClient
  /** With ES256, for the libraries. */
  readonly library: FapiClient
}

export type FapiModule = (context: FapiContext) => Promise<void>

/** Registers a client of the profile, its keys being all that is said besides its addresses. */
export async function registerFapi(
  world: World,
  clientId: string,
  alg: ClientAlg,
  oidc: Members = {},
): Promise<FapiClient> {
  const key = makeKey(alg)
  const kid = `${clientId}-1`
  const client = await world.register(clientId, {
    profile: 'fapi2',
    jwks: { keys: [{ ...key.jwk, kid, use: 'sig', alg }] },
    ...oidc,
  })
  return { ...client, key, kid }
}

export const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

export interface AssertionChanges {
  readonly header?: Members
  readonly claims?: Members
  /** Signs with this algorithm, whatever the header says. */
  readonly alg?: ClientAlg | 'RS256'
}

/** A client assertion (RFC 7523 section 3) that is good unless it is changed. */
export function assertionOf(
  { clientId, key, kid }: FapiClient,
  issuer: string,
  { header, claims, alg }: AssertionChanges = {},
): string {
  const now = secondsNow()
  return signed(
    { alg: key.alg, kid, typ: 'JWT', ...header },
    {
      iss: clientId,
      sub: clientId,
      aud: issuer,
      jti: randomText(22),
      iat: now,
      exp: now + 60,
      ...claims,
    },
    key,
    alg,
  )
}

/** The members of a form that carry `assertion`. */
export function byAssertion(assertion: string): Parameters {
  return { client_assertion_type: ASSERTION_TYPE, client_assertion: assertion }
}

export interface ProofChanges {
  readonly header?: Members
  readonly claims?: Members
  /** Signs with this algorithm, whatever the header says. */
  readonly alg?: ClientAlg | 'RS256' | 'none'
  /** What becomes of it once it is signed. */
  readonly bend?: (proof: string) => string
}

/** What a proof is about (RFC 9449 section 4.2). */
export interface Target {
  readonly method: string
  readonly address: string
  readonly accessToken?: string | undefined
  readonly nonce?: string | undefined
}

/** A DPoP proof that is good unless it is changed. */
export function proofOf(
  key: SigningKey,
  { method, address, accessToken, nonce }: Target,
  { header, claims, alg, bend = (proof) => proof }: ProofChanges = {},
): string {
  const proof = signed(
    { typ: 'dpop+jwt', alg: key.alg, jwk: key.jwk, ...header },
    {
      jti: randomText(22),
      htm: method,
      htu: address,
      iat: secondsNow(),
      ath: accessToken === undefined ? undefined : hashOf(accessToken),
      nonce,
      ...claims,
    },
    key,
    alg,
  )
  return bend(proof)
}

export function secondsNow(): number {
  return Math.floor(Date.now() / 1000)
}

/** What the provider has told one party of its nonce. */
export interface NonceJar {
  /** The last one it gave. */
  value?: string
  /** How often it refused a request for want of it. */
  challenges: number
}

/** Makes the headers of one try. It is called again when the provider wants its nonce. */
type HeadersOfTry = (nonce: string | undefined) => Readonly<Record<string, string | string[]>>

/**
 * Sends what `headers` make. The provider may want its nonce once (RFC 9449 section 8): then the same is sent again but for
 * the proof, the client assertion included, as the certification suite does.
 */
export async function sendWithNonce(
  address: string,
  { method, body }: { readonly method: string; readonly body?: string },
  jar: NonceJar,
  headers: HeadersOfTry,
): Promise<Answer> {
  const send = () => sendLines(address, { method, headers: headers(jar.value), body })
  const keep = ({ headers }: Answer) => {
    const nonce = headers.get('DPoP-Nonce')
    if (nonce !== null) jar.value = nonce
  }
  const answer = await send()
  keep(answer)
  if (answer.body?.error !== 'use_dpop_nonce') return answer
  jar.challenges += 1
  expect([400, 401], 'nonce: the challenge is 400 or 401').toContain(answer.status)
  expect(answer.headers.get('DPoP-Nonce'), 'nonce: the challenge brings one').toBeTruthy()
  const second = await send()
  keep(second)
  expect(second.body?.error, 'nonce: it is asked for once').not.toBe('use_dpop_nonce')
  return second
}

/** Posts `form` to an endpoint for clients, with a proof of `key` unless it is `undefined`. */
export function post(
  metadata: Metadata,
  name: string,
  form: Changes,
  jar: NonceJar,
  key: SigningKey | undefined,
  changes?: ProofChanges,
): Promise<Answer> {
  const address = endpoint(metadata, name)
  const body = new URLSearchParams(presentIn(form)).toString()
  const fixed = { 'Content-Type': 'application/x-www-form-urlencoded' }
  return sendWithNonce(address, { method: 'POST', body }, jar, (nonce) =>
    key === undefined
      ? fixed
      : { ...fixed, DPoP: proofOf(key, { method: 'POST', address, nonce }, changes) },
  )
}

/** An access token that is tied to a key, and where it goes. */
export interface Access {
  readonly metadata: Metadata
  readonly accessToken: string
  readonly key: SigningKey
  readonly jar: NonceJar
}

export interface AccessChanges extends ProofChanges {
  /** Of `Authorization`. */
  readonly scheme?: string
  readonly accept?: string
  readonly query?: string
  readonly method?: string
  /** What is sent of the proof: none at all, under another name, twice. */
  readonly sent?: (proof: string, another: string) => Readonly<Record<string, string | string[]>>
}

/** Asks userinfo with a bound token and a proof. */
export function callBound(
  { metadata, accessToken, key, jar }: Access,
  {
    scheme = 'DPoP',
    accept = 'application/json',
    query = '',
    method = 'GET',
    sent = (proof) => ({ DPoP: proof }),
    ...changes
  }: AccessChanges = {},
): Promise<Answer> {
  const address = endpoint(metadata, 'userinfo_endpoint')
  const fixed = { Authorization: `${scheme} ${accessToken}`, Accept: accept }
  return sendWithNonce(address + query, { method }, jar, (nonce) => {
    const target = { method, address, accessToken, nonce }
    return { ...fixed, ...sent(proofOf(key, target, changes), proofOf(key, target, changes)) }
  })
}

interface Lines {
  readonly method: string
  /** Names in the case in which they are sent; each value of a list on a line of its own. */
  readonly headers: Readonly<Record<string, string | string[]>>
  readonly body?: string | undefined
}

/** Sends a request as it is written: `fetch` would write names small and join lines. */
function sendLines(address: string, { method, headers, body = '' }: Lines): Promise<Answer> {
  const length = body === '' ? {} : { 'Content-Length': String(Buffer.byteLength(body)) }
  const everything = { ...headers, 'X-Client-Address': anyAddress(), ...length }
  return new Promise((resolve, reject) => {
    const sending = request(address, { method, headers: everything, agent: false }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('error', reject)
      response.on('end', () => {
        const lines = response.rawHeaders
        const names = lines.filter((_, i) => i % 2 === 0)
        resolve({
          status: response.statusCode ?? 0,
          headers: new Headers(names.map((name, i) => [name, lines[2 * i + 1] ?? ''])),
          body: objectIn(Buffer.concat(parts).toString()),
        })
      })
    })
    sending.on('error', reject)
    sending.end(body)
  })
}

function objectIn(text: string): Answer['body'] {
  try {
    const value: unknown = JSON.parse(text)
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
    return isObject ? (value as Answer['body']) : undefined
  } catch {
    return undefined
  }
}

/** Another address for each request: failures of a client are counted by address, and here half of the requests fail. */
function anyAddress(): string {
  return `198.19.${randomInt(256)}.${randomInt(1, 255)}`
}

/** Any other method than POST, without a body, at the endpoint `name`. */
export function callByMethod(metadata: Metadata, name: string, method: string): Promise<Answer> {
  return call(endpoint(metadata, name), { method })
}
