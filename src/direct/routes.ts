/**
 * direct/ is the door for services that draw their own login: `POST /auth/initiate`, and `POST /auth/result` for logins
 * that a page began. It owns the direct JWT. How a person is authenticated it leaves to login/.
 */
import { type Context, Hono } from 'hono'
import * as v from 'valibot'
import type { Audit } from '../audit/store.ts'
import { toBase64url } from '../bytes.ts'
import type { Config } from '../config.ts'
import { type AtomicScope, intersect, isSubset } from '../disclosure/scopes.ts'
import { SessionId, TokenId } from '../enrollment/statement.ts'
import type { Enrollment } from '../enrollment/store.ts'
import { addressBucket } from '../http/address.ts'
import { readJson } from '../http/body.ts'
import { only } from '../http/method.ts'
import { json, type ProblemCode, problem } from '../http/problem.ts'
import { careOf } from '../login/care.ts'
import { readContext } from '../login/context.ts'
import type { Asked } from '../login/door.ts'
import { qrOf } from '../login/scan-proof.ts'
import { socketToken } from '../login/socket-token.ts'
import { type Person, type StartHouse, startLogin } from '../login/start.ts'
import { isStanding, type Standing, standingOf } from '../login/store.ts'
import { ok, type Result, refuse } from '../result.ts'
import {
  readServiceVds,
  type ServiceVdsContent,
  type ServiceVdsFault,
  type ServiceVdsRule,
  serviceVdsCode,
  verifyServiceVds,
} from '../seal/service-vds.ts'
import type { TrustLists } from '../seal/store.ts'
import { ceilingOf, disclosuresIn, type Service, ServiceId, sectorOf } from '../services/service.ts'
import { isRegisteredOrigin, type StoredVds, useProofs } from '../services/store.ts'
import {
  authenticate,
  type Caller,
  type CallerFault,
  type CallerHouse,
  identifyCaller,
  type Shown,
  type ShownAtStart,
  speaksFor,
} from './caller.ts'
import { readCode } from './code.ts'
import { directState } from './door.ts'
import { readLoginHandle } from './login-handle.ts'

export interface DirectRoutesHouse {
  readonly config: Config
  readonly db: D1Database
  readonly trust: TrustLists
  readonly audit: Audit
  readonly start: StartHouse
  /** Spends `code`; `undefined` when it buys nothing. login/ hands it in. */
  readonly redeem: (
    sessionId: string,
    serviceId: string,
    code: string,
  ) => Promise<Readonly<Record<string, string>> | undefined>
  /** Unix seconds. */
  readonly now: () => number
  /** Unix milliseconds, for pages that count from it. */
  readonly millis: () => number
  readonly random: (length: number) => Uint8Array<ArrayBuffer>
  readonly serviceVdsKey: ServiceVdsRule['keyOf']
  /** The Service VDS of a service that is in force. */
  readonly findVds: (serviceId: string) => Promise<StoredVds | undefined>
  readonly startLimit: RateLimit
  readonly serviceLimit: RateLimit
}

/** What is still read; a longer text is no Service VDS, and is told so by its reader. */
const LONGEST_VDS = 16 * 1024

const scopeList = v.pipe(v.array(v.pipe(v.string(), v.maxLength(64))), v.maxLength(32))

const InitiateBody = v.strictObject({
  serviceId: v.optional(ServiceId),
  serviceVds: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(LONGEST_VDS))),
  tokenId: v.optional(TokenId),
  loginHandle: v.optional(v.pipe(v.string(), v.maxLength(1024))),
  purpose: v.optional(v.picklist(['login', 'register']), 'login'),
  clientAssertion: v.optional(v.string()),
  scopes: v.optional(scopeList),
  requiredScopes: v.optional(scopeList),
  minTrustLevel: v.optional(v.picklist([1, 2, 3])),
  confirmation: v.optional(v.picklist(['compare', 'transfer'])),
})
type Initiate = v.InferOutput<typeof InitiateBody>
type Begun = Omit<Initiate, 'tokenId'> & Named

const ResultBody = v.strictObject({
  sessionId: SessionId,
  code: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_.-]{1,512}$/)),
  clientAssertion: v.optional(v.string()),
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
  const named = await whoIsNamed(house, body.value)
  if (!named.ok) {
    const { code, ...about } = named.reason
    return withCors(problem(code, about), origin, false)
  }
  const { serviceId, vds, tokenId } = named.value
  const { db, trust } = house
  const standing = await standingOf(db, trust, tokenId ?? '', serviceId, null, vds?.cti)
  const shown: ShownAtStart = {
    authorization: c.req.header('Authorization'),
    clientAssertion: body.value.clientAssertion,
    origin,
    address: addressBucket(c.req.raw.headers, house.config.clientAddressHeader),
  }
  const caller = await identifyCaller(callerHouse(house), shown, serviceId, standing.service)
  const answer = caller.ok
    ? await begin(house, c, { ...body.value, ...named.value }, standing, caller.value)
    : await refusedCaller(house, 'initiate', shown, caller.reason)
  const known = origin !== undefined && standing.service?.origins.includes(origin) === true
  return withCors(answer, origin, known)
}

