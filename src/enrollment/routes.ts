/**
 * enrollment/ owns the key binding tokenId -> device key and the statements that a device signs. It does not know what a
 * login is; it is told a seal by the phone and has seal/ verify it.
 */
import { type Context, Hono } from 'hono'
import * as v from 'valibot'
import type { AuditEvent } from '../audit/events.ts'
import type { Audit } from '../audit/store.ts'
import { sha256, toBase64url } from '../bytes.ts'
import type { Config } from '../config.ts'
import { addressBucket } from '../http/address.ts'
import { BODY_LIMIT, readJson } from '../http/body.ts'
import { only } from '../http/method.ts'
import { json, type ProblemOptions, problem } from '../http/problem.ts'
import { deriveKey, hmacSha256, stableVersion } from '../keys/derive.ts'
import { validFcmToken } from '../push/fcm.ts'
import { ok, type Result, refuse } from '../result.ts'
import { verifyGrant } from '../seal/grant.ts'
import { parseSeal } from '../seal/seal.ts'
import type { TrustLists } from '../seal/store.ts'
import { faultsOf, type VerifiedSeal, verifySeal } from '../seal/verify.ts'
import { CHALLENGE_SECONDS, isChallengeGood, makeChallenge } from './challenge.ts'
import { type DeviceKey, readDeviceKey, readPublicJwk } from './device-key.ts'
import { judge } from './enroll.ts'
import { DeviceId, isFresh, isSignedBy, type Payload, readStatement } from './statement.ts'
import {
  bind,
  type Enrollment,
  findBinding,
  findEnrollment,
  isOverLimit,
  updateDevice,
} from './store.ts'

export interface EnrollmentHouse {
  readonly config: Config
  readonly db: D1Database
  readonly trust: TrustLists
  readonly audit: Audit
  /** Unix seconds. */
  readonly now: () => number
  readonly random: (length: number) => Uint8Array<ArrayBuffer>
  /** Tells the phone of a binding that another phone has taken its place; the composition hands it in. */
  readonly tellReplaced: (replaced: Enrollment) => Promise<void>
}

const FcmToken = v.pipe(v.string(), v.check(validFcmToken))
const PublicKey = v.pipe(
  v.unknown(),
  v.check((key) => !Array.isArray(key)),
  v.record(v.string(), v.unknown()),
)

const EnrollBody = v.strictObject({
  vdsData: v.pipe(v.string(), v.minLength(1), v.maxLength(4096)),
  publicKeyPem: v.string(),
  deviceId: DeviceId,
  // Absent and empty both mean: no push, this phone pulls (5-security 146).
  fcmToken: v.optional(v.union([v.literal(''), FcmToken])),
  encryptionKey: v.optional(PublicKey),
  enrollmentGrant: v.optional(v.string()),
  statement: v.string(),
})

const UpdateBody = v.strictObject({
  statement: v.string(),
  fcmToken: v.optional(FcmToken),
  encryptionKey: v.optional(PublicKey),
})

/** `/enroll/challenge`, `/enroll` and `/device/update` (2-protocol sections 1 to 3). */
export function enrollmentRoutes(house: EnrollmentHouse): Hono {
  const app = new Hono()
  app.post('/enroll/challenge', (c) => challenge(house, c)).all('/enroll/challenge', only('POST'))
  app.post('/enroll', (c) => enroll(house, c)).all('/enroll', only('POST'))
  app.post('/device/update', (c) => update(house, c)).all('/device/update', only('POST'))
  return app
}

async function challenge(house: EnrollmentHouse, c: Context): Promise<Response> {
  const body = await readJson(c.req.raw, v.strictObject({}))
  if (!body.ok) return body.reason
  const { config } = house
  const expiresAt = house.now() + CHALLENGE_SECONDS
  const text = await makeChallenge(config.master, config.issuer, expiresAt, house.random(16))
  return json({ challenge: text, expiresAt: new Date(expiresAt * 1000).toISOString() })
}

