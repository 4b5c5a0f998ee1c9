import { ok, type Result, refuse } from '../../result.ts'
import { ACCESS_TOKEN_SECONDS } from '../access-token.ts'
import { allowedNow, claimsWithin } from '../grant.ts'
import {
  familyEnd,
  judgeRefresh,
  openRefreshToken,
  type RefreshTokenContent,
  sealRefreshToken,
} from '../refresh-token.ts'
import { disclosuresOf, narrowedScope } from '../scope.ts'
import { type TokenFault, tokenFault } from '../token-error.ts'
import type { Bearer, GrantType, Redeemed, Redemption, TokenHouse } from './grant-type.ts'

type PresentedToken = Omit<RefreshTokenContent, 'jkt' | 'resource'> & Bearer

/** `refresh_token` (RFC 6749 section 6, OpenID Connect Core section 12), with rotation. */
export const refreshGrant: GrantType<PresentedToken> = {
  name: 'refresh_token',
  parameter: 'refresh_token',
  fault: 'invalid_grant',
  async read({ master }, token) {
    const content = await openRefreshToken(master, token)
    if (content === undefined) return undefined
    const { clientId, tokenId, enrollmentId, trustLevel } = content.grant
    const { jkt = null, resource = null } = content
    const belongs = { clientId, tokenId, enrollmentId, trustLevel, jkt, resource }
    return { ...content, ...belongs, audience: null }
  },
  redeem,
}

async function redeem(
  house: TokenHouse,
  token: PresentedToken,
  { request, service }: Redemption,
): Promise<Result<Redeemed, TokenFault>> {
  if (!service.oidc.offline_access) {
    return refuse(tokenFault('unauthorized_client', 'offline_access'))
  }
  const { grant } = token
  const scope = narrowedScope(allowedNow(grant, service).scope, request.form.get('scope'))
  if (scope === undefined) return refuse(tokenFault('invalid_scope', 'scope'))
  const generation = await nextGeneration(house, token)
  if (generation === undefined) return refuse(tokenFault('invalid_grant', 'refresh family'))

  const names = scope.split(' ')
  return ok({
    grant,
    scope,
    claims: claimsWithin(grant.claims, names.flatMap(disclosuresOf), names.includes('email')),
    // A refreshed id_token answers no request (OpenID Connect Core section 12.2).
    idToken: { sid: grant.sid, nonce: null, idTokenClaims: [] },
    refreshToken: await sealSuccessor(house, token, generation),
  })
}

/** The next token of the line: bound to the same key and resource as the first. */
function sealSuccessor(
  { master, now, random }: TokenHouse,
  { familyId, grant, jkt, resource }: PresentedToken,
  generation: number,
): Promise<string> {
  const content = {
    ...{ familyId, generation, grant, issuedAt: now() },
    ...(jkt === null ? {} : { jkt }),
    ...(resource === null ? {} : { resource }),
  }
  return sealRefreshToken(master, content, random(12))
}

/**
 * The generation that the answer carries, `undefined` when the family is over or dies of this use. Of two parallel uses one
 * rotates; the other looks again and gets the same successor (5-security 83).
 */
async function nextGeneration(
  house: TokenHouse,
  token: PresentedToken,
): Promise<number | undefined> {
  const { store } = house
  const now = house.now()
  const family = await store.findFamily(token.familyId)
  if (family === undefined || (await store.isDead(token.grant.grantId))) return undefined
  switch (judgeRefresh(token, family, now)) {
    case 'repeat':
      return family.generation
    case 'expired':
      return undefined
    case 'replay':
      // A copy is about: what it has fetched already dies with the family.
      await store.kill(token.grant.grantId, now + ACCESS_TOKEN_SECONDS, now)
      await house.noteReplay('refresh_token', token.grant)
      return undefined
    case 'rotate': {
      const end = familyEnd(family.startedAt, now)
      const rotated = await store.rotate(token.familyId, family.generation, now, end)
      return rotated ? family.generation + 1 : nextGeneration(house, token)
    }
  }
}
