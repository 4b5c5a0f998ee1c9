/** `GET` and `POST /oidc/userinfo` (OpenID Connect Core section 5.3, RFC 6750, RFC 9449 section 7). */
import { type Context, Hono } from 'hono'
import { acrOf } from '../../disclosure/acr.ts'
import { readForm } from '../../http/body.ts'
import { only } from '../../http/method.ts'
import { json } from '../../http/problem.ts'
import { isStanding } from '../../login/store.ts'
import { ok, type Result, refuse } from '../../result.ts'
import { verifyDpopProof } from '../../services/dpop.ts'
import { dpopNonce, isDpopNonce } from '../../services/dpop-nonce.ts'
import { oneTimeProof } from '../../services/one-time-proof.ts'
import type { Service } from '../../services/service.ts'
import { type AccessTokenContent, openAccessToken } from '../access-token.ts'
import type { ClientHouse } from '../client/admission.ts'
import type { WebOrigins } from '../cors.ts'
import { allowedNow } from '../grant.ts'
import { PATHS } from '../paths.ts'
import type { NoteRefusal } from '../refusal.ts'
import { type ResourceFault, resourceError } from '../token-error.ts'

export interface UserinfoHouse extends ClientHouse {
  readonly origins: WebOrigins
  readonly noteRefusal: NoteRefusal
}

export function userinfoRoutes(house: UserinfoHouse): Hono {
  const app = new Hono()
  const handler = (c: Context) => house.origins.allow(c.req.raw, () => answer(house, c))
  app.options(PATHS.userinfo, (c) => house.origins.preflight(c.req.raw, 'GET, POST'))
  app
    .get(PATHS.userinfo, handler)
    .post(PATHS.userinfo, handler)
    .all(PATHS.userinfo, only('GET, HEAD, POST'))
  return app
}

async function answer(house: UserinfoHouse, c: Context): Promise<Response> {
  const claims = await userinfo(house, c)
  if (!claims.ok) {
    const { error, why, clientId } = claims.reason
    await house.noteRefusal('userinfo', `${error} ${why}`.trim(), clientId)
  }
  const response = claims.ok ? json(claims.value) : resourceError(claims.reason)
  if (c.req.header('DPoP') !== undefined) {
    response.headers.set('DPoP-Nonce', await dpopNonce(house.master, house.now()))
  }
  return response
}

/** `clientId` only when the token has proved it. */
type Fault = ResourceFault & { readonly clientId?: string }

/** The claims are in the token; what the token can't know is asked of D1 (5-security 3.15). */
async function userinfo(
  house: UserinfoHouse,
  c: Context,
): Promise<Result<Readonly<Record<string, unknown>>, Fault>> {
  const presented = await readToken(c)
  if (!presented.ok) return presented
  const { token, scheme } = presented.value
  const now = house.now()
  const content = await openAccessToken(house.master, token, now)
  if (content === undefined) {
    return refuse({ error: 'invalid_token', why: 'unknown or ended', scheme })
  }
  const { tokenId, clientId, enrollmentId, grantId, sub, scope } = content
  const [standing, dead] = await Promise.all([
    house.store.standing(tokenId, clientId),
    house.store.isDead(grantId),
  ])
  const { service } = standing
  const stands = isStanding(standing, enrollmentId, now)
  if (dead || !stands || service?.oidc === undefined) {
    const why = dead ? 'dead grant' : 'person or service withdrawn'
    return refuse({ error: 'invalid_token', why, scheme, clientId })
  }
  const mustBeBound = service.oidc.dpop_bound_access_tokens === true
  const proven = await provePossession(house, c, presented.value, content, mustBeBound)
  if (!proven.ok) return refuse({ ...proven.reason, clientId })
  if (!scope.split(' ').includes('openid')) {
    return refuse({ error: 'insufficient_scope', why: '', scheme, clientId })
  }
  const repair = stepUpFor(service, content, now)
  if (repair !== undefined) {
    const error = 'insufficient_user_authentication'
    return refuse({ error, why: Object.keys(repair).join(' '), scheme, clientId, repair })
  }
  return ok({ ...allowedNow(content, service).claims, sub })
}

