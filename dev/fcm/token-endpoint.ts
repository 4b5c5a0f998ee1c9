/**
 * The fake's OAuth token endpoint: exchanges a signed assertion for an access token (RFC 7523) and is as strict as Google's. Time in
 * Unix seconds.
 */
import { decodeProtectedHeader, jwtVerify } from 'jose'
import { oauthError } from './answers.ts'
import { publicKeyOf, type ServiceAccountJson } from './service-account.ts'

const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const SCOPE = 'https://www.googleapis.com/auth/firebase.messaging'

/** What the endpoint does: as it should, or `down` (503), `garbage` (200, HTML), `hang`, `slow(ms)`, `rejecting` (invalid_grant). */
export type TokenScript = 'ok' | 'down' | 'garbage' | 'hang' | 'rejecting' | `slow(${number})`

export type TokenWorld = {
  readonly accounts: ReadonlyMap<string, ServiceAccountJson>
  readonly now: number
  readonly expiresIn: number
  /** Keeps who may send with the token, and until when. */
  readonly keep: (token: string, grant: { projectId: string; expiresAt: number }) => void
}

/** Answers one request to `/token`. */
export async function exchangeToken(request: Request, world: TokenWorld): Promise<Response> {
  if (request.method !== 'POST') {
    return new Response('Method Not Allowed', { status: 405, headers: { allow: 'POST' } })
  }
  const type = request.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase()
  if (type !== 'application/x-www-form-urlencoded') {
    return oauthError('invalid_request', 'Content-Type must be application/x-www-form-urlencoded.')
  }
  const form = new URLSearchParams(await request.text())
  if (form.getAll('grant_type').length !== 1 || form.get('grant_type') !== GRANT_TYPE) {
    return oauthError('unsupported_grant_type', 'Invalid grant_type.')
  }
  if (form.getAll('assertion').length !== 1)
    return oauthError('invalid_request', 'Missing assertion.')
  const verdict = await checkAssertion(form.get('assertion') ?? '', world)
  if ('fault' in verdict) return oauthError(verdict.error, verdict.fault)
  const token = `ya29.fake-${crypto.randomUUID()}`
  world.keep(token, {
    projectId: verdict.account.project_id,
    expiresAt: world.now + world.expiresIn,
  })
  return Response.json({ access_token: token, expires_in: world.expiresIn, token_type: 'Bearer' })
}

type Verdict =
  | { readonly account: ServiceAccountJson }
  | { readonly error: 'invalid_grant' | 'invalid_scope'; readonly fault: string }

async function checkAssertion(assertion: string, world: TokenWorld): Promise<Verdict> {
  const invalid = (fault: string): Verdict => ({ error: 'invalid_grant', fault })
  const account = findAccount(assertion, world.accounts)
  if (!account) return invalid('Invalid kid: not found.')
  let claims: Record<string, unknown>
  try {
    const verified = await jwtVerify(assertion, await publicKeyOf(account), {
      algorithms: ['RS256'],
      currentDate: new Date(world.now * 1000),
      clockTolerance: 300,
    })
    claims = verified.payload
  } catch {
    return invalid('Invalid JWT Signature, or expired.')
  }
  const { iss, aud, scope, iat, exp } = claims
  if (iss !== account.client_email) return invalid('Invalid issuer: Not a valid email or user ID.')
  if (aud !== account.token_uri) return invalid('Invalid JWT: Failed audience check.')
  if (typeof iat !== 'number' || typeof exp !== 'number')
    return invalid('iat and exp must be numbers.')
  if (Math.abs(iat - world.now) > 300)
    return invalid('Token must be a short-lived token: iat too far off.')
  if (exp - iat > 3600 || exp <= iat)
    return invalid('Token must be a short-lived token (60 minutes).')
  if (scope !== SCOPE)
    return { error: 'invalid_scope', fault: 'Invalid OAuth scope or ID token audience.' }
  return { account }
}

function findAccount(
  assertion: string,
  accounts: ReadonlyMap<string, ServiceAccountJson>,
): ServiceAccountJson | undefined {
  try {
    return accounts.get(String(decodeProtectedHeader(assertion).kid))
  } catch {
    return undefined
  }
}
