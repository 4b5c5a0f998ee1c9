/**
 * The refresh token and the rules of its rotation. A family is one grant's line of refresh tokens; D1 keeps its present
 * generation and its times, the attributes travel in the token. Each use makes the next generation and ends the last.
 */
import * as v from 'valibot'
import type { MasterSecret } from '../keys/master-secret.ts'
import { sealBox } from '../keys/sealed-box.ts'
import { type Grant, grantSchema, openContent, sealedNumber, sealedText } from './grant.ts'

/** How many random bytes name a family. */
export const FAMILY_ID_BYTES = 16
/**
 * How long the previous token still gets the one successor again. An answer can be lost on its way, and FAPI 2 sends the
 * previous token 30 s after the rotation and wants 200 (4-oidc trap 7).
 */
export const GRACE_SECONDS = 60
/** A family that nobody uses ends: a forgotten device is a device that somebody may find. */
export const FAMILY_IDLE_SECONDS = 30 * 86_400
/**
 * A family that is used ends too. Refreshing repeats what the seal said at the approval (a name, an age, a trust level) and
 * no person is asked; after half a year that word is old enough to be given again by its owner.
 */
export const FAMILY_LONGEST_SECONDS = 180 * 86_400

/** A form of the token endpoint holds no more. */
const MAX_LENGTH = 16 * 1024
const CONTEXT = 'oidc refresh token'

export interface RefreshTokenContent {
  /** Base64url of 16 random bytes. */
  readonly familyId: string
  /** 0 for the first token of a family. */
  readonly generation: number
  readonly grant: Grant
  /** The thumbprint of the key that must be proved with it; absent: none. */
  readonly jkt?: string
  /** The resource that its access tokens are for (RFC 8707); absent: none was asked at the beginning. */
  readonly resource?: string
  /** Unix seconds. */
  readonly issuedAt: number
}

const contentSchema = v.strictObject({
  familyId: sealedText,
  generation: sealedNumber,
  grant: grantSchema,
  jkt: v.exactOptional(sealedText),
  resource: v.exactOptional(sealedText),
  issuedAt: sealedNumber,
}) satisfies v.GenericSchema<unknown, RefreshTokenContent>

/** A refresh token with `content`. `random12`: twelve fresh random bytes. */
export async function sealRefreshToken(
  master: MasterSecret,
  content: RefreshTokenContent,
  random12: Uint8Array,
): Promise<string> {
  const { familyId, generation, grant, jkt, resource, issuedAt } = content
  const plaintext = JSON.stringify({ familyId, generation, grant, jkt, resource, issuedAt })
  return sealBox(master, 'token', plaintext, CONTEXT, random12)
}

/** What a refresh token says, or `undefined` when it is none of ours. What it is worth, `judgeRefresh` tells. */
export async function openRefreshToken(
  master: MasterSecret,
  text: string,
): Promise<RefreshTokenContent | undefined> {
  if (text.length > MAX_LENGTH) return undefined
  return openContent(master, 'token', text, CONTEXT, contentSchema)
}

/** What D1 says of a family. Times in Unix seconds. */
export interface RefreshFamily {
  /** The generation of the token that may be used now. */
  readonly generation: number
  /** When that generation began. */
  readonly rotatedAt: number
  /** See `familyEnd`. */
  readonly expiresAt: number
}

/**
 * `rotate`: give the next generation. `repeat`: a lost answer, or the slower of two parallel uses; give the present
 * generation again. `replay`: a copy is about, the family must die. `expired`: its time is over.
 */
export type RefreshVerdict = 'rotate' | 'repeat' | 'replay' | 'expired'

/**
 * What presenting a token of generation `presented.generation` to `family` means at `now`. The caller's conditional write
 * on the generation decides between two that both read `rotate`; the loser reads again and finds `repeat`.
 */
export function judgeRefresh(
  presented: Pick<RefreshTokenContent, 'generation'>,
  family: RefreshFamily,
  now: number,
): RefreshVerdict {
  if (now >= family.expiresAt) return 'expired'
  if (presented.generation === family.generation) return 'rotate'
  const isPrevious = presented.generation === family.generation - 1
  // A generation that we never issued can't be sealed by us, unless the database lost a rotation: that is no pass either.
  return isPrevious && now - family.rotatedAt <= GRACE_SECONDS ? 'repeat' : 'replay'
}

/** When a family that began at `startedAt` and is used at `now` ends: all in Unix seconds. */
export function familyEnd(startedAt: number, now: number): number {
  return Math.min(now + FAMILY_IDLE_SECONDS, startedAt + FAMILY_LONGEST_SECONDS)
}
