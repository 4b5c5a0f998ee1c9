/** `POST /oidc/revoke` (RFC 7009). */
import type { Hono } from 'hono'
import { ok, type Result, refuse } from '../../result.ts'
import { ACCESS_TOKEN_SECONDS } from '../access-token.ts'
import { admit, type ClientRequest } from '../client/admission.ts'
import { type ClientRoutesHouse, clientRoutes } from '../client/routes.ts'
import { type OwnTokenHouse, readOwnAccessToken, readOwnRefreshToken } from '../own-token.ts'
import { PATHS } from '../paths.ts'
import { type TokenFault, tokenFault } from '../token-error.ts'

export interface RevokeHouse extends ClientRoutesHouse, OwnTokenHouse {
  /** Notes that a client gave back what a person granted it. */
  readonly noteRevocation: (grant: {
    readonly clientId: string
    readonly grantId: string
  }) => Promise<void>
}

export function revokeRoutes(house: RevokeHouse): Hono {
  return clientRoutes(house, {
    where: 'revoke',
    path: PATHS.revoke,
    parameters: ['token', 'token_type_hint'],
    dpop: false,
    forPages: true,
    answer: (request) => revoke(house, request),
  })
}

/**
 * The grant of the token dies whole: its refresh tokens and every access token, because a client that gives back one of
 * them is done with the person (RFC 7009 section 2.1 allows it). A token that isn't the caller's, or none at all, gets the
 * same answer and nothing happens; so does one that was exchanged, for its grant may be another client's (5-security 106),
 * and it ends within minutes. The hint is not needed: the text of a token tells its kind.
 */
async function revoke(
  house: RevokeHouse,
  request: ClientRequest,
): Promise<Result<Response, TokenFault>> {
  const admitted = await admit(house, request, '')
  if (!admitted.ok) return admitted
  const text = request.form.get('token')
  if (text === undefined) return refuse(tokenFault('invalid_request', 'token'))
  const token = (await readOwnAccessToken(house, text)) ?? (await readOwnRefreshToken(house, text))
  const { serviceId } = admitted.value.service
  const isOwn = token?.clientId === serviceId && token.act === null
  // Once is enough, and one line about it.
  if (isOwn && !(await house.store.isDead(token.grantId))) {
    const now = house.now()
    await house.store.kill(token.grantId, now + ACCESS_TOKEN_SECONDS, now)
    await house.noteRevocation(token)
  }
  return ok(new Response(null, { status: 200, headers: { 'Cache-Control': 'no-store' } }))
}
