/**
 * What is looked at inside nearly every module (4-oidc section 5.1). What the certification suite only warns of is a failure here.
 * Each assertion has words of its own, so that a test of these tests can name the one that must fail.
 */
import { createHash } from 'node:crypto'
import { compactVerify, decodeProtectedHeader, importJWK, type JWK } from 'jose'
import { expect } from 'vitest'
import type { Landing } from './browser.ts'
import {
  type Answer,
  type Context,
  call,
  callToken,
  callUserinfo,
  endpoint,
  type Metadata,
  type Parameters,
} from './party.ts'
import type { Client } from './world.ts'

export interface Provider {
  readonly metadata: Metadata
  readonly keys: readonly JWK[]
}

/** Everything that came of one code. */
export interface Tokens {
  readonly accessToken: string
  readonly idToken: string
  readonly refreshToken: string | undefined
  readonly scope: string
  readonly claims: Readonly<Record<string, unknown>>
  readonly userinfo: Readonly<Record<string, unknown>>
}

const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']
const SKEW = 300
const YEAR = 365 * 86_400

/** Discovery and keys, checked. */
export async function checkProvider(context: Context, client: Client): Promise<Provider> {
  const discovery = await call(`${context.issuer}/.well-known/openid-configuration`)
  expect(discovery.status, 'discovery: status').toBe(200)
  const metadata = discovery.body ?? {}
  expect(metadata.issuer, 'discovery: issuer is exact').toBe(context.issuer)
  endpoint(metadata, 'authorization_endpoint')
  endpoint(metadata, 'token_endpoint')
  expect(
    metadata.token_endpoint_auth_methods_supported,
    'discovery: lists how the client authenticates',
  ).toContain(client.method)
  const keys = await checkKeys(metadata)
  return { metadata, keys }
}

export async function checkKeys(metadata: Metadata): Promise<readonly JWK[]> {
  const { status, body } = await call(endpoint(metadata, 'jwks_uri'))
  expect(status, 'jwks: status').toBe(200)
  const keys = body?.keys as readonly JWK[]
  const kids = keys.map(({ kid }) => kid)
  expect(
    kids.every((kid) => typeof kid === 'string' && kid !== ''),
    'jwks: every key has a kid',
  ).toBe(true)
  expect(new Set(kids).size, 'jwks: kids are distinct').toBe(kids.length)
  const members = keys.flatMap((key) => Object.keys(key))
  expect(
    members.filter((member) => PRIVATE_MEMBERS.includes(member)),
    'jwks: nothing private',
  ).toEqual([])
  for (const key of keys) expect(key, 'jwks: use and alg').toMatchObject({ use: 'sig' })
  return keys
}

/** The way an answer came: by query or form, with the registered query kept, `state` and `iss`. */
function checkWay(context: Context, request: Parameters, answer: Landing): void {
  const redirectUri = request.redirect_uri ?? ''
  if (context.responseMode === 'form_post') {
    expect(answer.method, 'form_post: the answer is a POST').toBe('POST')
    expect(answer.url, 'form_post: nothing is added to the address').toBe(redirectUri)
  } else {
    expect(answer.method, 'query: the answer is a GET').toBe('GET')
    expect(answer.url, 'answer: the registered query is kept').toSatisfy((url: string) =>
      url.startsWith(redirectUri),
    )
  }
  expect(answer.parameters.state, 'answer: state comes back unchanged').toBe(request.state)
  expect(answer.parameters.iss, 'answer: iss is the issuer').toBe(context.issuer)
}

/** A code came back. Its length and the entropy of its characters are what the certification suite measures. */
export function checkAnswer(context: Context, request: Parameters, answer: Landing): string {
  expect(answer.parameters.error, 'answer: no error').toBeUndefined()
  checkWay(context, request, answer)
  const { code = '' } = answer.parameters
  expect(code.length * 6, 'code: 128 bits long').toBeGreaterThanOrEqual(128)
  expect(entropyOf(code), 'code: entropy of 96 bits').toBeGreaterThanOrEqual(96)
  const known = ['code', 'state', 'iss', ...queryOf(request)]
  expect(Object.keys(answer.parameters), 'answer: known members only').toSatisfy(within(known))
  return code
}