async function enroll(house: EnrollmentHouse, c: Context): Promise<Response> {
  const { config, db, audit } = house
  const now = house.now()
  const quota = await quotaOf(house, c)
  if (await isOverLimit(db, quota.address, quota.limit, now)) {
    return tooManyEnrollments()
  }
  const body = await readJson(c.req.raw, EnrollBody, BODY_LIMIT.enrollment)
  if (!body.ok) return body.reason

  const device = await readDevice(body.value)
  if (!device.ok) return device.reason
  const statement = await readEnrollStatement(house, body.value, device.value, now)
  if (!statement.ok) return problem(statement.reason)

  const seal = await readSeal(house, body.value.vdsData, now)
  if (!seal.ok) return seal.reason
  if (statement.value.seal !== seal.value.fingerprint) return problem('invalid_statement')

  const { identity, fingerprint, caId } = seal.value
  const { tokenId } = identity
  const granted = await isGranted(
    house,
    body.value.enrollmentGrant,
    seal.value,
    device.value.key,
    now,
  )
  if (!granted && config.enrollmentGrant === 'required') {
    await audit.record({
      event: 'enrollment_refused',
      tokenId,
      reason: 'enrollment_grant_required',
    })
    return problem('enrollment_grant_required')
  }

  const { thumbprint } = device.value.key
  const binding = await findBinding(db, { tokenId, thumbprint, fingerprint })
  const asked = {
    tokenId,
    caId,
    sealFingerprint: fingerprint,
    sealIssuedAt: seal.value.issuedAt,
    thumbprint,
    granted,
  }
  const judgement = judge(asked, binding)
  if (judgement.act === 'refuse') {
    await audit.record({ event: 'enrollment_refused', tokenId, reason: judgement.code })
    return problem(judgement.code)
  }
  if (judgement.act === 'repeat') return enrolled(judgement.enrollment)

  const next: Enrollment = {
    tokenId,
    enrollmentId: toBase64url(house.random(16)),
    status: 'active',
    caId,
    sealFingerprint: fingerprint,
    sealIssuedAt: seal.value.issuedAt,
    expiresAt: seal.value.expiresAt,
    // A photographed seal alone proves little, whatever level it was issued at (2-protocol section 3).
    trustLevel: granted ? seal.value.trustLevel : 1,
    granted,
    deviceId: body.value.deviceId,
    deviceKey: device.value.key,
    encryptionKey: device.value.encryptionKey?.jwk ?? null,
    fcmToken: body.value.fcmToken || null,
    statementIat: statement.value.iat,
    enrolledAt: now,
    revokedAt: null,
  }
  const { replaces } = judgement
  const event: AuditEvent = {
    event: 'enrolled',
    tokenId,
    device: thumbprint,
    granted,
    replaced: replaces !== undefined,
  }
  const bound = await tryBind(house, next, quota, event)
  if (!bound.ok) return bound.reason
  await audit.line(event)
  for (const loser of bound.value.movedFrom) {
    await audit.record({ event: 'push_token_moved', tokenId: loser })
  }
  // The same app with new keys is the phone that has just enrolled.
  if (replaces !== undefined && replaces.fcmToken !== next.fcmToken) {
    c.executionCtx.waitUntil(house.tellReplaced(replaces))
  }
  return enrolled(next)
}

