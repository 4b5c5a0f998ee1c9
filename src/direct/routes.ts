/**
 * direct/ is the door for services that draw their own login: `POST /auth/initiate`, and `POST /auth/result` for logins
 * that a page began. It owns the direct JWT. How a person is authenticated it leaves to login/.
 */
import { type Context, Hono } from 'hono'
import * as v from 'valibot'
import { toBase64url } from '../bytes.ts'
import type { Config } from '../config.ts'
import { type AtomicScope, isSubset } from '../disclosure/scopes.ts'
import { SessionId, TokenId } from '../enrollment/statement.ts'
import type { Enrollment } from '../enrollment/store.ts'
import { addressBucket } from '../http/address.ts'
import { readJson } from '../http/body.ts'
import { only } from '../http/method.ts'
import { json, type ProblemCode, problem } from '../http/problem.ts'
import { readContext } from '../login/context.ts'
import type { Asked } from '../login/door.ts'
import { socketToken } from '../login/socket-token.ts'
import { type StartHouse, startLogin } from '../login/start.ts'
import { isStanding, type Standing, standingOf } from '../login/store.ts'
import { ok, type Result, refuse } from '../result.ts'
import type { TrustLists } from '../seal/store.ts'
import { isSecretOf, readBasic } from '../services/authenticate.ts'
import {
  ceilingOf,
  disclosuresIn,
  mayUseDirectDoor,
  type Service,
  ServiceId,
} from '../services/service.ts'
import { isRegisteredOrigin } from '../services/store.ts'
import { readCode } from './code.ts'
import { directState } from './door.ts'

export interface DirectRoutesHouse {
  readonly config: Config
  readonly db: D1Database
  readonly trust: TrustLists
  readonly start: StartHouse
  /** Spends `code`; `undefined` when it buys nothing. login/ hands it in. */
  readonly redeem: (
    sessionId: string,
    serviceId: string,
    code: string,
  ) => Promise<Readonly<Record<string, string>> | undefined>
  /** Unix seconds. */
  readonly now: () => number
  readonly random: (length: number) => Uint8Array<ArrayBuffer>
  readonly startLimit: RateLimit
  readonly serviceLimit: RateLimit
}

const scopeList = v.pipe(v.array(v.pipe(v.string(), v.maxLength(64))), v.maxLength(32))

const InitiateBody = v.strictObject({
  serviceId: ServiceId,
  tokenId: TokenId,
  scopes: v.optional(scopeList),
  requiredScopes: v.optional(scopeList),
  minTrustLevel: v.optional(v.picklist([1, 2, 3])),
  confirmation: v.optional(v.picklist(['compare', 'transfer'])),
})
type Initiate = v.InferOutput<typeof InitiateBody>

const ResultBody = v.strictObject({
  sessionId: SessionId,
  code: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_.-]{1,512}$/)),
})

/** `POST /auth/initiate` with its CORS preflight, and `POST /auth/result`. */
export function directRoutes(house: DirectRoutesHouse): Hono {
  const app = new Hono()
  app.options('/auth/initiate', async (c) => preflight(house, c))
  app.post('/auth/initiate', (c) => initiate(house, c)).all('/auth/initiate', only('POST'))
  app.post('/auth/result', (c) => result(house, c)).all('/auth/result', only('POST'))
  return app
}

/**
 * A preflight names no service, so all it can learn is whether some service has registered the origin. The request that
 * follows is checked against the service it names.
 */
async function preflight(house: DirectRoutesHouse, c: Context): Promise<Response> {
  const origin = c.req.header('Origin')
  const known = origin !== undefined && (await isRegisteredOrigin(house.db, origin))
  if (!known) return new Response(null, { status: 403, headers: { Vary: 'Origin' } })
  return new Response(null, {
    status: 204,
    headers: {
      'Access-Control-Allow-Origin': origin,
      'Access-Control-Allow-Methods': 'POST',
      'Access-Control-Allow-Headers': 'Content-Type',
      'Access-Control-Max-Age': '7200',
      Vary: 'Origin',
    },
  })
}

