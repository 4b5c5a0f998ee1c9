/** What is looked at inside nearly every module of the plan (4-oidc section 5.6), besides what every plan looks at. */
import { decodeProtectedHeader } from 'jose'
import { expect } from 'vitest'
import { checkKeys, checkTokens, type Provider } from '../oidc/checks.ts'
import { type Answer, call } from '../oidc/party.ts'
import type { FapiClient, FapiContext } from './party.ts'

/** The algorithms of FAPI 2.0 Security Profile section 5.4.1. */
export const GOOD_ALGS = ['PS256', 'ES256', 'EdDSA']

/** Discovery and keys, checked. */
export async function checkFapiProvider({ issuer }: FapiContext): Promise<Provider> {
  const { status, body: metadata = {} } = await call(`${issuer}/.well-known/openid-configuration`)
  expect(status, 'discovery: status').toBe(200)
  expect(metadata.issuer, 'discovery: issuer is exact').toBe(issuer)
  expect(metadata.token_endpoint_auth_methods_supported, 'discovery: private_key_jwt').toContain(
    'private_key_jwt',
  )
  const keys = await checkKeys(metadata)
  for (const { n } of keys.filter(({ kty }) => kty === 'RSA')) {
    const bytes = Buffer.from(n ?? '', 'base64url').length
    expect(bytes * 8, 'jwks: RSA keys of 2048 bits').toBeGreaterThanOrEqual(2048)
  }
  return { metadata, keys }
}

export interface Pushed {
  readonly requestUri: string
  /** Seconds. */
  readonly expiresIn: number
}

/** The answer to a good pushed request (RFC 9126 section 2.2). */
export function checkPushed({ status, headers, body }: Answer): Pushed {
  expect({ status, error: body?.error }, 'par: status 201').toEqual({ status: 201 })
  expect(headers.get('Content-Type'), 'par: JSON').toMatch(/^application\/json/)
  expect(headers.get('Cache-Control'), 'par: no-store').toContain('no-store')
  expect(Object.keys(body ?? {}).toSorted(), 'par: known members only').toEqual([
    'expires_in',
    'request_uri',
  ])
  const expiresIn = body?.expires_in
  expect(expiresIn, 'par: expires_in of 5 s or more').toSatisfy(
    (seconds: unknown) => Number.isSafeInteger(seconds) && Number(seconds) >= 5,
  )
  const requestUri = String(body?.request_uri)
  expect(requestUri, 'par: request_uri').toMatch(/^urn:ietf:params:oauth:request_uri:[\w.~-]+$/)
  const reference = requestUri.slice(requestUri.lastIndexOf(':') + 1)
  checkSecret(reference, 'par: request_uri')
  return { requestUri, expiresIn: Number(expiresIn) }
}

/** A refusal of an endpoint for clients: one of `errors`, in an answer that says nothing else. */
export function checkRefusal(
  { status, headers, body }: Answer,
  what: string,
  errors: readonly string[],
): void {
  // RFC 6749 section 5.2: who could not prove to be the client gets 401, all else is 400.
  const expected = body?.error === 'invalid_client' ? 401 : 400
  expect({ status, error: body?.error }, `${what}: is refused`).toEqual({
    status: expected,
    error: expect.toBeOneOf([...errors]),
  })
  expect(headers.get('Content-Type'), `${what}: JSON`).toMatch(/^application\/json/)
  expect(headers.get('Cache-Control'), `${what}: no-store`).toContain('no-store')
  const known = ['error', 'error_description', 'error_uri']
  expect(
    Object.keys(body ?? {}).filter((name) => !known.includes(name)),
    `${what}: nothing is given`,
  ).toEqual([])
  expect(body?.error_description ?? '', `${what}: characters of RFC 6749`).toMatch(
    /^[\x20-\x21\x23-\x5b\x5d-\x7e]*$/,
  )
}

/** Tokens of a client of the profile. */
export async function checkBoundTokens(
  answer: Answer,
  { keys }: Provider,
  { issuer }: FapiContext,
  client: FapiClient,
  nonce: string | undefined,
): Promise<Omit<Awaited<ReturnType<typeof checkTokens>>, 'userinfo'>> {
  const { status, headers, body } = answer
  expect({ status, error: body?.error }, 'token: status 200').toEqual({ status: 200 })
  expect(body?.token_type, 'token: token_type is DPoP').toBe('DPoP')
  expect(headers.get('DPoP-Nonce'), 'token: the next nonce comes along').toBeTruthy()
  // Its type aside, the answer is looked at as that of any client.
  const alike = { ...answer, body: { ...body, token_type: 'Bearer' } }
  const tokens = await checkTokens(alike, keys, { issuer, client, nonce })
  checkSecret(tokens.accessToken, 'token: access token')
  if (tokens.refreshToken !== undefined) checkSecret(tokens.refreshToken, 'token: refresh token')
  expect(GOOD_ALGS, 'id_token: an algorithm of the profile').toContain(
    decodeProtectedHeader(tokens.idToken).alg,
  )
  return tokens
}

/** Long enough that nobody guesses it, and of characters that differ (Shannon's measure times the length). */
function checkSecret(text: string, what: string): void {
  expect(text.length * 6, `${what}: 128 bits long`).toBeGreaterThanOrEqual(128)
  const counts = Map.groupBy(text, (character) => character)
  const shares = [...counts.values()].map(({ length }) => length / text.length)
  const entropy = -text.length * shares.reduce((sum, share) => sum + share * Math.log2(share), 0)
  expect(entropy, `${what}: entropy of 96 bits`).toBeGreaterThanOrEqual(96)
}

/** A refusal of userinfo: a challenge (RFC 9449 section 7.1), and nothing of the person. */
export function checkRefusedAccess({ status, headers, body }: Answer, what: string): void {
  expect(status, `${what}: is refused`).toBeOneOf([400, 401])
  if (status === 401) {
    expect(headers.get('WWW-Authenticate'), `${what}: with a challenge`).toMatch(/^DPoP /)
  }
  expect(body ?? {}, `${what}: nothing is told`).not.toHaveProperty('sub')
}