function callerHouse(house: DirectRoutesHouse): CallerHouse {
  const { config, db, now, startLimit, serviceLimit } = house
  const use: CallerHouse['useProofs'] = (proofs) => useProofs(db, proofs, now())
  return { issuer: config.issuer, now, useProofs: use, startLimit, serviceLimit }
}

interface Named {
  readonly serviceId: string
  /** What the Service VDS says that was presented; `null`: none was. */
  readonly vds: ServiceVdsContent | null
  /** Whom the login is for; `null`: whoever scans it. */
  readonly tokenId: string | null
  /** Whose services may name that person so; `null`: all that know the tokenId. */
  readonly sector: string | null
}

/** Why it isn't known whom a request is about, and which member says so. */
interface NameFault {
  readonly code: ProblemCode
  readonly member?: keyof Initiate
}

function wrong(member: keyof Initiate): NameFault {
  return { code: 'invalid_request', member }
}

/**
 * Whom a request is about: the service by its id or by its Service VDS, which is verified before anything else is done, the
 * person by his tokenId or a login handle.
 */
async function whoIsNamed(
  { config, serviceVdsKey, audit, now }: DirectRoutesHouse,
  { serviceId, serviceVds, tokenId, loginHandle, purpose }: Initiate,
): Promise<Result<Named, NameFault>> {
  // A registration is for whoever scans it, and nobody is named twice.
  if (tokenId !== undefined && purpose === 'register') return refuse(wrong('tokenId'))
  const handle =
    loginHandle === undefined ? undefined : await readLoginHandle(config.master, loginHandle)
  const isOnly = tokenId === undefined && purpose === 'login'
  if (loginHandle !== undefined && (handle === undefined || !isOnly)) {
    return refuse(wrong('loginHandle'))
  }
  const person = handle ?? { tokenId: tokenId ?? null, sector: null }
  if (serviceVds === undefined) {
    return serviceId === undefined
      ? refuse(wrong('serviceId'))
      : ok({ ...person, serviceId, vds: null })
  }
  const read = await readServiceVds(serviceVds)
  if (!read.ok) return refuseVds(audit, read.reason)
  const rule = { issuer: config.issuer, now: now(), keyOf: serviceVdsKey }
  const verified = await verifyServiceVds(read.value, rule)
  if (!verified.ok) return refuseVds(audit, verified.reason)
  const vds = verified.value
  if (serviceId !== undefined && serviceId !== vds.serviceId) return refuse(wrong('serviceVds'))
  return ok({ ...person, serviceId: vds.serviceId, vds })
}

/** The caller learns that it is refused, the log at which step (3-seal section 2.2). */
async function refuseVds(audit: Audit, fault: ServiceVdsFault): Promise<Result<never, NameFault>> {
  await audit.line({ event: 'refused', where: 'initiate', reason: fault })
  return refuse({ code: serviceVdsCode(fault) })
}

/** `answer`, readable for the page at `origin` when it is `known`. */
function withCors(answer: Response, origin: string | undefined, known: boolean): Response {
  if (known && origin !== undefined) answer.headers.set('Access-Control-Allow-Origin', origin)
  answer.headers.set('Vary', 'Origin')
  return answer
}

/** The answer to a caller that is refused; the log says more. */
async function refusedCaller(
  { audit }: DirectRoutesHouse,
  where: 'initiate' | 'result',
  { authorization }: Shown,
  { code, why }: CallerFault,
): Promise<Response> {
  if (why !== undefined) await audit.line({ event: 'refused', where, reason: why })
  return problem(code, {
    ...(code === 'too_many_requests' ? { retryAfter: 60 } : {}),
    ...(code === 'invalid_request' ? { member: 'clientAssertion' } : {}),
    ...(code === 'invalid_client' && authorization !== undefined ? { authenticate: 'Basic' } : {}),
  })
}

