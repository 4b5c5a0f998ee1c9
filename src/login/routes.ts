import { type Context, Hono } from 'hono'
import * as v from 'valibot'
import type { Audit } from '../audit/store.ts'
import { sha256, toBase64url } from '../bytes.ts'
import type { Config } from '../config.ts'
import {
  isFresh,
  isSignedBy,
  readStatement,
  type Statement,
  type StatementType,
} from '../enrollment/statement.ts'
import { addressBucket } from '../http/address.ts'
import { BODY_LIMIT, readJson } from '../http/body.ts'
import { only } from '../http/method.ts'
import { json, problem } from '../http/problem.ts'
import type { TrustLists } from '../seal/store.ts'
import { sayTrust, trustStands } from '../services/store.ts'
import { decisionDigest, gatherApproval, signerOf } from './approval.ts'
import { CLOSE } from './events.ts'
import type { PhoneInboxObject } from './inbox.ts'
import type { Claimed, LoginSessionObject } from './object.ts'
import type { Fault } from './session.ts'
import { closedSocket, offeredProtocols } from './socket.ts'
import { isSocketToken } from './socket-token.ts'
import { isStanding, type Standing, standingOf } from './store.ts'

/** What the routes of a login reach for; the composition hands it in. */
export interface LoginRoutesHouse {
  readonly config: Config
  readonly db: D1Database
  readonly trust: TrustLists
  readonly audit: Audit
  /** Unix seconds. */
  readonly now: () => number
  readonly sessionOf: (sessionId: string) => DurableObjectStub<LoginSessionObject> | undefined
  readonly inboxOf: (tokenId: string) => Promise<DurableObjectStub<PhoneInboxObject>>
  readonly socketLimit: RateLimit
}

const StatementBody = v.strictObject({ statement: v.string() })
const VerifyBody = v.strictObject({
  statement: v.string(),
  vdsData: v.pipe(v.string(), v.minLength(1), v.maxLength(4096)),
})

/** `/auth/claim`, `/auth/verify`, `/auth/reject`, `/device/pending`, `/device/trust` and the socket (2-protocol section 1). */
export function loginRoutes(house: LoginRoutesHouse): Hono {
  const app = new Hono()
  app.post('/auth/claim', (c) => claim(house, c)).all('/auth/claim', only('POST'))
  app.post('/auth/verify', (c) => verify(house, c)).all('/auth/verify', only('POST'))
  app.post('/auth/reject', (c) => reject(house, c)).all('/auth/reject', only('POST'))
  app.post('/device/pending', (c) => pending(house, c)).all('/device/pending', only('POST'))
  app.post('/device/trust', (c) => trust(house, c)).all('/device/trust', only('POST'))
  app
    .get('/ws/session/:sessionId', (c) => socket(house, c))
    .all('/ws/session/:sessionId', only('GET, HEAD'))
  return app
}

async function claim(house: LoginRoutesHouse, c: Context): Promise<Response> {
  const read = await readAct(house, c, 'idtoken-claim+jwt')
  if (!read.ok) return read.answer
  const { statement, session, standing } = read
  const signer = await signerOf(statement, statement.payload.tokenId, standing, house.now())
  const { payload } = statement
  const proof = payload.via === 'push' ? undefined : payload.proof
  const claimed = await session.claim(signer, { via: payload.via, proof })
  if (claimed.ok) return json(claimBody(claimed.value))
  if (claimed.reason !== 'trust_required') return faultAnswer(claimed.reason)
  // Who has proved that the login is meant for him may know whom he would have to trust.
  const service = await session.askingService()
  return problem('trust_required', service === null ? {} : { service })
}

