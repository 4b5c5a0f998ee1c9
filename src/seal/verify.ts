/** Whether a seal is true now: separate facts for the log, one verdict for the caller (3-seal 1.4). */
import { ok, type Result, refuse } from '../result.ts'
import { IDENTITY_MANIFEST } from './manifest.ts'
import { verifyP256 } from './p256.ts'
import { type Identity, readIdentity, type TrustLevel } from './payload.ts'
import type { Seal } from './seal.ts'
import {
  type Freshness,
  listFreshness,
  signerOf,
  type TrustList,
  withinValidity,
} from './trust-list.ts'

/** How far ahead of our clock an issuer's may be, in seconds. */
const CREATION_SKEW = 300

/** What a seal is verified against; `now` and `graceSeconds` in seconds, `revoked` as the store says of its fingerprint. */
export interface Verification {
  readonly trust: TrustList
  readonly now: number
  readonly revoked: boolean
  readonly graceSeconds: number
  /** Enrollment needs a fresh list; a login goes on through the grace. */
  readonly use: 'enrollment' | 'login'
}

/** Each is true when it holds. A fact that cannot be known, because another failed, does not hold. */
export interface SealFacts {
  /** The payload keeps the profile of its manifest. */
  readonly profile: boolean
  /** The trust list knows the signer reference. */
  readonly signer: boolean
  readonly signature: boolean
  readonly signerActive: boolean
  readonly signerValidity: boolean
  /** The signer may sign identity seals. */
  readonly usage: boolean
  /** The signer may use this manifest. */
  readonly manifest: boolean
  readonly listFreshness: boolean
  readonly notRevoked: boolean
  readonly creationTime: boolean
  readonly expiry: boolean
}

export interface VerifiedSeal {
  readonly fingerprint: string
  readonly caId: string
  readonly identity: Identity
  /** The lower of what the seal and the trust list state. */
  readonly trustLevel: TrustLevel
  /** Unix seconds. */
  readonly issuedAt: number
  /** Unix seconds. */
  readonly expiresAt: number
  /** `grace` only for a login: worth a warning in the log. */
  readonly listFreshness: Freshness
}

export interface SealRefusal {
  /** `vds_expired` when expiry is the one fact that does not hold. */
  readonly code: 'invalid_vds' | 'vds_expired'
  readonly facts: SealFacts
}

/** The identity of `seal` when every fact holds, else the code for the caller and the facts for the log. */
export async function verifySeal(
  seal: Seal,
  against: Verification,
): Promise<Result<VerifiedSeal, SealRefusal>> {
  const { trust, now } = against
  const signer = signerOf(trust, seal)
  const freshness = listFreshness(trust, now, against.graceSeconds)
  const identity = identityOf(seal, now)

  const facts: SealFacts = {
    profile: identity !== undefined,
    signer: signer !== undefined,
    signature:
      signer !== undefined && (await verifyP256(signer.key, seal.signature, seal.signedBytes)),
    signerActive: signer?.status === 'active',
    signerValidity: signer !== undefined && withinValidity(signer, now),
    usage: signer?.purposes.includes('identity-seal') ?? false,
    manifest: signer?.manifests.includes(seal.manifest) ?? false,
    listFreshness: freshness === 'fresh' || (freshness === 'grace' && against.use === 'login'),
    notRevoked: !against.revoked,
    creationTime: seal.createdAt <= now + CREATION_SKEW,
    expiry: identity !== undefined && now <= identity.expiresAt,
  }
  if (identity === undefined || signer === undefined || !allHold(facts)) {
    const onlyExpired = allHold({ ...facts, expiry: true })
    return refuse({ code: onlyExpired ? 'vds_expired' : 'invalid_vds', facts })
  }
  return ok({
    fingerprint: seal.fingerprint,
    caId: seal.caId,
    identity,
    trustLevel: lower(identity.trustLevel ?? 3, signer.maxTrustLevel),
    issuedAt: seal.createdAt,
    expiresAt: identity.expiresAt,
    listFreshness: freshness,
  })
}

/** The identity a seal states, when it is of our manifest and keeps its profile. */
function identityOf(seal: Seal, now: number): Identity | undefined {
  if (seal.manifest !== IDENTITY_MANIFEST.id) return undefined
  const today = new Date(now * 1000).toISOString().slice(0, 10)
  const read = readIdentity(seal.payload, today)
  return read.ok ? read.value : undefined
}

/** The names of the facts that do not hold: what the log says of a refusal. */
export function faultsOf({ facts }: SealRefusal): readonly string[] {
  return Object.entries(facts)
    .filter(([, holds]) => !holds)
    .map(([fact]) => fact)
}

function allHold(facts: SealFacts): boolean {
  return Object.values(facts).every((holds) => holds)
}

function lower(a: TrustLevel, b: TrustLevel): TrustLevel {
  return a < b ? a : b
}
