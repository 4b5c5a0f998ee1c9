/**
 * A token of ours that comes back to an endpoint for clients: to be asked about, called back or exchanged. Read here, whatever
 * its form; whether it still stands is for the caller to ask of D1.
 */
import type { MasterSecret } from '../keys/master-secret.ts'
import type { Service } from '../services/service.ts'
import { openAccessToken } from './access-token.ts'
import { allowedNow, type Grant } from './grant.ts'
import { type Actor, readJwtAccessToken } from './jwt-access-token.ts'
import { openRefreshToken } from './refresh-token.ts'
import { openReference, type TokenReference } from './token-reference.ts'

export interface OwnTokenHouse {
  readonly master: MasterSecret
  /** The payload of a signed access token of ours, however old; see `KeyRing.readAccessToken`. */
  readonly readAccessToken: (jws: string) => Promise<Readonly<Record<string, unknown>> | undefined>
  /** Unix seconds. */
  readonly now: () => number
}

/** Times in Unix seconds. */
export interface OwnToken extends TokenReference {
  readonly sub: string
  readonly authTime: number
  readonly iat: number
  /** The resource that it is for; `null` when it is only for us. */
  readonly audience: string | null
  /** The thumbprint of the key that it is bound to. */
  readonly jkt: string | null
  readonly act: Actor | null
}

export interface OwnAccessToken extends OwnToken {
  readonly exp: number
}

export interface OwnRefreshToken extends OwnToken {
  readonly familyId: string
  readonly generation: number
}

/** An access token that hasn't ended, sealed or signed, or `undefined`. */
export async function readOwnAccessToken(
  house: OwnTokenHouse,
  text: string,
): Promise<OwnAccessToken | undefined> {
  const now = house.now()
  const content = await openAccessToken(house.master, text, now)
  if (content !== undefined) {
    const { claims: _claims, jkt = null, ...rest } = content
    return { ...rest, jkt, audience: null, act: null }
  }
  const token = readJwtAccessToken(await house.readAccessToken(text))
  const reference = await openReference(house.master, token?.jti)
  if (token === undefined || reference === undefined || now >= token.exp) return undefined
  const { sub, scope, authTime, iat, exp, resource: audience, jkt, act, clientId } = token
  return { ...reference, ...{ sub, scope, authTime, iat, exp, audience, jkt, act, clientId } }
}

/** A refresh token, or `undefined`. What it is worth, `judgeRefresh` tells. */
export async function readOwnRefreshToken(
  { master }: Pick<OwnTokenHouse, 'master'>,
  text: string,
): Promise<OwnRefreshToken | undefined> {
  const content = await openRefreshToken(master, text)
  if (content === undefined) return undefined
  const { grant, familyId, generation, issuedAt, jkt = null, resource = null } = content
  return {
    ...{ familyId, generation, jkt },
    ...referenceOf(grant),
    ...{ sub: grant.sub, authTime: grant.authTime, iat: issuedAt, audience: resource, act: null },
  }
}

/** As in `OidcStore`, of which this much is needed. */
interface Clients {
  standing(tokenId: string, clientId: string): Promise<{ readonly service: Service | undefined }>
}

/**
 * The scope that `token` has now: what its client, and the client that the person approved, were allowed since it was made
 * counts (5-security 3.7). `caller` is who presents it; D1 is asked about every other one.
 * @returns `undefined` when one of them is no client any more
 */
export async function scopeNow(
  store: Clients,
  token: OwnToken,
  caller: Service,
): Promise<string | undefined> {
  let { scope } = token
  for (const clientId of new Set([token.clientId, token.grantedTo ?? token.clientId])) {
    const isOwn = clientId === caller.serviceId
    const holder = isOwn ? caller : (await store.standing('', clientId)).service
    if (holder?.oidc === undefined || !holder.enabled) return undefined
    scope = allowedNow({ scope, claims: {} }, holder).scope
  }
  return scope
}

/** What a signed token of `grant` refers to. */
export function referenceOf(grant: Grant): TokenReference {
  const { grantId, clientId, tokenId, enrollmentId, trustLevel, scope } = grant
  return { grantId, clientId, tokenId, enrollmentId, trustLevel, scope }
}