async function verify(house: LoginRoutesHouse, c: Context): Promise<Response> {
  const body = await readJson(c.req.raw, VerifyBody, BODY_LIMIT.api)
  if (!body.ok) return body.reason
  const read = await readStatementOfLogin(house, body.value.statement, 'idtoken-approve+jwt')
  if (!read.ok) return read.answer
  const { statement, session, standing } = read
  const list = await house.trust.at(standing.trustSequence)
  const { trustListGraceSeconds: graceSeconds } = house.config
  const facts = await gatherApproval(
    statement,
    body.value.vdsData,
    standing,
    { list, graceSeconds },
    house.now(),
  )
  const approved = await session.approve(facts.approval, facts.granted)
  if (approved.ok) {
    const { completion } = approved.value
    const { sessionId } = statement.payload
    // In a fragment: it reaches the page that posts it, and no log on the way.
    const returnTo = `${house.config.issuer}/login/return#${sessionId}.${completion}`
    return json({ status: 'approved', ...(completion === null ? {} : { returnTo }) })
  }
  const reason = [approved.reason, ...facts.sealFaults].join(' ')
  await house.audit.line({ event: 'refused', where: 'verify', reason })
  return faultAnswer(approved.reason)
}

async function reject(house: LoginRoutesHouse, c: Context): Promise<Response> {
  const read = await readAct(house, c, 'idtoken-deny+jwt')
  if (!read.ok) return read.answer
  const { statement, session, standing } = read
  const { payload } = statement
  const { tokenId, sessionId, nonce, reason } = payload
  const signer = await signerOf(statement, tokenId, standing, house.now())
  const denied = await session.deny({
    signer,
    digest: await decisionDigest(payload),
    nonce,
    reason,
  })
  if (denied.ok) return json({ status: 'rejected' })
  if (denied.reason === 'session_not_found' && reason === 'not_me' && signer.signed) {
    // Who rang may have answered with a phone of his own, and the login may be gone with its result: it did ring.
    const inbox = await house.inboxOf(tokenId)
    if (await inbox.report(sessionId)) return json({ status: 'rejected' })
  }
  return faultAnswer(denied.reason)
}

async function pending(house: LoginRoutesHouse, c: Context): Promise<Response> {
  const body = await readJson(c.req.raw, StatementBody)
  if (!body.ok) return body.reason
  const read = readStatement(body.value.statement, 'idtoken-pending+jwt', house.config.issuer)
  if (!read.ok) return problem(read.reason)
  const { tokenId, iat } = read.value.payload
  const { enrollment } = await standingOf(house.db, house.trust, tokenId)
  if (
    enrollment?.status !== 'active' ||
    !(await isSignedBy(read.value, enrollment.deviceKey)) ||
    !isFresh(iat, house.now())
  ) {
    return problem('invalid_statement')
  }
  const logins = await (await house.inboxOf(tokenId)).pending()
  return json(
    logins.map(({ sessionId, deadline }) => ({
      sessionId,
      expiresAt: new Date(deadline).toISOString(),
    })),
  )
}

const TrustBody = v.strictObject({
  statement: v.string(),
  serviceVds: v.optional(v.pipe(v.string(), v.maxLength(4096))),
})

/**
 * A person says that he trusts a service, or no longer does (seed 002, step 2): about the Service VDS in force, and never by
 * an older statement than the last. Where a page waits for it, the page is told.
 */
async function trust(house: LoginRoutesHouse, c: Context): Promise<Response> {
  const body = await readJson(c.req.raw, TrustBody)
  if (!body.ok) return body.reason
  const read = readStatement(body.value.statement, 'idtoken-trust+jwt', house.config.issuer)
  if (!read.ok) return problem(read.reason)
  const { tokenId, service: serviceId, vds, trusted, iat, sessionId } = read.value.payload
  const { serviceVds } = body.value
  const isOther = serviceVds !== undefined && toBase64url(await sha256(serviceVds)) !== vds
  const standing = await standingOf(house.db, house.trust, tokenId, serviceId)
  const signer = await signerOf(read.value, tokenId, standing, house.now())
  const { service, enrollment } = standing
  if (!signer.signed || isOther || !isFresh(iat, house.now())) return problem('invalid_statement')
  // Taking trust back must never fail for what became of the service meanwhile.
  if (trusted && service?.enabled === false) return problem('service_disabled')
  const stands = !trusted || isStanding(standing, enrollment?.enrollmentId, house.now())
  if (enrollment?.status !== 'active' || !stands) return problem('invalid_statement')
  const session = sessionId === undefined ? undefined : house.sessionOf(sessionId)
  if (sessionId !== undefined && (session === undefined || !trusted)) {
    return problem('session_not_found')
  }
  const device = signer.thumbprint
  const said = { tokenId, serviceId, trusted, vds, device, saidAt: iat }
  const event = { event: 'trust_said', tokenId, service: serviceId, trusted } as const
  const [counted] = await house.db.batch([
    sayTrust(house.db, said, house.now()),
    await house.audit.statement(event, trustStands(said)),
  ])
  if (counted?.meta.changes !== 1) return problem('invalid_statement')
  await house.audit.line(event)
  // What was said stands, also when the page that asked for it is gone.
  await session?.register(signer, serviceId)
  return json({ trusted })
}

