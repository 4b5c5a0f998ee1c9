/** `POST /oidc/par` (RFC 9126). */
import type { Hono } from 'hono'
import { json } from '../../http/problem.ts'
import { ok, type Result, refuse } from '../../result.ts'
import { type AuthorizationError, descriptionOf } from '../authorization-error.ts'
import {
  type AuthorizationRequest,
  MULTILINE_PARAMETERS,
  type RequestFault,
  readAuthorizationRequest,
} from '../authorization-request.ts'
import { admit, type ClientRequest } from '../client/admission.ts'
import { type ClientRoutesHouse, clientRoutes } from '../client/routes.ts'
import { expectedSubs } from '../expected.ts'
import { PATHS } from '../paths.ts'
import { PUSHED_SECONDS, sealPushedRequest } from '../pushed-request.ts'
import { type TokenFault, tokenFault } from '../token-error.ts'

export interface ParHouse extends ClientRoutesHouse {
  /** See `KeyRing.readIdToken`. */
  readonly readIdToken: (jws: string) => Promise<Readonly<Record<string, unknown>> | undefined>
  /** An id that no login has had. */
  readonly newSessionId: () => string
  readonly random: (length: number) => Uint8Array<ArrayBuffer>
}

export function parRoutes(house: ParHouse): Hono {
  return clientRoutes(house, {
    where: 'par',
    path: PATHS.par,
    // What must not come twice in an authorization request is in the list that authorize shares.
    parameters: [],
    multiline: MULTILINE_PARAMETERS,
    dpop: true,
    forPages: true,
    answer: (request) => push(house, request),
  })
}

/** Reads the request now, by the same list as authorize: a fault is told to the client and not to its user. */
async function push(
  house: ParHouse,
  request: ClientRequest,
): Promise<Result<Response, TokenFault>> {
  const admitted = await admit(house, request, '')
  if (!admitted.ok) return admitted
  const { service, jkt } = admitted.value
  const { serviceId } = service
  const values = new Map(request.form).set('client_id', serviceId)
  const read = readAuthorizationRequest({ values, repeated: request.repeated }, service, 'pushed')
  if (!read.ok) return ok(await refused(house, read.reason, serviceId))
  const bound = boundTo(read.value, jkt)
  if (bound === undefined)
    return refuse(tokenFault('invalid_dpop_proof', 'not the key of dpop_jkt'))
  const subs = await expectedSubs(bound, house.readIdToken)
  if (!subs.ok) return ok(await refusedFor(house, subs.reason, 'id_token_hint', serviceId))

  const pushed = {
    request: { ...bound, idTokenHint: null },
    expectedSubs: subs.value,
    sessionId: house.newSessionId(),
    pushedAt: house.now(),
  }
  const requestUri = await sealPushedRequest(house.master, pushed, house.random(12))
  if (requestUri === undefined)
    return ok(await refusedFor(house, 'invalid_request', null, serviceId))
  return ok(json({ request_uri: requestUri, expires_in: PUSHED_SECONDS }, 201))
}

/** The request with its code bound to the key of the proof, `undefined` when it names another (RFC 9449 section 10.1). */
function boundTo(
  request: AuthorizationRequest,
  jkt: string | null,
): AuthorizationRequest | undefined {
  if (jkt === null) return request
  const isSame = request.dpopJkt === null || request.dpopJkt === jkt
  return isSame ? { ...request, dpopJkt: jkt } : undefined
}

function refused(house: ParHouse, fault: RequestFault, clientId: string): Promise<Response> {
  if (fault.kind === 'redirect') return refusedFor(house, fault.error, fault.parameter, clientId)
  const parameter = fault.page === 'error-redirect-uri' ? 'redirect_uri' : null
  return refusedFor(house, 'invalid_request', parameter, clientId)
}

async function refusedFor(
  { noteRefusal }: ParHouse,
  error: AuthorizationError,
  parameter: string | null,
  clientId: string,
): Promise<Response> {
  await noteRefusal('par', `${error} ${parameter ?? ''}`.trim(), clientId)
  return json({ error, error_description: descriptionOf(error, parameter) }, 400)
}
