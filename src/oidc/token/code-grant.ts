import { toBase64url } from '../../bytes.ts'
import { ok, type Result, refuse } from '../../result.ts'
import { matchesRedirectUri, type OidcClient } from '../../services/oidc-client.ts'
import { ACCESS_TOKEN_SECONDS } from '../access-token.ts'
import { isAlive, type ReadCode, readCode } from '../code.ts'
import type { Kept } from '../door.ts'
import { keepsPromise } from '../pkce.ts'
import { FAMILY_ID_BYTES, familyEnd, sealRefreshToken } from '../refresh-token.ts'
import { SSO_SECONDS } from '../sso.ts'
import { type TokenFault, tokenFault } from '../token-error.ts'
import type { Bearer, GrantType, Redeemed, Redemption, TokenHouse } from './grant-type.ts'

interface PresentedCode extends ReadCode, Bearer {
  readonly code: string
  readonly resource: string | null
}

/** `authorization_code` (RFC 6749 section 4.1.3, OpenID Connect Core section 3.1.3). */
export const codeGrant: GrantType<PresentedCode> = {
  name: 'authorization_code',
  parameter: 'code',
  fault: 'invalid_grant',
  async read({ master }, code) {
    const content = await readCode(master, code)
    return content && { ...content, code, jkt: content.dpopJkt, audience: null }
  },
  redeem,
}

/** Everything that the code promises is checked before it is spent (5-security 52, 53, 71). */
async function redeem(
  house: TokenHouse,
  code: PresentedCode,
  redemption: Redemption,
): Promise<Result<Redeemed, TokenFault>> {
  const { form } = redemption.request
  const { oidc: client } = redemption.service
  const redirectUri = form.get('redirect_uri')
  if (redirectUri !== code.redirectUri || !matchesRedirectUri(client, redirectUri)) {
    return refuse(tokenFault('invalid_grant', 'redirect_uri'))
  }
  // The record may have begun to demand it while the person was deciding.
  const isUnpromised = code.codeChallenge === null && client.require_pkce
  if (isUnpromised || !(await keepsPromise(code.codeChallenge, form.get('code_verifier')))) {
    return refuse(tokenFault('invalid_grant', 'code_verifier'))
  }
  const now = house.now()
  const answer = isAlive(code, now)
    ? await house.redeem(code.sessionId, code.clientId, code.code)
    : undefined
  if (answer?.kept === undefined) {
    await killGrant(house, code)
    return refuse(tokenFault('invalid_grant', 'code spent or too late'))
  }
  const kept: Kept = JSON.parse(answer.kept)
  const { grant, nonce, idTokenClaims } = kept
  await rememberSession(house, client, kept)
  const refreshToken = await firstRefreshToken(house, kept, code, redemption)
  const { scope, claims, sid } = grant
  return ok({
    ...{ grant, scope, claims },
    idToken: { sid, nonce, idTokenClaims },
    ...(refreshToken === undefined ? {} : { refreshToken }),
  })
}

/**
 * A genuine code that its object doesn't know was spent before, or came too late: whatever came of it dies (RFC 6749
 * section 4.1.2, 5-security 73). A login that goes well writes nothing here.
 */
async function killGrant(house: TokenHouse, code: PresentedCode): Promise<void> {
  const now = house.now()
  // The youngest access token may be one that was refreshed a moment ago.
  await house.store.kill(code.grantId, now + ACCESS_TOKEN_SECONDS, now)
  await house.noteReplay('code', code)
}

/** A client that wants to hear of the end of its sessions gets a row for each. */
async function rememberSession(
  { store, now }: TokenHouse,
  client: OidcClient,
  { grant }: Kept,
): Promise<void> {
  if (client.backchannel_logout_uri === undefined) return
  const { sid, clientId, tokenId, authTime } = grant
  await store.rememberSession({ sid, clientId, tokenId }, authTime + SSO_SECONDS, now())
}

async function firstRefreshToken(
  { store, master, now, random }: TokenHouse,
  { grant, offlineAccess }: Kept,
  { resource }: PresentedCode,
  { service, jkt }: Redemption,
): Promise<string | undefined> {
  if (!offlineAccess || !service.oidc.offline_access) return undefined
  const familyId = toBase64url(random(FAMILY_ID_BYTES))
  const startedAt = now()
  const expiresAt = familyEnd(startedAt, startedAt)
  await store.beginFamily({ familyId, grantId: grant.grantId, startedAt, expiresAt })
  const content = {
    ...{ familyId, generation: 0, grant, issuedAt: startedAt },
    // To client and key: who takes the token from the client's store still lacks the key (4-oidc section 3.1).
    ...(jkt === null ? {} : { jkt }),
    // What the request named is fixed; a resource that was only named here may be another one next time.
    ...(resource === null ? {} : { resource }),
  }
  return sealRefreshToken(master, content, random(12))
}
