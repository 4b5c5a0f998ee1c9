/** The token endpoint's one way from a form to tokens, whatever the grant type. Verify everything first, consume last. */
import { isStanding } from '../../login/store.ts'
import { ok, type Result, refuse } from '../../result.ts'
import { type Admitted, admit, type ClientRequest, spend } from '../client/admission.ts'
import { readTarget } from '../target.ts'
import { type TokenFault, tokenFault } from '../token-error.ts'
import { codeGrant } from './code-grant.ts'
import { exchangeGrant } from './exchange-grant.ts'
import type { Bearer, GrantType, TokenHouse } from './grant-type.ts'
import { issue, type TokenAnswer } from './issue.ts'
import { refreshGrant } from './refresh-grant.ts'

type TokenResult = Result<TokenAnswer, TokenFault>

/** The grant types, in the order of discovery. */
const GRANTS = [runner(codeGrant), runner(refreshGrant), runner(exchangeGrant)]
export const GRANT_TYPES: readonly string[] = GRANTS.map(({ name }) => name)

/** Answers `request` at the token endpoint. */
export async function answerTokenRequest(
  house: TokenHouse,
  request: ClientRequest,
): Promise<TokenResult> {
  const name = request.form.get('grant_type')
  const grant = GRANTS.find((each) => each.name === name)
  if (grant !== undefined) return grant.run(house, request)
  // Who calls comes first: a stranger learns nothing of what is supported.
  const admitted = await admit(house, request, '')
  if (!admitted.ok) return admitted
  const error = name === undefined ? 'invalid_request' : 'unsupported_grant_type'
  return refuse(tokenFault(error, 'grant_type'))
}

function runner<Presented extends Bearer>(grant: GrantType<Presented>) {
  return {
    name: grant.name,
    run: (house: TokenHouse, request: ClientRequest) => run(house, grant, request),
  }
}

async function run<Presented extends Bearer>(
  house: TokenHouse,
  grant: GrantType<Presented>,
  request: ClientRequest,
): Promise<TokenResult> {
  const { parameter, fault } = grant
  const text = request.form.get(parameter)
  const presented = text === undefined ? undefined : await grant.read(house, text, request)
  // One question to D1 for client and person; without a readable code there is no person to ask about.
  const admitted = await admit(house, request, presented?.tokenId ?? '')
  if (!admitted.ok) return admitted
  if (text === undefined) return refuse(tokenFault('invalid_request', parameter))
  if (presented === undefined) return refuse(tokenFault(fault, `${parameter} unknown`))
  const { service, jkt } = admitted.value
  const why = reasonAgainst(presented, admitted.value, house.now())
  if (why !== null) return refuse(tokenFault(fault, `${parameter} ${why}`))

  if (service.oidc.dpop_bound_access_tokens && jkt === null) {
    return refuse(tokenFault('invalid_dpop_proof', 'missing'))
  }
  const target = targetOf(grant, presented, admitted.value, request)
  if (!target.ok) return refuse(tokenFault('invalid_target', 'resource'))
  const replayed = await spend(house, admitted.value)
  if (replayed !== undefined) return refuse(replayed)

  await house.readyToSign()
  const redemption = { request, service, jkt, resource: target.value }
  const redeemed = await grant.redeem(house, presented, redemption)
  return redeemed.ok ? ok(await issue(house, redeemed.value, redemption)) : redeemed
}

/** Why an authenticated client may not have what it presents redeemed; `null` when it may. */
function reasonAgainst(
  presented: Bearer,
  { service, standing, jkt }: Admitted,
  now: number,
): string | null {
  const { clientId, audience } = presented
  const isAddressed = audience !== null && audience === service.oidc.resource
  if (clientId !== service.serviceId && !isAddressed) return 'of another client'
  // Of a token that came along from another client, that client must stand as well.
  if (standing.disabledServices.includes(clientId)) return 'of a disabled client'
  if (!isStanding(standing, presented.enrollmentId, now)) return 'of a person who is withdrawn'
  // The operator may demand more by now than the person's seal could give.
  if (presented.trustLevel < service.oidc.min_trust_level) return 'below the trust level'
  // A resource can't have the key of who called it; whose token it is must have it, even where it is that resource itself.
  const mustProve = presented.jkt !== null && (clientId === service.serviceId || !isAddressed)
  return mustProve && presented.jkt !== jkt ? 'bound to another key' : null
}

function targetOf<Presented extends Bearer>(
  { audienceParameter }: GrantType<Presented>,
  { resource }: Presented,
  { service }: Admitted,
  { form, repeated }: ClientRequest,
): Result<string | null, 'invalid_target'> {
  const parameters = { values: form, repeated }
  const target = readTarget(parameters, service.oidc, resource)
  if (!target.ok || audienceParameter === undefined) return target
  return readTarget(parameters, service.oidc, target.value, audienceParameter)
}