/** An error came back, one of `errors`. */
export function checkError(
  context: Context,
  request: Parameters,
  answer: Landing,
  errors: readonly string[],
): void {
  checkWay(context, request, answer)
  expect(errors, 'error: one that is expected').toContain(answer.parameters.error)
  expect(answer.parameters.code, 'error: no code').toBeUndefined()
  const known = ['error', 'error_description', 'state', 'iss', ...queryOf(request)]
  expect(Object.keys(answer.parameters), 'error: known members only').toSatisfy(within(known))
  expect(answer.parameters.error_description ?? '', 'error: characters of RFC 6749').toMatch(
    /^[\x20-\x21\x23-\x5b\x5d-\x7e]*$/,
  )
}

/** Redeems `code` and looks at everything that comes of it. `verifier` when a challenge was sent. */
export async function checkRedemption(
  { metadata, keys }: Provider,
  context: Context,
  client: Client,
  request: Parameters,
  code: string,
  verifier?: string,
): Promise<Tokens> {
  const answer = await callToken(metadata, client, {
    grant_type: 'authorization_code',
    ...{ code, redirect_uri: request.redirect_uri, code_verifier: verifier },
  })
  const expected = { issuer: context.issuer, client, nonce: request.nonce }
  const tokens = await checkTokens(answer, keys, expected)
  const userinfo = await checkUserinfo(
    await callUserinfo(metadata, tokens.accessToken),
    tokens.claims.sub,
  )
  return { ...tokens, userinfo }
}

/** What an id_token must say. */
interface Expected {
  readonly issuer: string
  readonly client: Client
  /** As sent; `undefined`: there must be none. */
  readonly nonce: string | undefined
}

/** A token answer and the id_token inside. */
export async function checkTokens(
  { status, headers, body }: Answer,
  keys: readonly JWK[],
  expected: Expected,
): Promise<Omit<Tokens, 'userinfo'>> {
  expect({ status, error: body?.error }, 'token: status 200').toEqual({ status: 200 })
  expect(headers.get('Content-Type'), 'token: JSON').toMatch(/^application\/json/)
  expect(headers.get('Cache-Control'), 'token: no-store').toContain('no-store')
  expect(body?.token_type, 'token: token_type').toBe('Bearer')
  expect(body?.expires_in, 'token: expires_in is a number').toSatisfy(isPositive)
  expect(body?.access_token, 'token: access_token').toSatisfy(isText)
  expect(entropyOf(String(body?.access_token)), 'token: entropy of 96 bits').toBeGreaterThanOrEqual(
    96,
  )
  expect(body?.scope, 'token: scope').toSatisfy(isText)
  const accessToken = String(body?.access_token)
  const idToken = String(body?.id_token)
  const refreshToken = body?.refresh_token
  if (refreshToken !== undefined) {
    expect(refreshToken, 'token: characters of a refresh token').toMatch(/^[\x20-\x7e]+$/)
  }
  const claims = await checkIdToken(idToken, keys, expected, accessToken)
  return {
    ...{ accessToken, idToken, claims, scope: String(body?.scope) },
    refreshToken: refreshToken === undefined ? undefined : String(refreshToken),
  }
}

/** Claims that the certification suite takes without a warning. */
const QUIET_CLAIMS = [
  ...['iss', 'sub', 'aud', 'exp', 'iat', 'auth_time', 'nonce', 'acr', 'amr', 'azp'],
  ...['at_hash', 'c_hash', 's_hash', 'nbf', 'jti', 'sid', 'txn'],
]