async function socket(house: LoginRoutesHouse, c: Context): Promise<Response> {
  const request = c.req.raw
  if (request.headers.get('Upgrade')?.toLowerCase() !== 'websocket') {
    return problem('invalid_request')
  }
  const address = addressBucket(request.headers, house.config.clientAddressHeader)
  const { success } = await house.socketLimit.limit({ key: address })
  if (!success) return problem('too_many_requests', { retryAfter: 10 })

  const sessionId = c.req.param('sessionId') ?? ''
  const session = house.sessionOf(sessionId)
  if (session === undefined) return closedSocket(request, CLOSE.noSuchSession, 'no such session')
  const protocols = offeredProtocols(request)
  const [protocol, token = ''] = protocols
  const known = await isSocketToken(house.config.master, sessionId, token)
  if (protocol !== 'idtoken.v1' || !known) return closedSocket(request, CLOSE.badToken, 'bad token')
  return session.fetch(request)
}

/** The bodies of claim and reject: one statement and nothing else. */
async function readAct<T extends 'idtoken-claim+jwt' | 'idtoken-deny+jwt'>(
  house: LoginRoutesHouse,
  c: Context,
  typ: T,
): Promise<ActOfLogin<T> | Answered> {
  const body = await readJson(c.req.raw, StatementBody)
  if (!body.ok) return { ok: false, answer: body.reason }
  return readStatementOfLogin(house, body.value.statement, typ)
}

interface ActOfLogin<T extends StatementType> {
  readonly ok: true
  readonly statement: Statement<T>
  readonly session: DurableObjectStub<LoginSessionObject>
  readonly standing: Standing
}

interface Answered {
  readonly ok: false
  readonly answer: Response
}

/** The statement of an act on a login, the login's object, and the standing of the person it names. */
async function readStatementOfLogin<
  T extends 'idtoken-claim+jwt' | 'idtoken-approve+jwt' | 'idtoken-deny+jwt',
>(house: LoginRoutesHouse, jws: string, typ: T): Promise<ActOfLogin<T> | Answered> {
  const read = readStatement(jws, typ, house.config.issuer)
  if (!read.ok) return { ok: false, answer: problem(read.reason) }
  const session = house.sessionOf(read.value.payload.sessionId)
  if (session === undefined) return { ok: false, answer: problem('session_not_found') }
  const standing = await standingOf(house.db, house.trust, read.value.payload.tokenId)
  return { ok: true, statement: read.value, session, standing }
}

function claimBody({ asked, nonce, code, startedAt, expiresAt }: Claimed): object {
  return {
    nonce,
    service: asked.service,
    origin: asked.origin,
    scopes: asked.scopes,
    requiredScopes: asked.requiredScopes,
    ...(code === null ? {} : { otp: code }),
    context: { ...asked.context, startedAt: new Date(startedAt).toISOString() },
    expiresAt: new Date(expiresAt).toISOString(),
  }
}

function faultAnswer(fault: Fault): Response {
  return problem(fault, fault === 'vds_expired' ? { status: 403 } : {})
}
