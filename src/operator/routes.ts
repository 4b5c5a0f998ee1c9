/**
 * operator/ is what an operator may do and see over HTTP: register services, put lists in force, revoke, check health. It owns no state of its
 * own: it authenticates the operator, validates, and tells the rooms that own the facts. Every act is audited.
 */
import { type Context, Hono } from 'hono'
import * as v from 'valibot'
import type { AuditEvent } from '../audit/events.ts'
import type { Audit } from '../audit/store.ts'
import { equalText, sha256, toBase64url } from '../bytes.ts'
import type { Config } from '../config.ts'
import { TokenId } from '../enrollment/statement.ts'
import { findEnrollment, revoke } from '../enrollment/store.ts'
import { BODY_LIMIT, readJson } from '../http/body.ts'
import { only } from '../http/method.ts'
import { json, problem } from '../http/problem.ts'
import type { KeyRing } from '../keys/key-ring.ts'
import { removeKey } from '../keys/store.ts'
import { ok, type Result, refuse } from '../result.ts'
import { readRevocationList } from '../seal/revocation-list.ts'
import { makeServiceVds, readServiceVds, verifyServiceVds } from '../seal/service-vds.ts'
import {
  acceptRevocationList,
  acceptTrustList,
  findRevocationList,
  type TrustLists,
} from '../seal/store.ts'
import { readTrustList } from '../seal/trust-list.ts'
import { hashSecret } from '../services/authenticate.ts'
import { readMetadata, type Service, ServiceId, ServiceRegistration } from '../services/service.ts'
import {
  findService,
  findVds,
  forgetTrust,
  putService,
  putVds,
  rotateSecret,
  type StoredVds,
  withdrawVds,
  withdrawVdsOfKey,
} from '../services/store.ts'
import { isUpToDate, vdsContentOf } from '../services/vds.ts'
import { checkRevocationList, checkTrustList, examine } from './health.ts'
import { isSchemaCurrent } from './store.ts'

export interface OperatorHouse {
  readonly config: Config
  readonly db: D1Database
  readonly audit: Audit
  readonly trust: TrustLists
  readonly keys: KeyRing
  /** Unix seconds. */
  readonly now: () => number
  readonly random: (length: number) => Uint8Array<ArrayBuffer>
  /** Ends every open login of a tokenId; login/ hands it in, and it returns when all have ended. */
  readonly cancelLogins: (tokenId: string) => Promise<void>
  /**
   * Ends the sessions of a tokenId at services that want to hear of it; oidc/ hands it in. It returns when they are ended,
   * with what tells the services so.
   */
  readonly endSessions: (tokenId: string) => Promise<() => Promise<void>>
  /** A service was changed: what this isolate remembers of it is old. */
  readonly forgetService: (serviceId: string) => void
}

/** The one operator there is until operators are enrolled as people. */
const ACTOR = 'bootstrap'

const SecretBody = v.strictObject({
  /** A secret that leaked must end now; one that is merely old may go on while the service changes over. */
  endOthers: v.optional(v.boolean(), false),
})
/** How long the present secrets of a service go on beside a new one, in seconds. */
const SECRET_OVERLAP = 24 * 3600

const TrustListBody = v.strictObject({ trustList: v.string() })
const RevocationListBody = v.strictObject({ revocationList: v.string() })
const reasonText = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(200),
  v.regex(/^[^\p{Cc}\p{Cs}]+$/u),
)
const RevokeBody = v.strictObject({ tokenId: TokenId, reason: reasonText })
const RemoveKeyBody = v.strictObject({ reason: reasonText })