async function checkIdToken(
  idToken: string,
  keys: readonly JWK[],
  { issuer, client, nonce }: Expected,
  accessToken: string,
): Promise<Readonly<Record<string, unknown>>> {
  const { alg, kid } = decodeProtectedHeader(idToken)
  expect(alg, 'id_token: the algorithm of the client').toBe(client.alg)
  const key = keys.find((one) => one.kid === kid)
  expect(key, 'id_token: its key is published').toBeDefined()
  const verified = await compactVerify(idToken, await importJWK(key ?? {}, client.alg)).catch(
    () => undefined,
  )
  expect(verified, 'id_token: signature').toBeDefined()
  const claims: Readonly<Record<string, unknown>> = JSON.parse(
    new TextDecoder().decode(verified?.payload),
  )

  const now = Date.now() / 1000
  expect(claims.iss, 'id_token: iss is exact').toBe(issuer)
  expect(claims.aud, 'id_token: aud is the client, one string').toBe(client.clientId)
  expect(claims.sub, 'id_token: sub').toSatisfy(isText)
  expect(claims.exp, 'id_token: exp is ahead').toSatisfy(
    (exp: unknown) => isPositive(exp) && exp > now - SKEW && exp < now + 3600 + SKEW,
  )
  expect(claims.iat, 'id_token: iat is now').toSatisfy(
    (iat: unknown) => isPositive(iat) && Math.abs(now - iat) < SKEW,
  )
  expect(claims.auth_time, 'id_token: auth_time is past and of this year').toSatisfy(
    (time: unknown) => isPositive(time) && time <= now + 1 && time > now - YEAR,
  )
  expect(claims.nonce, 'id_token: nonce is exact').toBe(nonce)
  expect(claims.acr, 'id_token: acr').toSatisfy(isText)
  expect(claims.sid, 'id_token: sid').toSatisfy(isText)
  expect(claims.at_hash ?? leftHalf(accessToken), 'id_token: at_hash').toBe(leftHalf(accessToken))
  checkClaimTypes(claims)
  expect(Object.keys(claims), 'id_token: no claim that nobody asked for').toSatisfy(
    within(QUIET_CLAIMS),
  )
  return claims
}

/** Userinfo with a good token. */
export async function checkUserinfo(
  { status, headers, body }: Answer,
  sub: unknown,
): Promise<Readonly<Record<string, unknown>>> {
  expect(status, 'userinfo: status 200').toBe(200)
  expect(headers.get('Content-Type'), 'userinfo: JSON').toMatch(/^application\/json/)
  const claims = body ?? {}
  expect(claims.sub, 'userinfo: sub is that of the id_token').toBe(sub)
  checkClaimTypes(claims)
  return claims
}

const TEXT_CLAIMS = ['name', 'given_name', 'family_name', 'birthdate', 'nationality', 'email']

function checkClaimTypes(claims: Readonly<Record<string, unknown>>): void {
  for (const name of TEXT_CLAIMS) {
    if (name in claims) expect(claims[name], `claims: ${name} is text`).toSatisfy(isText)
  }
  if ('email_verified' in claims) {
    expect(claims.email_verified, 'claims: email_verified is a boolean').toBeTypeOf('boolean')
  }
  expect(Object.values(claims), 'claims: nothing empty').not.toContain('')
  expect(Object.values(claims), 'claims: nothing null').not.toContain(null)
}

/** Shannon's measure over the characters of `text`, times its length. */
function entropyOf(text: string): number {
  const counts = new Map<string, number>()
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1)
  const shares = [...counts.values()].map((count) => count / text.length)
  return -text.length * shares.reduce((sum, share) => sum + share * Math.log2(share), 0)
}

function leftHalf(text: string): string {
  return createHash('sha256').update(text).digest().subarray(0, 16).toString('base64url')
}

function queryOf({ redirect_uri = '' }: Parameters): readonly string[] {
  return [...new URL(redirect_uri).searchParams.keys()]
}

function within(known: readonly string[]) {
  return (names: readonly string[]) => names.every((name) => known.includes(name))
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value !== ''
}

function isPositive(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0
}
