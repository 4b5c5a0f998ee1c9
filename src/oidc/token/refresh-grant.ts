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
import { disclosuresOf } from '../scope.ts'
import { type TokenFault, tokenFault } from '../token-error.ts'
import type { Bearer, ClientService, Form, GrantType, Redeemed, TokenHouse } from './grant-type.ts'

type PresentedToken = RefreshTokenContent & Bearer

/** `refresh_token` (RFC 6749 section 6, OpenID Connect Core section 12), with rotation. */
export const refreshGrant: GrantType<PresentedToken> = {
  name: 'refresh_token',
  parameter: 'refresh_token',
  async read({ master }, token) {
    const content = await openRefreshToken(master, token)
    if (content === undefined) return undefined
    const { clientId, tokenId, enrollmentId, trustLevel } = content.grant
    return { ...content, clientId, tokenId, enrollmentId, trustLevel }
  },
  redeem,
}

async function redeem(
  house: TokenHouse,
  token: PresentedToken,
  form: Form,
  service: ClientService,
): Promise<Result<Redeemed, TokenFault>> {
  if (!service.oidc.offline_access) {
    return refuse(tokenFault('unauthorized_client', 'offline_access'))
  }
  const scope = narrowed(allowedNow(token.grant, service).scope, form.get('scope'))
  if (scope === undefined) return refuse(tokenFault('invalid_scope', 'scope'))
  const generation = await nextGeneration(house, token)
  if (generation === undefined) return refuse(tokenFault('invalid_grant', 'refresh family'))

  const { familyId, grant } = token
  const content = { familyId, generation, grant, issuedAt: house.now() }
  const names = scope.split(' ')
  return ok({
    grant,
    scope,
    claims: claimsWithin(grant.claims, names.flatMap(disclosuresOf), names.includes('email')),
    // A refreshed id_token answers no request (OpenID Connect Core section 12.2).
    nonce: null,
    idTokenClaims: [],
    refreshToken: await sealRefreshToken(house.master, content, house.random(12)),
  })
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

/** The part of the granted scope that is asked for now; `undefined` when more is asked (RFC 6749 section 6). */
function narrowed(granted: string, asked: string | undefined): string | undefined {
  if (asked === undefined) return granted
  const names = granted.split(' ')
  const wanted = asked.split(' ').filter((name) => name !== '')
  if (wanted.length === 0 || !wanted.every((name) => names.includes(name))) return undefined
  return names.filter((name) => wanted.includes(name)).join(' ')
}
