/** `POST /oidc/introspect` (RFC 7662). */
import type { Hono } from 'hono'
import { acrOf } from '../../disclosure/acr.ts'
import { json } from '../../http/problem.ts'
import { isStanding } from '../../login/store.ts'
import { ok, type Result, refuse } from '../../result.ts'
import { admit, type ClientRequest, type ClientService } from '../client/admission.ts'
import { type ClientRoutesHouse, clientRoutes } from '../client/routes.ts'
import {
  type OwnAccessToken,
  type OwnRefreshToken,
  type OwnToken,
  type OwnTokenHouse,
  readOwnAccessToken,
  readOwnRefreshToken,
  scopeNow,
} from '../own-token.ts'
import { PATHS } from '../paths.ts'
import { judgeRefresh } from '../refresh-token.ts'
import { type TokenFault, tokenFault } from '../token-error.ts'

export type IntrospectHouse = ClientRoutesHouse & OwnTokenHouse

export function introspectRoutes(house: IntrospectHouse): Hono {
  return clientRoutes(house, {
    where: 'introspect',
    path: PATHS.introspect,
    parameters: ['token', 'token_type_hint'],
    dpop: false,
    forPages: false,
    answer: (request) => introspect(house, request),
  })
}

/** One answer for every token that the caller may not know of: unknown, ended, withdrawn or another's (5-security 102). */
const INACTIVE = { active: false }

async function introspect(
  house: IntrospectHouse,
  request: ClientRequest,
): Promise<Result<Response, TokenFault>> {
  const text = request.form.get('token')
  const access = text === undefined ? undefined : await readOwnAccessToken(house, text)
  const refresh =
    text === undefined || access !== undefined ? undefined : await readOwnRefreshToken(house, text)
  const token = access ?? refresh
  const admitted = await admit(house, request, token?.tokenId ?? '')
  if (!admitted.ok) return admitted
  const { service, standing } = admitted.value
  // Anybody can name a public client: it has nothing to prove that it may ask (5-security 101).
  if (service.oidc.token_endpoint_auth_method === 'none') {
    return refuse(tokenFault('invalid_client', 'public client'))
  }
  if (text === undefined) return refuse(tokenFault('invalid_request', 'token'))
  if (token === undefined || !mayKnow(service, token)) return ok(json(INACTIVE))
  const stands = isStanding(standing, token.enrollmentId, house.now())
  if (!stands || (await house.store.isDead(token.grantId))) return ok(json(INACTIVE))
  const scope = await scopeNow(house.store, token, service)
  const exp = access?.exp ?? (refresh && (await endOfRefresh(house, refresh)))
  if (scope === undefined || exp === undefined) return ok(json(INACTIVE))
  return ok(json({ ...aboutToken(house, token, scope), exp }))
}

/** A client may ask about its own tokens; a resource about those that were made for it. */
function mayKnow(
  { serviceId, oidc }: ClientService,
  token: OwnAccessToken | OwnRefreshToken,
): boolean {
  const isAddressed = token.audience !== null && token.audience === oidc.resource
  return token.clientId === serviceId || (isAddressed && 'exp' in token)
}

/** When the line of a refresh token ends (Unix seconds), `undefined` when this one buys nothing any more. */
async function endOfRefresh(
  { store, now }: IntrospectHouse,
  token: OwnRefreshToken,
): Promise<number | undefined> {
  const family = await store.findFamily(token.familyId)
  if (family === undefined) return undefined
  const verdict = judgeRefresh(token, family, now())
  return verdict === 'rotate' || verdict === 'repeat' ? family.expiresAt : undefined
}

/** RFC 7662 section 2.2, with what a step-up needs (RFC 9470 section 6.2), a bound key (RFC 9449 section 6.2) and actors. */
function aboutToken(
  { issuer }: IntrospectHouse,
  token: OwnToken,
  scope: string,
): Readonly<Record<string, unknown>> {
  const { clientId, audience, jkt, act, sub, iat, authTime, trustLevel } = token
  return {
    active: true,
    iss: issuer,
    sub,
    client_id: clientId,
    scope,
    ...(audience === null ? {} : { aud: audience }),
    token_type: jkt === null ? 'Bearer' : 'DPoP',
    iat,
    auth_time: authTime,
    acr: acrOf(trustLevel),
    ...(jkt === null ? {} : { cnf: { jkt } }),
    ...(act === null ? {} : { act }),
  }
}