/** `/operator/*`, `/revoke` and `/health`. */
export function operatorRoutes(house: OperatorHouse): Hono {
  const app = new Hono()
  // Before anything else of the request is looked at: who is not the operator learns only that.
  app.use('/operator/*', async (c, next) => {
    if (!(await isOperator(house, c))) return unauthorized()
    await next()
  })
  app
    .put('/operator/services/:serviceId', (c) => registerService(house, c))
    .all('/operator/services/:serviceId', only('PUT'))
  app
    .post('/operator/services/:serviceId/secret', (c) => newSecret(house, c))
    .all('/operator/services/:serviceId/secret', only('POST'))
  app
    .post('/operator/services/:serviceId/vds', (c) => newVds(house, c))
    .all('/operator/services/:serviceId/vds', only('POST'))
  app
    .post('/operator/services/:serviceId/vds/withdraw', (c) => noVds(house, c))
    .all('/operator/services/:serviceId/vds/withdraw', only('POST'))
  app
    .post('/operator/keys/:kid/remove', (c) => removeSigningKey(house, c))
    .all('/operator/keys/:kid/remove', only('POST'))
  app
    .put('/operator/trust-list', (c) => installTrustList(house, c))
    .all('/operator/trust-list', only('PUT'))
  app
    .put('/operator/revocation-list', (c) => installRevocationList(house, c))
    .all('/operator/revocation-list', only('PUT'))
  app.get('/health', () => health(house)).all('/health', only('GET, HEAD'))
  app.post('/revoke', (c) => revokeEnrollment(house, c)).all('/revoke', only('POST'))
  return app
}

async function isOperator({ config }: OperatorHouse, c: Context): Promise<boolean> {
  const token = /^Bearer +([\x21-\x7e]{16,512})$/i.exec(c.req.header('Authorization') ?? '')?.[1]
  if (token === undefined || config.operatorTokenHash === '') return false
  return equalText(config.operatorTokenHash, toBase64url(await sha256(token)))
}

function unauthorized(): Response {
  return problem('invalid_token', { authenticate: 'Bearer' })
}

async function health({ config, db, keys, trust, now }: OperatorHouse): Promise<Response> {
  const found = await examine({
    schema: async () => ((await isSchemaCurrent(db)) ? 'ok' : 'failing'),
    signingKeys: async () => ((await keys.check()).ok ? 'ok' : 'failing'),
    trustList: async () =>
      checkTrustList(await trust.current(), now(), config.trustListGraceSeconds),
    revocationList: async () => checkRevocationList(await findRevocationList(db), now()),
  })
  return json(found, found.status === 'ok' ? 200 : 503)
}

async function registerService(house: OperatorHouse, c: Context): Promise<Response> {
  const { db, audit, now, random, config } = house
  const serviceId = v.safeParse(ServiceId, c.req.param('serviceId'))
  if (!serviceId.success) return problem('not_found')
  const body = await readJson(c.req.raw, ServiceRegistration)
  if (!body.ok) return body.reason
  const metadata = await readMetadata(body.value, config.loopback)
  if (!metadata.ok) return problem('invalid_request', { member: metadata.reason })

  const secret = toBase64url(random(32))
  const hash = await hashSecret(secret)
  const service = {
    serviceId: serviceId.output,
    enabled: body.value.enabled,
    metadata: metadata.value,
  }
  // Switching a service off must never fail for want of what it would show.
  const vds = service.enabled
    ? await nextVds(house, { ...service, ...metadata.value, secretHashes: [] })
    : ok(null)
  if (!vds.ok) return problem('invalid_request', { member: vds.reason })
  const [stored] = await db.batch<{ secret_hashes: string }>([
    ...putService(db, service, { hash }, now()),
    ...(vds.value === null ? [] : putVds(db, vds.value)),
  ])
  house.forgetService(service.serviceId)
  // The row keeps the secrets it had; it holds this one exactly when this request created it.
  const created = stored?.results[0]?.secret_hashes.includes(hash) === true
  await audit.record({
    event: 'service_changed',
    service: service.serviceId,
    change: created ? 'created' : 'updated',
    actor: ACTOR,
  })
  const shown = { serviceId: service.serviceId, enabled: service.enabled, ...metadata.value }
  if (!created) return json(shown)
  const method = metadata.value.oidc?.token_endpoint_auth_method
  // A public client could not keep a secret, and one with a key needs none: nobody is shown what fills its place.
  const isWithoutSecret = method === 'none' || method === 'private_key_jwt'
  return json(isWithoutSecret ? shown : { ...shown, secret }, 201)
}