/** What a sign-in must reach for this token to be enough again, `undefined` when it is enough (RFC 9470 section 3). */
function stepUpFor(
  { oidc }: Service,
  { trustLevel, authTime }: AccessTokenContent,
  now: number,
): Readonly<Record<string, string>> | undefined {
  const level = oidc?.min_trust_level ?? 1
  const maxAge = oidc?.default_max_age
  const isLow = trustLevel < level
  const isOld = maxAge !== undefined && now - authTime > maxAge
  if (!isLow && !isOld) return undefined
  return {
    ...(isLow ? { acr_values: acrOf(level) } : {}),
    ...(isOld ? { max_age: String(maxAge) } : {}),
  }
}

/**
 * A bound token is good with a proof of its key only, and no other one is taken for bound (5-security 82). `mustBeBound`:
 * its client is registered for bound tokens only, and one from before counts no more.
 */
async function provePossession(
  { issuer, master, store, now }: UserinfoHouse,
  c: Context,
  { token, scheme }: PresentedToken,
  { jkt }: AccessTokenContent,
  mustBeBound: boolean,
): Promise<Result<null, ResourceFault>> {
  const fault = (error: ResourceFault['error'], why: string) =>
    refuse({ error, why, scheme: 'DPoP' as const })
  if (jkt === undefined && scheme === 'Bearer' && !mustBeBound) return ok(null)
  if (jkt === undefined) return fault('invalid_token', 'not bound')
  if (scheme === 'Bearer') return fault('invalid_token', 'bound')
  const header = c.req.header('DPoP')
  if (header === undefined) return fault('invalid_dpop_proof', 'missing')
  const at = now()
  const proof = await verifyDpopProof(header, {
    method: c.req.method,
    url: `${issuer}${PATHS.userinfo}`,
    now: at,
    accessToken: token,
    isNonce: (nonce) => isDpopNonce(master, nonce, at),
  })
  if (!proof.ok) return fault(proof.reason.error, proof.reason.why)
  if (proof.value.jkt !== jkt) return fault('invalid_token', 'bound to another key')
  const [fresh] = await store.useProofs([await oneTimeProof('dpop', jkt, proof.value)], at)
  return fresh === undefined ? fault('invalid_dpop_proof', 'jti used') : ok(null)
}

interface PresentedToken {
  readonly token: string
  readonly scheme: 'Bearer' | 'DPoP'
}

const SCHEMES = { bearer: 'Bearer', dpop: 'DPoP' } as const

/** The one token of a request (RFC 6750 section 2): in the header, or in the form of a POST; never in the address. */
async function readToken(c: Context): Promise<Result<PresentedToken, ResourceFault>> {
  const malformed = { error: 'invalid_request', why: '', scheme: 'Bearer' } as const
  if (new URL(c.req.url).searchParams.has('access_token')) return refuse(malformed)
  const authorization = c.req.header('Authorization')
  const isForm = /^application\/x-www-form-urlencoded\s*(;|$)/i.test(
    c.req.header('Content-Type') ?? '',
  )
  const form = c.req.method === 'POST' && isForm ? await readForm(c.req.raw) : undefined
  if (form?.ok === false || form?.value.repeated.has('access_token')) return refuse(malformed)
  const inForm = form?.value.values.get('access_token')
  const missing = { error: 'missing', why: '', scheme: 'Bearer' } as const
  if (authorization === undefined) {
    return inForm === undefined ? refuse(missing) : ok({ token: inForm, scheme: 'Bearer' })
  }
  if (inForm !== undefined) return refuse(malformed)
  const [, name = '', token = ''] = /^([A-Za-z]+) +(.+)$/.exec(authorization) ?? []
  const scheme = Object.entries(SCHEMES).find(([known]) => known === name.toLowerCase())?.[1]
  return scheme === undefined ? refuse(missing) : ok({ token, scheme })
}