async function tryBind(
  house: EnrollmentHouse,
  next: Enrollment,
  { address, limit }: Quota,
  event: AuditEvent,
): Promise<Result<{ readonly movedFrom: readonly string[] }, Response>> {
  const row = await house.audit.statement(event, {
    query: 'SELECT 1 FROM enrollment WHERE enrollment_id = ?',
    value: next.enrollmentId,
  })
  try {
    const [inserted, moved] = await house.db.batch<{ token_id: string }>([
      ...bind(house.db, next, address, limit),
      row,
    ])
    if (inserted?.results.length === 1) {
      return ok({ movedFrom: (moved?.results ?? []).map((row) => row.token_id) })
    }
  } catch (error) {
    // The unique index on the device key: another request has just enrolled it for another tokenId.
    if (error instanceof Error && error.message.includes('device_thumbprint')) {
      return refuse(problem('key_in_use'))
    }
    throw error
  }
  // Somebody was faster between the look-up and the insert. What stands now names the answer.
  const { tokenId, deviceKey, sealFingerprint, caId, sealIssuedAt, granted } = next
  const { thumbprint } = deviceKey
  const present = await findBinding(house.db, {
    tokenId,
    thumbprint,
    fingerprint: sealFingerprint,
  })
  const judgement = judge(
    { tokenId, caId, sealFingerprint, sealIssuedAt, thumbprint, granted },
    present,
  )
  if (judgement.act === 'repeat') return refuse(enrolled(judgement.enrollment))
  if (judgement.act === 'refuse') return refuse(problem(judgement.code))
  const full = await isOverLimit(house.db, address, limit, next.enrolledAt)
  return refuse(full ? tooManyEnrollments() : problem('unavailable'))
}

async function update(house: EnrollmentHouse, c: Context): Promise<Response> {
  const body = await readJson(c.req.raw, UpdateBody)
  if (!body.ok) return body.reason
  const { fcmToken, encryptionKey } = body.value
  if (fcmToken === undefined && encryptionKey === undefined) return problem('invalid_request')

  const read = readStatement(body.value.statement, 'idtoken-update+jwt', house.config.issuer)
  if (!read.ok) return problem(read.reason)
  const { payload } = read.value
  const enrollment = await findEnrollment(house.db, payload.tokenId)
  if (
    enrollment?.status !== 'active' ||
    !(await isSignedBy(read.value, enrollment.deviceKey)) ||
    !isFresh(payload.iat, house.now())
  ) {
    return problem('invalid_statement')
  }
  const agreement = await readAgreementKey(encryptionKey, enrollment.deviceKey)
  if (!agreement.ok) return problem(agreement.reason)
  if (payload.fcm !== (await digestOf(fcmToken)) || payload.enc !== agreement.value?.thumbprint) {
    return problem('invalid_statement')
  }

  const change = {
    iat: payload.iat,
    fcmToken: fcmToken ?? null,
    encryptionKey: agreement.value?.jwk ?? null,
  }
  const [updated, moved] = await house.db.batch<{ token_id: string }>([
    ...updateDevice(house.db, enrollment, change),
  ])
  if (updated?.results.length !== 1) return problem('invalid_statement')
  await house.audit.record({ event: 'device_updated', tokenId: enrollment.tokenId })
  for (const { token_id: tokenId } of moved?.results ?? []) {
    await house.audit.record({ event: 'push_token_moved', tokenId })
  }
  return json({ updated: true })
}

interface Device {
  readonly key: DeviceKey
  readonly encryptionKey: DeviceKey | undefined
}

async function readDevice(
  body: v.InferOutput<typeof EnrollBody>,
): Promise<Result<Device, Response>> {
  const key = await readDeviceKey(body.publicKeyPem)
  if (!key.ok) return refuse(problem(key.reason))
  const encryptionKey = await readAgreementKey(body.encryptionKey, key.value)
  if (!encryptionKey.ok) return refuse(problem(encryptionKey.reason))
  return ok({ key: key.value, encryptionKey: encryptionKey.value })
}

/** The agreement key in `jwk`: public, P-256, and another key than the one that signs (5-security 350). */
async function readAgreementKey(
  jwk: Record<string, unknown> | undefined,
  deviceKey: DeviceKey,
): Promise<Result<DeviceKey | undefined, 'invalid_key'>> {
  if (jwk === undefined) return ok(undefined)
  const key = await readPublicJwk(jwk)
  return key.ok && key.value.jwk.x === deviceKey.jwk.x ? refuse('invalid_key') : key
}