async function newSecret(house: OperatorHouse, c: Context): Promise<Response> {
  const { db, audit, now, random } = house
  const body = await readJson(c.req.raw, SecretBody)
  if (!body.ok) return body.reason
  const service = await findService(db, c.req.param('serviceId') ?? '')
  if (service === undefined) return problem('not_found')
  // It proves itself with a key: a secret would be good for nothing but to leak.
  if (service.oidc?.token_endpoint_auth_method === 'private_key_jwt') {
    return problem('invalid_request', { member: 'oidc.token_endpoint_auth_method' })
  }
  const secret = toBase64url(random(32))
  const { serviceId } = service
  const overlap = body.value.endOthers ? 0 : SECRET_OVERLAP
  await rotateSecret(db, serviceId, { hash: await hashSecret(secret) }, overlap, now()).run()
  await audit.record({
    event: 'service_changed',
    service: serviceId,
    change: 'secret_rotated',
    actor: ACTOR,
  })
  return json({ serviceId, secret })
}

/**
 * The Service VDS that `service` is to have from now on, `null` when the one in force says it all already. A refusal names
 * the member that doesn't fit into one, `serviceVds` when it is all of them together.
 */
async function nextVds(
  { config, db, keys, now, random }: OperatorHouse,
  service: Service,
  anyway = false,
): Promise<Result<StoredVds | null, string>> {
  const cti = toBase64url(random(16))
  const current = await findVds(db, service.serviceId, now())
  // The newest is the one in force: two of one second would leave that to chance.
  const issuedAt = Math.max(now(), (current?.issuedAt ?? 0) + 1)
  const content = vdsContentOf(service, { issuer: config.issuer, now: issuedAt, cti })
  const read = current === undefined || anyway ? undefined : await readServiceVds(current.text)
  // One whose key was removed is worth nothing any more, whatever it says.
  const rule = { issuer: config.issuer, now: now(), keyOf: keys.serviceVdsKey }
  const stands = read?.ok && (await verifyServiceVds(read.value, rule)).ok
  if (stands && isUpToDate(read.value.content, content)) return ok(null)
  const { kid, sign } = await keys.signServiceVds()
  const made = await makeServiceVds(content, sign, kid)
  if (!made.ok) return refuse(/^bad_(\w+)$/.exec(made.reason)?.[1] ?? 'serviceVds')
  const { serviceId, expiresAt } = content
  const digest = toBase64url(await sha256(made.value))
  return ok({
    cti,
    serviceId,
    text: made.value,
    digest,
    kid: toBase64url(kid),
    issuedAt,
    expiresAt,
  })
}

const VdsBody = v.strictObject({
  /** Those that are out may have been put up where they don't belong. */
  withdrawOthers: v.optional(v.boolean(), false),
})

/** Issues a new Service VDS, whatever the last one says. */
async function newVds(house: OperatorHouse, c: Context): Promise<Response> {
  const { db, now } = house
  const body = await readJson(c.req.raw, VdsBody)
  if (!body.ok) return body.reason
  const service = await findService(db, c.req.param('serviceId') ?? '')
  if (service === undefined) return problem('not_found')
  const { serviceId } = service
  const vds = await nextVds(house, service, true)
  if (!vds.ok || vds.value === null) return problem('invalid_request')
  const { cti, text, expiresAt } = vds.value
  const others = body.value.withdrawOthers ? [withdrawVds(db, serviceId, now(), cti)] : []
  const [put] = await db.batch([...putVds(db, vds.value), ...others])
  // Its key was removed as it was signing.
  if (put?.meta.changes !== 1) return problem('unavailable')
  await noteChange(house, serviceId, 'vds_issued')
  return json({ serviceId, serviceVds: text, expiresAt: new Date(expiresAt * 1000).toISOString() })
}

const WithdrawBody = v.strictObject({})

