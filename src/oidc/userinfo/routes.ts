/** `GET` and `POST /oidc/userinfo` (OpenID Connect Core section 5.3, RFC 6750). */
import { type Context, Hono } from 'hono'
import { readForm } from '../../http/body.ts'
import { only } from '../../http/method.ts'
import { json } from '../../http/problem.ts'
import type { MasterSecret } from '../../keys/master-secret.ts'
import { isStanding } from '../../login/store.ts'
import { ok, type Result, refuse } from '../../result.ts'
import { openAccessToken } from '../access-token.ts'
import type { WebOrigins } from '../cors.ts'
import { allowedNow } from '../grant.ts'
import { PATHS } from '../paths.ts'
import type { NoteRefusal } from '../refusal.ts'
import type { OidcStore } from '../store.ts'
import { type BearerErrorKind, bearerError } from '../token-error.ts'

export interface UserinfoHouse {
  readonly master: MasterSecret
  readonly store: OidcStore
  readonly origins: WebOrigins
  readonly noteRefusal: NoteRefusal
  /** Unix seconds. */
  readonly now: () => number
}

export function userinfoRoutes(house: UserinfoHouse): Hono {
  const app = new Hono()
  const handler = (c: Context) => house.origins.allow(c.req.raw, () => userinfo(house, c))
  app.options(PATHS.userinfo, (c) => house.origins.preflight(c.req.raw, 'GET, POST'))
  app
    .get(PATHS.userinfo, handler)
    .post(PATHS.userinfo, handler)
    .all(PATHS.userinfo, only('GET, HEAD, POST'))
  return app
}

/** The claims are in the token; what the token can't know is asked of D1 (5-security 3.15). */
async function userinfo(house: UserinfoHouse, c: Context): Promise<Response> {
  const token = await readToken(c)
  if (!token.ok) {
    await house.noteRefusal('userinfo', token.reason)
    return bearerError(token.reason)
  }
  const content = await openAccessToken(house.master, token.value, house.now())
  if (content === undefined) {
    await house.noteRefusal('userinfo', 'invalid_token unknown or ended')
    return bearerError('invalid_token')
  }
  const { tokenId, clientId, enrollmentId, grantId, sub, scope } = content
  const [standing, dead] = await Promise.all([
    house.store.standing(tokenId, clientId),
    house.store.isDead(grantId),
  ])
  const { service } = standing
  const stands = isStanding(standing, enrollmentId, house.now())
  if (dead || !stands || service?.oidc === undefined) {
    const why = dead ? 'grant replayed' : 'person or service withdrawn'
    await house.noteRefusal('userinfo', `invalid_token ${why}`, clientId)
    return bearerError('invalid_token')
  }
  if (!scope.split(' ').includes('openid')) {
    await house.noteRefusal('userinfo', 'insufficient_scope', clientId)
    return bearerError('insufficient_scope')
  }
  return json({ ...allowedNow(content, service).claims, sub })
}

/** The one token of a request (RFC 6750 section 2): in the header, or in the form of a POST; never in the address. */
async function readToken(c: Context): Promise<Result<string, BearerErrorKind>> {
  if (new URL(c.req.url).searchParams.has('access_token')) return refuse('invalid_request')
  const authorization = c.req.header('Authorization')
  const isForm = /^application\/x-www-form-urlencoded\s*(;|$)/i.test(
    c.req.header('Content-Type') ?? '',
  )
  const form = c.req.method === 'POST' && isForm ? await readForm(c.req.raw) : undefined
  if (form?.ok === false || form?.value.repeated.has('access_token')) {
    return refuse('invalid_request')
  }
  const inForm = form?.value.values.get('access_token')
  if (authorization === undefined) return inForm === undefined ? refuse('missing') : ok(inForm)
  if (inForm !== undefined) return refuse('invalid_request')
  const scheme = /^([A-Za-z]+) +(.+)$/.exec(authorization)
  if (scheme?.[1]?.toLowerCase() !== 'bearer') return refuse('missing')
  return ok(scheme[2] ?? '')
}