/** The enroll statement, if its challenge is good, the device key signed it, and it binds everything sent beside it. */
async function readEnrollStatement(
  { config }: EnrollmentHouse,
  body: v.InferOutput<typeof EnrollBody>,
  device: Device,
  now: number,
): Promise<Result<Payload<'idtoken-enroll+jwt'>, 'invalid_request' | 'invalid_statement'>> {
  const read = readStatement(body.statement, 'idtoken-enroll+jwt', config.issuer)
  if (!read.ok) return read
  const { payload } = read.value
  if (payload.challenge === undefined) return refuse('invalid_request')
  const binds =
    payload.deviceId === body.deviceId &&
    payload.fcm === (await digestOf(body.fcmToken)) &&
    payload.enc === device.encryptionKey?.thumbprint
  if (
    !binds ||
    !isFresh(payload.iat, now) ||
    !(await isChallengeGood(config.master, config.issuer, payload.challenge, now)) ||
    !(await isSignedBy(read.value, device.key))
  ) {
    return refuse('invalid_statement')
  }
  return ok(payload)
}

/** Base64url SHA-256 of a push token; `undefined` when none was sent. */
async function digestOf(fcmToken: string | undefined): Promise<string | undefined> {
  return fcmToken ? toBase64url(await sha256(fcmToken)) : undefined
}

async function readSeal(
  house: EnrollmentHouse,
  vdsData: string,
  now: number,
): Promise<Result<VerifiedSeal, Response>> {
  const seal = await parseSeal(vdsData)
  const trust = await house.trust.current()
  if (!seal.ok || trust === undefined)
    return refused(house, seal.ok ? 'no_trust_list' : seal.reason)
  const verified = await verifySeal(seal.value, {
    trust,
    now,
    // A revoked seal is named with the binding, because a revocation of ours answers otherwise than an imported one.
    revoked: false,
    graceSeconds: house.config.trustListGraceSeconds,
    use: 'enrollment',
  })
  if (verified.ok) return verified
  return refused(house, faultsOf(verified.reason).join(' '), verified.reason.code)
}

/** Reasons go to the log, bland text to the caller (1-architecture decision 14). */
async function refused(
  { audit }: EnrollmentHouse,
  reason: string,
  code: 'invalid_vds' | 'vds_expired' = 'invalid_vds',
  options: ProblemOptions = {},
): Promise<Result<never, Response>> {
  await audit.line({ event: 'refused', where: 'enroll', reason })
  return refuse(problem(code, options))
}

/** Whether `grant` is good. One that isn't counts as none, and its fault is for the log. */
async function isGranted(
  { config, trust, audit }: EnrollmentHouse,
  grant: string | undefined,
  seal: VerifiedSeal,
  key: DeviceKey,
  now: number,
): Promise<boolean> {
  const list = await trust.current()
  if (grant === undefined || list === undefined) return false
  const verified = await verifyGrant(grant, {
    trust: list,
    issuer: config.issuer,
    caId: seal.caId,
    fingerprint: seal.fingerprint,
    deviceThumbprint: key.thumbprint,
    now,
  })
  if (!verified.ok) await audit.line({ event: 'refused', where: 'grant', reason: verified.reason })
  return verified.ok
}

/** Who counts against which limit. */
interface Quota {
  /** The caller's address as a keyed hash: enough to count by, useless to whoever reads the table. */
  readonly address: string
  /** Successful enrollments in an hour; an issuance station has its own (5-security 149). */
  readonly limit: number
}

async function quotaOf({ config }: EnrollmentHouse, c: Context): Promise<Quota> {
  const bucket = addressBucket(c.req.raw.headers, config.clientAddressHeader)
  const key = await deriveKey(config.master, 'address', stableVersion(config.master))
  const kiosk = config.kioskAddresses.includes(bucket)
  return {
    address: toBase64url(await hmacSha256(key, bucket)),
    limit: kiosk ? config.kioskEnrollmentsPerHour : config.enrollmentsPerHour,
  }
}

function tooManyEnrollments(): Response {
  return problem('too_many_requests', { retryAfter: 3600 })
}

function enrolled({ tokenId, expiresAt }: Enrollment): Response {
  return json({ enrolled: true, tokenId, expiresAt: new Date(expiresAt * 1000).toISOString() })
}