/** Withdraws every Service VDS of a service: whoever presents one is refused from now on (5-security 170). */
async function noVds(house: OperatorHouse, c: Context): Promise<Response> {
  const { db, now } = house
  const body = await readJson(c.req.raw, WithdrawBody)
  if (!body.ok) return body.reason
  const service = await findService(db, c.req.param('serviceId') ?? '')
  if (service === undefined) return problem('not_found')
  const { serviceId } = service
  const { meta } = await withdrawVds(db, serviceId, now()).run()
  await noteChange(house, serviceId, 'vds_withdrawn')
  return json({ serviceId, withdrawn: meta.changes })
}

function noteChange(
  { audit }: OperatorHouse,
  service: string,
  change: 'vds_issued' | 'vds_withdrawn',
): Promise<void> {
  return audit.record({ event: 'service_changed', service, change, actor: ACTOR })
}

/** For a key that leaked: what it signed is worth nothing here from now on (5-security 325). */
async function removeSigningKey(
  { db, audit, keys, now }: OperatorHouse,
  c: Context,
): Promise<Response> {
  const body = await readJson(c.req.raw, RemoveKeyBody)
  if (!body.ok) return body.reason
  const kid = c.req.param('kid') ?? ''
  const event: AuditEvent = {
    event: 'signing_key_removed',
    kid,
    reason: body.value.reason,
    actor: ACTOR,
  }
  const there = {
    query: "SELECT 1 FROM signing_key WHERE kid = ? AND status <> 'removed'",
    value: kid,
  }
  const [, removed] = await db.batch([
    await audit.statement(event, there),
    removeKey(db, kid),
    withdrawVdsOfKey(db, kid, now()),
  ])
  if (removed?.meta.changes !== 1) return problem('not_found')
  await audit.line(event)
  await keys.check()
  return json({ removed: true, kid })
}

async function installTrustList(house: OperatorHouse, c: Context): Promise<Response> {
  const { db, audit, config, now } = house
  const body = await readJson(c.req.raw, TrustListBody, BODY_LIMIT.list)
  if (!body.ok) return body.reason
  const { trustList } = body.value
  const list = await readTrustList(trustList, config.trustListKeys)
  if (!list.ok) return refuseList(audit, list.reason)
  const { sequence } = list.value
  const accepted = await acceptTrustList(db, list.value, trustList, now()).all()
  if (accepted.results.length === 0) return problem('stale_list')
  await audit.record({ event: 'trust_list_accepted', sequence, actor: ACTOR })
  return json({ sequence })
}

async function installRevocationList(house: OperatorHouse, c: Context): Promise<Response> {
  const { db, audit, config, now } = house
  const body = await readJson(c.req.raw, RevocationListBody, BODY_LIMIT.list)
  if (!body.ok) return body.reason
  const { revocationList } = body.value
  const list = await readRevocationList(revocationList, config.trustListKeys)
  if (!list.ok) return refuseList(audit, list.reason)
  const { sequence, fingerprints } = list.value
  if (!(await acceptRevocationList(db, list.value, revocationList, now()))) {
    return problem('stale_list')
  }
  const seals = fingerprints.length
  await audit.record({ event: 'revocation_list_accepted', sequence, seals, actor: ACTOR })
  return json({ sequence, seals })
}

async function refuseList(audit: Audit, reason: string): Promise<Response> {
  await audit.line({ event: 'refused', where: 'list', reason })
  return problem('invalid_request')
}

async function revokeEnrollment(house: OperatorHouse, c: Context): Promise<Response> {
  if (!(await isOperator(house, c))) return unauthorized()
  const { db, audit, now } = house
  const body = await readJson(c.req.raw, RevokeBody)
  if (!body.ok) return body.reason
  const { tokenId, reason } = body.value
  const enrollment = await findEnrollment(db, tokenId)
  if (enrollment === undefined) return problem('not_found')
  const event: AuditEvent = {
    event: 'revoked',
    tokenId,
    reason,
    changed: enrollment.status === 'active',
    actor: ACTOR,
  }
  const ended = [...revoke(db, tokenId, now()), forgetTrust(db, tokenId)]
  await db.batch([...ended, await audit.statement(event)])
  await audit.line(event)
  await house.cancelLogins(tokenId)
  const tellServices = await house.endSessions(tokenId)
  c.executionCtx.waitUntil(tellServices())
  return json({ revoked: true, tokenId })
}