async function initiate(house: DirectRoutesHouse, c: Context): Promise<Response> {
  const origin = c.req.header('Origin')
  const body = await readJson(c.req.raw, InitiateBody)
  // Nothing is asked of D1 for a malformed request, so no service is known that would let its page read the answer.
  if (!body.ok) return withCors(body.reason, origin, false)
  const standing = await standingOf(house.db, house.trust, body.value.tokenId, body.value.serviceId)
  const caller = await identifyCaller(house, c, body.value.serviceId, standing.service)
  const answer = caller.ok
    ? await begin(house, c, body.value, standing, caller.value)
    : caller.reason
  const known = origin !== undefined && standing.service?.origins.includes(origin) === true
  return withCors(answer, origin, known)
}

/** `answer`, readable for the page at `origin` when it is `known`. */
function withCors(answer: Response, origin: string | undefined, known: boolean): Response {
  if (known && origin !== undefined) answer.headers.set('Access-Control-Allow-Origin', origin)
  answer.headers.set('Vary', 'Origin')
  return answer
}

interface Caller {
  readonly service: Service
  readonly begunBy: Asked['begunBy']
  /** The origin of the page, or the service's own when a back end calls. */
  readonly origin: string
}

/**
 * Who calls: a back end that proves itself, or a page of a registered origin. Anyone else is `invalid_client`, and so is a
 * service that this door isn't for.
 */
async function identifyCaller(
  house: DirectRoutesHouse,
  c: Context,
  serviceId: string,
  service: Service | undefined,
): Promise<Result<Caller, Response>> {
  const authorization = c.req.header('Authorization')
  if (authorization !== undefined) {
    const authenticated = await authenticate(house, authorization, serviceId, service)
    if (!authenticated.ok) return authenticated
    const own = new URL(authenticated.value.url).origin
    const origin = c.req.header('Origin') ?? own
    // The phone shows it as the verified domain: not even a service that has proved itself may name another's.
    if (origin !== own && !authenticated.value.origins.includes(origin)) {
      return refuse(problem('invalid_client'))
    }
    const { success } = await house.serviceLimit.limit({ key: serviceId })
    if (!success) return refuse(problem('too_many_requests', { retryAfter: 60 }))
    return ok({ service: authenticated.value, begunBy: 'back-end', origin })
  }
  const origin = c.req.header('Origin')
  const isPage = origin !== undefined && service?.origins.includes(origin) === true
  if (!isPage || !mayUseDirectDoor(service)) return refuse(problem('invalid_client'))
  const address = addressBucket(c.req.raw.headers, house.config.clientAddressHeader)
  const { success } = await house.startLimit.limit({ key: address })
  if (!success) return refuse(problem('too_many_requests', { retryAfter: 60 }))
  return ok({ service, begunBy: 'page', origin })
}

async function authenticate(
  house: DirectRoutesHouse,
  authorization: string | undefined,
  serviceId: string,
  service: Service | undefined,
): Promise<Result<Service, Response>> {
  const credentials = authorization === undefined ? undefined : readBasic(authorization)
  const right =
    service !== undefined &&
    mayUseDirectDoor(service) &&
    credentials?.serviceId === serviceId &&
    (await isSecretOf(service, credentials.secret, house.now()))
  return right ? ok(service) : refuse(problem('invalid_client', { authenticate: 'Basic' }))
}

async function begin(
  house: DirectRoutesHouse,
  c: Context,
  body: Initiate,
  standing: Standing,
  caller: Caller,
): Promise<Response> {
  const { service, begunBy } = caller
  if (!service.enabled) return problem('service_disabled')
  const asked = askedBy(house, c, body, caller)
  if (!asked.ok) return problem(asked.reason)

  const fault = standingFault(standing, house.now())
  // Whoever has only an Origin to show learns nothing: a decoy login begins that nobody can approve.
  if (fault !== undefined && begunBy === 'back-end') {
    return problem(fault, fault === 'vds_expired' ? { status: 403 } : {})
  }
  const enrollment = fault === undefined ? standing.enrollment : undefined
  const { tokenId } = body
  const { started, afterwards } = await startLogin(house.start, asked.value, {
    tokenId,
    enrollment,
  })
  const answer = json({
    sessionId: started.sessionId,
    wsToken: await socketToken(house.config.master, started.sessionId),
    random: asked.value.doorState.random,
    expiresAt: new Date(started.expiresAt).toISOString(),
    ...(begunBy === 'back-end' ? { autoPassword: started.code } : {}),
  })
  // Not before the answer is ready: the work of a push would show in its time.
  c.executionCtx.waitUntil(scheduler.wait(0).then(afterwards))
  return answer
}

