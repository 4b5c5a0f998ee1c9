import { ok, type Result, refuse } from '../../result.ts'
import type { ClientRequest } from '../client/admission.ts'
import { allowedNow } from '../grant.ts'
import type { Actor } from '../jwt-access-token.ts'
import { type OwnAccessToken, readOwnAccessToken, scopeNow } from '../own-token.ts'
import { narrowedScope } from '../scope.ts'
import { type TokenFault, tokenFault } from '../token-error.ts'
import { openReference } from '../token-reference.ts'
import type { Bearer, GrantType, Redeemed, Redemption, TokenHouse } from './grant-type.ts'
import { ACCESS_TOKEN_TYPE } from './issue.ts'

/** RFC 8693 section 3. */
const ID_TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:id_token'
/** How many may act one for another. A longer chain is a loop. */
const LONGEST_CHAIN = 5

type SubjectToken = OwnAccessToken & Bearer

/**
 * Token exchange (RFC 8693): a service that was called with a token of a person calls on, to a resource that is registered
 * for it, with a token that says so and gives no more: not more scope, not longer, not to anybody else.
 */
export const exchangeGrant: GrantType<SubjectToken> = {
  name: 'urn:ietf:params:oauth:grant-type:token-exchange',
  parameter: 'subject_token',
  fault: 'invalid_request',
  audienceParameter: 'audience',
  async read(house, text, { form }) {
    const subject = await subjectIn(house, text, form.get('subject_token_type'))
    return subject && { ...subject, resource: null }
  },
  redeem,
}

function subjectIn(
  house: TokenHouse,
  text: string,
  type: string | undefined,
): Promise<OwnAccessToken | undefined> {
  if (type === ACCESS_TOKEN_TYPE) return readOwnAccessToken(house, text)
  return type === ID_TOKEN_TYPE ? readIdToken(house, text) : Promise.resolve(undefined)
}

/** An id_token of a client that may exchange it: its `jti` says whom it belongs to here. */
async function readIdToken(house: TokenHouse, jws: string): Promise<OwnAccessToken | undefined> {
  const payload = await house.readIdToken(jws)
  const reference = await openReference(house.master, payload?.jti)
  const { sub, iat, exp, auth_time: authTime } = payload ?? {}
  const isWhole =
    typeof sub === 'string' &&
    typeof iat === 'number' &&
    typeof exp === 'number' &&
    typeof authTime === 'number'
  if (reference === undefined || !isWhole || house.now() >= exp) return undefined
  const { jkt = null, ...rest } = reference
  return { ...rest, ...{ sub, iat, exp, authTime, audience: null, jkt, act: null } }
}

async function redeem(
  house: TokenHouse,
  subject: SubjectToken,
  { request, service, resource }: Redemption,
): Promise<Result<Redeemed, TokenFault>> {
  const { form } = request
  if (service.oidc.token_endpoint_auth_method === 'none') {
    return refuse(tokenFault('unauthorized_client', 'token exchange'))
  }
  const unsupported = unsupportedIn(form)
  if (unsupported !== undefined) return refuse(tokenFault('invalid_request', unsupported))
  if (resource === null) return refuse(tokenFault('invalid_target', 'no resource'))
  const held = await scopeNow(house.store, subject, service)
  if (held === undefined) {
    return refuse(tokenFault('invalid_request', 'subject_token of no client'))
  }
  const had = held.split(' ').filter((name) => name !== 'offline_access')
  // As at a refresh: what this client may not have is not there to be asked for, and none at all is no token.
  const { scope: allowed } = allowedNow({ scope: had.join(' '), claims: {} }, service)
  const scope = narrowedScope(allowed, form.get('scope'))
  if (!scope) return refuse(tokenFault('invalid_scope', 'scope'))
  const act = actorOf(service.serviceId, subject.act)
  if (act === undefined) return refuse(tokenFault('invalid_request', 'chain of actors'))
  if (await house.store.isDead(subject.grantId)) {
    return refuse(tokenFault('invalid_request', 'subject_token of a dead grant'))
  }
  const { grantId, tokenId, enrollmentId, sub, trustLevel, authTime } = subject
  await house.noteExchange({ clientId: service.serviceId, grantId }, subject.clientId, resource)
  return ok({
    grant: { grantId, tokenId, enrollmentId, sub, trustLevel, authTime },
    scope,
    claims: {},
    exchanged: { until: subject.exp, act, grantedTo: subject.grantedTo ?? subject.clientId },
  })
}

/** The parameter that asks for what we don't do. */
function unsupportedIn(form: ClientRequest['form']): string | undefined {
  const wanted = form.get('requested_token_type') ?? ACCESS_TOKEN_TYPE
  if (wanted !== ACCESS_TOKEN_TYPE && wanted !== JWT_TYPE) return 'requested_token_type'
  return ['actor_token', 'actor_token_type'].find((name) => form.has(name))
}

const JWT_TYPE = 'urn:ietf:params:oauth:token-type:jwt'

/** `clientId` acts, for whom somebody may have acted before; `undefined` when the chain is too long. */
function actorOf(clientId: string, before: Actor | null): Actor | undefined {
  let length = 1
  for (let actor = before; actor !== null; actor = actor.act ?? null) length += 1
  if (length > LONGEST_CHAIN) return undefined
  return before === null ? { sub: clientId } : { sub: clientId, act: before }
}
