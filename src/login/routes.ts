import { type Context, Hono } from 'hono'
import * as v from 'valibot'
import type { Audit } from '../audit/store.ts'
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
import { decisionDigest, gatherApproval, signerOf } from './approval.ts'
import { CLOSE } from './events.ts'
import type { PhoneInboxObject } from './inbox.ts'
import type { Claimed, LoginSessionObject } from './object.ts'
import type { Fault } from './session.ts'
import { closedSocket, offeredProtocols } from './socket.ts'
import { isSocketToken } from './socket-token.ts'
import { type Standing, standingOf } from './store.ts'

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

/** `/auth/claim`, `/auth/verify`, `/auth/reject`, `/device/pending` and the socket (2-protocol section 1). */
export function loginRoutes(house: LoginRoutesHouse): Hono {
  const app = new Hono()
  app.post('/auth/claim', (c) => claim(house, c)).all('/auth/claim', only('POST'))
  app.post('/auth/verify', (c) => verify(house, c)).all('/auth/verify', only('POST'))
  app.post('/auth/reject', (c) => reject(house, c)).all('/auth/reject', only('POST'))
  app.post('/device/pending', (c) => pending(house, c)).all('/device/pending', only('POST'))
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
  const claimed = await session.claim(signer)
  return claimed.ok ? json(claimBody(claimed.value)) : faultAnswer(claimed.reason)
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
  if (approved.ok) return json({ status: 'approved' })
  const reason = [approved.reason, ...facts.sealFaults].join(' ')
  await house.audit.line({ event: 'refused', where: 'verify', reason })
  return faultAnswer(approved.reason)
}

async function reject(house: LoginRoutesHouse, c: Context): Promise<Response> {
  const read = await readAct(house, c, 'idtoken-deny+jwt')
  if (!read.ok) return read.answer
  const { statement, session, standing } = read
  const { payload } = statement
  const denied = await session.deny({
    signer: await signerOf(statement, payload.tokenId, standing, house.now()),
    digest: await decisionDigest(payload),
    nonce: payload.nonce,
    reason: payload.reason,
  })
  return denied.ok ? json({ status: 'rejected' }) : faultAnswer(denied.reason)
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