/** Why the person can't log in, as an authenticated service may learn it (2-protocol section 7). */
function standingFault(
  { enrollment, sealRevoked }: { enrollment: Enrollment | undefined; sealRevoked: boolean },
  now: number,
): ProblemCode | undefined {
  if (enrollment === undefined) return 'not_found'
  if (enrollment.status !== 'active' || sealRevoked) return 'enrollment_revoked'
  return now > enrollment.expiresAt ? 'vds_expired' : undefined
}

function askedBy(
  house: DirectRoutesHouse,
  c: Context,
  body: Initiate,
  { service, begunBy, origin }: Caller,
): Result<Asked, 'invalid_scope'> {
  const scopes = scopesAsked(service, body)
  if (scopes === undefined) return refuse('invalid_scope')
  // The browser that a back end forwards is its own; only a page's request comes from the person's browser.
  const agent = begunBy === 'page' ? (c.req.header('User-Agent') ?? null) : null
  const country = begunBy === 'page' ? c.req.raw.cf?.country : undefined
  return ok({
    door: 'direct',
    doorState: directState(service, toBase64url(house.random(16))),
    service: {
      id: service.serviceId,
      name: service.name,
      url: service.url,
      logo: service.logoUri ?? null,
    },
    origin,
    returnTo: null,
    socketOrigins: service.origins,
    begunBy,
    ...scopes,
    minTrustLevel: body.minTrustLevel ?? 1,
    confirmation: strictest(
      service.confirmation ?? house.config.confirmation,
      body.confirmation ?? 'compare',
    ),
    context: readContext(agent, country),
  })
}

/** The scopes of the request, or the service's defaults; composites expanded before anything is compared. */
function scopesAsked(
  service: Service,
  body: Initiate,
): Pick<Asked, 'scopes' | 'requiredScopes'> | undefined {
  const ceiling = ceilingOf(service)
  const wanted = body.scopes?.length ? body.scopes : service.defaultScopes
  const scopes = disclosuresIn(wanted)
  const required = disclosuresIn([...service.requiredScopes, ...(body.requiredScopes ?? [])])
  if (scopes === undefined || required === undefined) return undefined
  // A request may need more than the service always does, never less: a page's request is in its visitor's hands.
  const all: readonly AtomicScope[] = [...new Set([...scopes, ...required])].sort()
  if (!isSubset(all, ceiling)) return undefined
  return { scopes: all, requiredScopes: required }
}

/** A request may ask for more care than the service is set to, never for less. */
function strictest(
  set: Config['confirmation'],
  requested: Config['confirmation'],
): Config['confirmation'] {
  return set === 'transfer' || requested === 'transfer' ? 'transfer' : 'compare'
}

async function result(house: DirectRoutesHouse, c: Context): Promise<Response> {
  const body = await readJson(c.req.raw, ResultBody)
  if (!body.ok) return body.reason
  const { sessionId, code } = body.value
  const authorization = c.req.header('Authorization')
  const serviceId = authorization === undefined ? undefined : readBasic(authorization)?.serviceId
  if (serviceId === undefined) return problem('invalid_client', { authenticate: 'Basic' })

  const content = await readCode(house.config.master, sessionId, code)
  // An unreadable code still costs the service's own look-up, so that its credentials are judged first.
  const standing = await standingOf(house.db, house.trust, content?.tokenId ?? '', serviceId)
  const caller = await authenticate(house, authorization, serviceId, standing.service)
  if (!caller.ok) return caller.reason
  if (!caller.value.enabled) return problem('service_disabled')

  const stands = isStanding(standing, content?.enrollmentId, house.now())
  const answer = stands ? await house.redeem(sessionId, serviceId, code) : undefined
  return answer === undefined ? problem('session_not_found') : json(answer)
}
