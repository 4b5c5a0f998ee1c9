/** The token endpoint's one way from a form to tokens, whatever the grant type. Verify everything first, consume last. */
import { isStanding } from '../../login/store.ts'
import { ok, type Result, refuse } from '../../result.ts'
import { type ClientCredentials, isAuthenticated } from '../../services/authenticate.ts'
import type { OidcClient } from '../../services/oidc-client.ts'
import type { Service } from '../../services/service.ts'
import { ACCESS_TOKEN_SECONDS, sealAccessToken } from '../access-token.ts'
import { allowedNow } from '../grant.ts'
import { encryptIdToken, idTokenClaims } from '../id-token.ts'
import { type TokenFault, tokenFault } from '../token-error.ts'
import { codeGrant } from './code-grant.ts'
import type { Bearer, ClientService, Form, GrantType, Redeemed, TokenHouse } from './grant-type.ts'
import { refreshGrant } from './refresh-grant.ts'

/** The success answer of RFC 6749 section 5.1 with OpenID Connect Core section 3.1.3.3. */
export interface TokenAnswer {
  readonly access_token: string
  readonly token_type: 'Bearer'
  readonly expires_in: number
  readonly id_token?: string
  readonly refresh_token?: string
  /** What was granted, which may be less than was asked. */
  readonly scope: string
}

type TokenResult = Result<TokenAnswer, TokenFault>

/** One fault for every way not to be the client (5-security 57). */
const UNKNOWN_CLIENT = tokenFault('invalid_client', 'client authentication')

/** The grant types, in the order of discovery. */
const GRANTS = [runner(codeGrant), runner(refreshGrant)]
export const GRANT_TYPES: readonly string[] = GRANTS.map(({ name }) => name)

/** Answers the form of a client that showed `credentials`. */
export async function answerTokenRequest(
  house: TokenHouse,
  credentials: ClientCredentials,
  form: Form,
): Promise<TokenResult> {
  const name = form.get('grant_type')
  const grant = GRANTS.find((each) => each.name === name)
  if (grant !== undefined) return grant.run(house, credentials, form)
  // Who calls comes first: a stranger learns nothing of what is supported.
  const { service } = await house.store.standing('', credentials.clientId)
  if (!(await isAuthenticated(service, credentials, house.now()))) return refuse(UNKNOWN_CLIENT)
  const error = name === undefined ? 'invalid_request' : 'unsupported_grant_type'
  return refuse(tokenFault(error, 'grant_type'))
}

function runner<Presented extends Bearer>(grant: GrantType<Presented>) {
  return {
    name: grant.name,
    run: (house: TokenHouse, credentials: ClientCredentials, form: Form) =>
      run(house, grant, credentials, form),
  }
}

async function run<Presented extends Bearer>(
  house: TokenHouse,
  grant: GrantType<Presented>,
  credentials: ClientCredentials,
  form: Form,
): Promise<TokenResult> {
  const { clientId } = credentials
  const text = form.get(grant.parameter)
  const presented = text === undefined ? undefined : await grant.read(house, text)
  // One question to D1 for client and person; without a readable code there is no person to ask about.
  const standing = await house.store.standing(presented?.tokenId ?? '', clientId)
  if (!(await isAuthenticated(standing.service, credentials, house.now()))) {
    return refuse(UNKNOWN_CLIENT)
  }
  const service = clientOf(standing.service)
  if (service === undefined) return refuse(UNKNOWN_CLIENT)
  if (text === undefined) return refuse(tokenFault('invalid_request', grant.parameter))
  if (presented === undefined) {
    return refuse(tokenFault('invalid_grant', `${grant.parameter} unknown`))
  }
  if (presented.clientId !== clientId) {
    return refuse(tokenFault('invalid_grant', `${grant.parameter} of another client`))
  }
  if (!isStanding(standing, presented.enrollmentId, house.now())) {
    return refuse(tokenFault('invalid_grant', 'person or service withdrawn'))
  }

  // The operator may demand more by now than the person's seal could give.
  if (presented.trustLevel < service.oidc.min_trust_level) {
    return refuse(tokenFault('invalid_grant', 'trust level'))
  }

  await house.readyToSign()
  const redeemed = await grant.redeem(house, presented, form, service)
  if (!redeemed.ok) return redeemed
  return issue(house, service.oidc, allowedNow(redeemed.value, service))
}

function clientOf(service: Service | undefined): ClientService | undefined {
  return service?.oidc === undefined ? undefined : { ...service, oidc: service.oidc }
}

/** The tokens for what was redeemed. */
async function issue(
  house: TokenHouse,
  client: OidcClient,
  redeemed: Redeemed,
): Promise<TokenResult> {
  const { grant, scope, claims, nonce, refreshToken } = redeemed
  const { grantId, clientId, tokenId, enrollmentId, sub } = grant
  const now = house.now()
  const accessToken = await sealAccessToken(
    house.master,
    {
      ...{ grantId, clientId, tokenId, enrollmentId, sub, scope, claims },
      iat: now,
      exp: now + ACCESS_TOKEN_SECONDS,
    },
    house.random(12),
  )
  const answer: TokenAnswer = {
    access_token: accessToken,
    token_type: 'Bearer',
    expires_in: ACCESS_TOKEN_SECONDS,
    ...(refreshToken === undefined ? {} : { refresh_token: refreshToken }),
    scope,
  }
  if (!scope.split(' ').includes('openid')) return ok(answer)

  const alg = client.id_token_signed_response_alg
  const about = {
    ...{ issuer: house.issuer, client, nonce, accessToken, alg },
    grant: { ...grant, claims },
    idTokenClaims: redeemed.idTokenClaims,
  }
  const signed = await house.signIdToken(await idTokenClaims(about, now), alg)
  const idToken = await encryptIdToken(signed, client)
  // The key was checked when it was registered: one that can't be used now is a fault of ours.
  if (!idToken.ok) throw new Error(`id_token: ${idToken.reason}`)
  return ok({ ...answer, id_token: idToken.value })
}
