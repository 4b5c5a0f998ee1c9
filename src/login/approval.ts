/** What the Worker finds out about an approval before it asks the object: all D1 and seal work, no transition. */
import { sha256, toBase64url } from '../bytes.ts'
import { claimsFor } from '../disclosure/claims.ts'
import { expandScopes } from '../disclosure/scopes.ts'
import {
  isSignedBy,
  type Payload,
  type Statement,
  type StatementType,
} from '../enrollment/statement.ts'
import { parseSeal } from '../seal/seal.ts'
import type { TrustList } from '../seal/trust-list.ts'
import { faultsOf, type VerifiedSeal, verifySeal } from '../seal/verify.ts'
import type { Granted } from './door.ts'
import type { Approval, Signer } from './session.ts'
import type { Standing } from './store.ts'

/** Who signed `statement`, by the enrollment of the tokenId that it names. `now` in Unix seconds. */
export async function signerOf(
  statement: Statement<StatementType>,
  tokenId: string,
  standing: Standing,
  now: number,
): Promise<Signer> {
  const { enrollment, sealRevoked, disabledServices, withdrawnVds, trustedServices } = standing
  const expired = enrollment !== undefined && now > enrollment.expiresAt
  return {
    tokenId,
    thumbprint: statement.kid,
    signed: enrollment !== undefined && (await isSignedBy(statement, enrollment.deviceKey)),
    enrollment: enrollment?.status ?? 'absent',
    seal: sealRevoked ? 'invalid_vds' : expired ? 'vds_expired' : 'stands',
    disabledServices,
    withdrawnVds,
    trustedServices,
  }
}

export interface ApprovalFacts {
  readonly approval: Approval
  /** What the seal gives for the granted scopes; `null` when it gives nothing. */
  readonly granted: Granted | null
  /** Why the seal was refused, for the log. */
  readonly sealFaults: readonly string[]
}

/** `now` in Unix seconds. `trust` is the list in force, `undefined` when there is none. */
export async function gatherApproval(
  statement: Statement<'idtoken-approve+jwt'>,
  vdsData: string,
  standing: Standing,
  trust: { readonly list: TrustList | undefined; readonly graceSeconds: number },
  now: number,
): Promise<ApprovalFacts> {
  const { payload } = statement
  const signer = await signerOf(statement, payload.tokenId, standing, now)
  const seal = signer.signed
    ? await judgeSeal(vdsData, payload, standing, trust, now)
    : { verdict: 'invalid_vds' as const, faults: ['unsigned'] }
  const approval: Approval = {
    signer,
    digest: await decisionDigest(payload),
    nonce: payload.nonce,
    service: payload.service,
    origin: payload.origin,
    otp: payload.otp,
    grantedScopes: payload.grantedScopes,
    seal: seal.verdict,
    trustLevel: seal.verified === undefined ? 1 : trustLevelOf(standing, seal.verified),
  }
  return {
    approval,
    granted: seal.verified === undefined ? null : grantOf(payload, standing, seal.verified, now),
    sealFaults: seal.faults,
  }
}

/**
 * Names what was decided, without `iat` and without the signature: an identical retry is the same decision however often
 * it is signed, and a malleated signature makes no new one (5-security 133, 222).
 */
export async function decisionDigest(
  payload: Payload<'idtoken-approve+jwt'> | Payload<'idtoken-deny+jwt'>,
): Promise<string> {
  const { iat: _iat, ...decided } = payload
  const members = Object.entries(decided).sort(([a], [b]) => (a < b ? -1 : 1))
  return toBase64url(await sha256(JSON.stringify(members)))
}

interface SealJudgement {
  readonly verdict: Approval['seal']
  readonly verified?: VerifiedSeal
  readonly faults: readonly string[]
}

async function judgeSeal(
  vdsData: string,
  payload: Payload<'idtoken-approve+jwt'>,
  { enrollment, sealRevoked }: Standing,
  { list, graceSeconds }: { readonly list: TrustList | undefined; readonly graceSeconds: number },
  now: number,
): Promise<SealJudgement> {
  const seal = await parseSeal(vdsData)
  if (!seal.ok) return { verdict: 'invalid_vds', faults: [seal.reason] }
  const { fingerprint } = seal.value
  if (fingerprint !== enrollment?.sealFingerprint || fingerprint !== payload.seal) {
    return { verdict: 'mismatch', faults: [] }
  }
  if (list === undefined) return { verdict: 'invalid_vds', faults: ['no_trust_list'] }
  const verified = await verifySeal(seal.value, {
    trust: list,
    now,
    revoked: sealRevoked,
    graceSeconds,
    use: 'login',
  })
  if (verified.ok) return { verdict: 'valid', verified: verified.value, faults: [] }
  return { verdict: verified.reason.code, faults: faultsOf(verified.reason) }
}

/** The lower of what the binding is worth and what the seal is worth now (1-architecture decision 15). */
function trustLevelOf({ enrollment }: Standing, seal: VerifiedSeal): 1 | 2 | 3 {
  const bound = enrollment?.trustLevel ?? 1
  return bound < seal.trustLevel ? bound : seal.trustLevel
}

function grantOf(
  payload: Payload<'idtoken-approve+jwt'>,
  standing: Standing,
  seal: VerifiedSeal,
  now: number,
): Granted | null {
  const scopes = expandScopes(payload.grantedScopes)
  if (!scopes.ok || standing.enrollment === undefined) return null
  const trustLevel = trustLevelOf(standing, seal)
  const today = new Date(now * 1000).toISOString().slice(0, 10)
  return {
    tokenId: payload.tokenId,
    enrollmentId: standing.enrollment.enrollmentId,
    scopes: scopes.value,
    claims: claimsFor(seal.identity, scopes.value, { today, trustLevel }),
    trustLevel,
    approvedAt: now,
  }
}