async function begin(
  house: DirectRoutesHouse,
  c: Context,
  body: Begun,
  standing: Standing,
  caller: Caller,
): Promise<Response> {
  const { service, begunBy } = caller
  const barred = vdsFault(house, body, standing, caller)
  if (barred !== undefined) return problem(barred)
  const asked = askedBy(house, c, body, caller)
  if (!asked.ok) return problem(asked.reason)

  const { tokenId, sector, purpose } = body
  // A handle of another sector is none here, and a service that is to know nobody again gets nobody by one.
  const isMeant = service.subjectType === 'pairwise' && sector === sectorOf(service)
  if (sector !== null && !isMeant) {
    return problem('invalid_request', { member: 'loginHandle' })
  }
  let person: Person | null = null
  if (tokenId !== null) {
    const fault = standingFault(standing, house.now())
    // Whoever has only an Origin to show learns nothing: a decoy login begins that nobody can approve.
    if (fault !== undefined && begunBy === 'back-end') {
      return problem(fault, fault === 'vds_expired' ? { status: 403 } : {})
    }
    person = { tokenId, enrollment: fault === undefined ? standing.enrollment : undefined }
  }
  const stored = purpose === 'register' ? await house.findVds(service.serviceId) : undefined
  // A service without a Service VDS in force has nothing that a phone could trust.
  if (purpose === 'register' && stored === undefined) return problem('service_vds_required')

  const { started, afterwards } = await startLogin(house.start, asked.value, person)
  const { sessionId, attempt, code, expiresAt } = started
  const { master, issuer } = house.config
  const screen = { sessionId, attempt }
  const answer = json({
    sessionId,
    wsToken: await socketToken(master, sessionId),
    random: asked.value.doorState.random,
    expiresAt: new Date(expiresAt).toISOString(),
    ...(stored === undefined
      ? { qr: await qrOf(master, issuer, screen, house.millis()) }
      : { serviceVds: stored.text, qr: { url: `${issuer}/l#${sessionId}.${stored.text}` } }),
    ...(begunBy === 'back-end' && code !== null ? { autoPassword: code } : {}),
  })
  // Not before the answer is ready: the work of a push would show in its time.
  c.executionCtx.waitUntil(scheduler.wait(0).then(afterwards))
  return answer
}

/** Why the service may not begin this, as its registry and its Service VDS stand now. */
function vdsFault(
  { now }: DirectRoutesHouse,
  { vds }: Begun,
  standing: Standing,
  { service, begunBy, origin }: Caller,
): ProblemCode | undefined {
  if (!service.enabled) return 'service_disabled'
  if (vds === null) return service.vdsRequired ? 'service_vds_required' : undefined
  // Withdrawn, though nothing is wrong with the text itself (5-security 170).
  if (!standing.vdsStands) return 'service_disabled'
  if (now() >= vds.expiresAt) return 'vds_expired'
  // It only lowers: a page that it doesn't name may not begin by it, whatever the registry says of that page.
  return begunBy === 'page' && !vds.origins.includes(origin) ? 'invalid_client' : undefined
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
  body: Begun,
  { service, begunBy, origin }: Caller,
): Result<Asked, 'invalid_scope'> {
  const scopes = scopesAsked(service, body)
  if (scopes === undefined) return refuse('invalid_scope')
  const care = careOf(service, house.config)
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
    vds: body.vds?.cti ?? null,
    origin,
    returnTo: null,
    socketOrigins: service.origins,
    begunBy,
    purpose: body.purpose,
    trustRequired: care.trustRequired,
    ...scopes,
    minTrustLevel: body.minTrustLevel ?? 1,
    confirmation: strictest(care.confirmation, body.confirmation ?? 'compare'),
    context: readContext(agent, country),
  })
}

/** The scopes of the request, or the service's defaults; composites expanded before anything is compared. */
function scopesAsked(
  service: Service,
  body: Begun,
): Pick<Asked, 'scopes' | 'requiredScopes'> | undefined {
  const { vds } = body
  const registered = ceilingOf(service)
  // The smaller of the two applies at once, whichever was lowered (5-security 174, 175).
  const ceiling = vds === null ? registered : intersect(registered, vds.scopes)
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
  const { sessionId, code, clientAssertion } = body.value
  const shown = { authorization: c.req.header('Authorization'), clientAssertion }
  const serviceId = speaksFor(shown)
  if (serviceId === undefined) return problem('invalid_client', { authenticate: 'Basic' })

  const content = await readCode(house.config.master, sessionId, code)
  // An unreadable code still costs the service's own look-up, so that its credentials are judged first.
  const standing = await standingOf(house.db, house.trust, content?.tokenId ?? '', serviceId)
  const caller = await authenticate(callerHouse(house), shown, serviceId, standing.service)
  if (!caller.ok) return refusedCaller(house, 'result', shown, caller.reason)
  if (!caller.value.enabled) return problem('service_disabled')

  const stands = isStanding(standing, content?.enrollmentId, house.now(), content?.vds)
  const answer = stands ? await house.redeem(sessionId, serviceId, code) : undefined
  return answer === undefined ? problem('session_not_found') : json(answer)
}
