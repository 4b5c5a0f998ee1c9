/** The enrollment grant: the issuer's word that the holder of this device key may enroll with this seal (2-protocol 3). */
import * as v from 'valibot'
import { ok, type Result, refuse } from '../result.ts'
import { type JwsFault, openJws } from './list-jws.ts'
import { grantKey, type TrustList } from './trust-list.ts'

export const GRANT_TYP = 'idtoken-grant+jwt'
const MAX_LENGTH = 4096
/** Seconds a grant may still have to live. */
const MAX_LIFE = 600

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(500))
const seconds = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const contentSchema = v.strictObject({
  iss: text,
  aud: text,
  sub: text,
  jkt: text,
  exp: seconds,
  iat: v.exactOptional(seconds),
  jti: v.exactOptional(text),
})

/** What a grant must be bound to, besides being signed by a grant key of the seal's CA that is valid at `now`. */
export interface GrantBinding {
  readonly trust: TrustList
  /** The issuer URL of this deployment. */
  readonly issuer: string
  /** The CA of the seal. */
  readonly caId: string
  /** The fingerprint of the seal. */
  readonly fingerprint: string
  /** RFC 7638 thumbprint of the device key. */
  readonly deviceThumbprint: string
  readonly now: number
}

export type GrantFault =
  | JwsFault
  | 'other_issuer'
  | 'other_audience'
  | 'other_seal'
  | 'other_device'
  | 'expired'
  | 'too_long_lived'

/**
 * Whether `jws` grants this enrollment; a fault counts as no grant and its name is for the log. `kid` must be the
 * thumbprint of a trust-list key of that CA with the purpose `enrollment-grant`, active and within its validity.
 */
export async function verifyGrant(
  jws: string,
  binding: GrantBinding,
): Promise<Result<{ readonly kid: string; readonly expiresAt: number }, GrantFault>> {
  let signer = ''
  const keyOf = async (kid: string) => {
    signer = kid
    return grantKey(binding.trust, binding.caId, kid, binding.now)?.key
  }
  const opened = await openJws(jws, { typ: GRANT_TYP, maxLength: MAX_LENGTH, keyOf })
  if (!opened.ok) return opened
  const parsed = v.safeParse(contentSchema, opened.value)
  if (!parsed.success) return refuse('bad_payload')
  const grant = parsed.output
  if (grant.iss !== binding.caId) return refuse('other_issuer')
  if (grant.aud !== binding.issuer) return refuse('other_audience')
  if (grant.sub !== binding.fingerprint) return refuse('other_seal')
  if (grant.jkt !== binding.deviceThumbprint) return refuse('other_device')
  if (grant.exp <= binding.now) return refuse('expired')
  if (grant.exp > binding.now + MAX_LIFE) return refuse('too_long_lived')
  return ok({ kid: signer, expiresAt: grant.exp })
}
