/** Makes the tokens for what a grant type has redeemed. Nothing is decided here any more. */
import { ACCESS_TOKEN_SECONDS, sealAccessToken } from '../access-token.ts'
import { allowedNow } from '../grant.ts'
import { encryptIdToken, idTokenClaims } from '../id-token.ts'
import { JWT_ACCESS_TOKEN_SECONDS, jwtAccessTokenClaims } from '../jwt-access-token.ts'
import { referenceOf } from '../own-token.ts'
import { sealReference } from '../token-reference.ts'
import type { Redeemed, Redemption, TokenHouse } from './grant-type.ts'

/** The success answer of RFC 6749 section 5.1 with OpenID Connect Core section 3.1.3.3 and RFC 8693 section 2.2.1. */
export interface TokenAnswer {
  readonly access_token: string
  readonly issued_token_type?: typeof ACCESS_TOKEN_TYPE
  readonly token_type: 'Bearer' | 'DPoP'
  readonly expires_in: number
  readonly id_token?: string
  readonly refresh_token?: string
  /** What was granted, which may be less than was asked. */
  readonly scope: string
}

/** RFC 8693 section 3. */
export const ACCESS_TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:access_token'

/** The answer for `redeemed`, with no more than its client may have now. */
export async function issue(
  house: TokenHouse,
  redeemed: Redeemed,
  redemption: Redemption,
): Promise<TokenAnswer> {
  const allowed = allowedNow(redeemed, redemption.service)
  const { scope, refreshToken, exchanged } = allowed
  const now = house.now()
  const access = await accessTokenOf(house, allowed, redemption, now)
  const answer: TokenAnswer = {
    access_token: access.token,
    ...(exchanged === undefined ? {} : { issued_token_type: ACCESS_TOKEN_TYPE }),
    token_type: redemption.jkt === null ? 'Bearer' : 'DPoP',
    expires_in: access.exp - now,
    ...(refreshToken === undefined ? {} : { refresh_token: refreshToken }),
    scope,
  }
  const { idToken } = allowed
  if (idToken === undefined || !scope.split(' ').includes('openid')) return answer
  const about = { ...allowed, idToken }
  return { ...answer, id_token: await idTokenOf(house, about, redemption, access.token, now) }
}

interface AccessToken {
  readonly token: string
  /** Unix seconds. */
  readonly exp: number
}

/** Sealed to ourselves, or signed for a resource (1-architecture decision 10). */
async function accessTokenOf(
  house: TokenHouse,
  { grant, scope, claims, exchanged }: Redeemed,
  { service, jkt, resource }: Redemption,
  now: number,
): Promise<AccessToken> {
  const { oidc: client, serviceId: clientId } = service
  const { grantId, tokenId, enrollmentId, sub, trustLevel, authTime } = grant
  if (resource === null) {
    const exp = now + ACCESS_TOKEN_SECONDS
    const content = {
      ...{ grantId, clientId, tokenId, enrollmentId, sub, scope, claims, trustLevel, authTime },
      ...(jkt === null ? {} : { jkt }),
      ...{ iat: now, exp },
    }
    return { token: await sealAccessToken(house.master, content, house.random(12)), exp }
  }
  const reference = {
    ...{ grantId, clientId, tokenId, enrollmentId, trustLevel, scope },
    ...(exchanged === undefined ? {} : { grantedTo: exchanged.grantedTo }),
  }
  const exp = Math.min(now + JWT_ACCESS_TOKEN_SECONDS, exchanged?.until ?? Number.POSITIVE_INFINITY)
  const about = {
    ...{ issuer: house.issuer, resource, clientId, sub, scope, trustLevel, authTime, jkt, exp },
    claims: client.claims_in_access_token ? claims : {},
    jti: await sealReference(house.master, reference, house.random(12)),
    act: exchanged?.act ?? null,
  }
  const alg = client.id_token_signed_response_alg
  return { token: await house.signAccessToken(jwtAccessTokenClaims(about, now), alg), exp }
}

async function idTokenOf(
  house: TokenHouse,
  redeemed: Redeemed & Pick<Required<Redeemed>, 'idToken'>,
  { service, jkt }: Redemption,
  accessToken: string,
  now: number,
): Promise<string> {
  const { oidc: client, serviceId: clientId } = service
  const { scope, claims, idToken } = redeemed
  const { sid, nonce, idTokenClaims: names } = idToken
  const grant = { ...redeemed.grant, clientId, scope, claims, sid }
  const alg = client.id_token_signed_response_alg
  const mayExchange = client.resources !== undefined && client.token_endpoint_auth_method !== 'none'
  const reference = { ...referenceOf(grant), ...(jkt === null ? {} : { jkt }) }
  const about = {
    ...{ issuer: house.issuer, client, accessToken, alg },
    ...{ grant, nonce, idTokenClaims: names },
    jti: mayExchange ? await sealReference(house.master, reference, house.random(12)) : null,
  }
  const signed = await house.signIdToken(await idTokenClaims(about, now), alg)
  const encrypted = await encryptIdToken(signed, client)
  // The key was checked when it was registered: one that can't be used now is a fault of ours.
  if (!encrypted.ok) throw new Error(`id_token: ${encrypted.reason}`)
  return encrypted.value
}
