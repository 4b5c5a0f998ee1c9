import type { ProblemCode } from '../http/problem.ts'
import type { DeviceKey } from './device-key.ts'

/** A tokenId bound to a device key. All times are Unix seconds. */
export interface Enrollment {
  readonly tokenId: string
  /** Names this binding: what was issued for it dies with it, though the tokenId lives on. */
  readonly enrollmentId: string
  readonly status: 'active' | 'revoked'
  readonly caId: string
  readonly sealFingerprint: string
  readonly sealIssuedAt: number
  readonly expiresAt: number
  readonly trustLevel: 1 | 2 | 3
  /** Whether the issuer granted this binding; one without a grant gives way to one with. */
  readonly granted: boolean
  readonly deviceId: string
  readonly deviceKey: DeviceKey
  readonly encryptionKey: DeviceKey['jwk'] | null
  readonly fcmToken: string | null
  readonly statementIat: number
  readonly enrolledAt: number
  readonly revokedAt: number | null
}

/** What an enrollment asks of D1 before it binds anything. */
export interface Binding {
  /** The row of the tokenId, active or revoked. */
  readonly enrollment: Enrollment | undefined
  /** The tokenId for which this device key is enrolled already. */
  readonly keyOwner: string | undefined
  /** Who revoked the seal: an operator here, or the imported list. */
  readonly sealRevokedBy: 'operator' | 'list' | undefined
}

/** What an enrollment asks for, once statement, seal and grant have been verified. */
export interface EnrollmentRequest {
  readonly tokenId: string
  readonly caId: string
  readonly sealFingerprint: string
  readonly sealIssuedAt: number
  readonly thumbprint: string
  readonly granted: boolean
}

export type Judgement =
  | { readonly act: 'refuse'; readonly code: ProblemCode }
  /** The same request was stored already: it is answered as it was then. */
  | { readonly act: 'repeat'; readonly enrollment: Enrollment }
  | { readonly act: 'bind'; readonly replaces: Enrollment | undefined }

/**
 * Whether `asked` may be bound, given what D1 holds (2-protocol section 3, "checks in order"). This names the refusal;
 * the conditional insert of the store is what decides when two requests meet.
 */
export function judge(asked: EnrollmentRequest, binding: Binding): Judgement {
  const present = binding.enrollment
  if (present !== undefined && present.caId !== asked.caId) return refusal('already_enrolled')

  if (present?.status === 'active') {
    const sameKey = present.deviceKey.thumbprint === asked.thumbprint
    if (
      sameKey &&
      present.sealFingerprint === asked.sealFingerprint &&
      present.granted >= asked.granted
    ) {
      return binding.sealRevokedBy !== undefined
        ? refusal('invalid_vds')
        : { act: 'repeat', enrollment: present }
    }
    const renews =
      sameKey && asked.granted >= present.granted && asked.sealIssuedAt > present.sealIssuedAt
    const outranks = asked.granted && !present.granted
    if (!renews && !outranks) return refusal('already_enrolled')
  }
  if (present?.revokedAt != null && asked.sealIssuedAt <= present.revokedAt) {
    return refusal('token_revoked')
  }
  // An issuer's clock may run ahead of ours: a seal that was revoked here stays so, whatever time it bears.
  if (binding.sealRevokedBy === 'operator') return refusal('token_revoked')
  if (binding.sealRevokedBy === 'list') return refusal('invalid_vds')
  if (binding.keyOwner !== undefined && binding.keyOwner !== asked.tokenId) {
    return refusal('key_in_use')
  }
  return { act: 'bind', replaces: present?.status === 'active' ? present : undefined }
}

function refusal(code: ProblemCode): Judgement {
  return { act: 'refuse', code }
}
