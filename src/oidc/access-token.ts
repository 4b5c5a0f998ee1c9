/**
 * The access token: a box sealed to ourselves, with all that userinfo answers, so that no store of attributes exists
 * (1-architecture decision 10). On purpose it is no JWE: we need no header to tell us an algorithm, and so every JWE of five
 * parts, whatever its `alg`, `zip` or `p2c`, is refused by its shape before any key is touched (5-security 123).
 */
import * as v from 'valibot'
import type { MasterSecret } from '../keys/master-secret.ts'
import { sealBox } from '../keys/sealed-box.ts'
import { claimsSchema, type Grant, openContent, sealedNumber, sealedText } from './grant.ts'

/** How long an access token lives. */
export const ACCESS_TOKEN_SECONDS = 3600

/** Like any single JWT (5-security section 1). */
const MAX_LENGTH = 16 * 1024
const CONTEXT = 'oidc access token'

type OfGrant = Exclude<keyof Grant, 'scope' | 'sid'>

export interface AccessTokenContent extends Pick<Grant, OfGrant> {
  /** The scopes of this token: those of the grant, or fewer. `claims` must hold no more than they give. */
  readonly scope: string
  /** The thumbprint of the key that must be proved with it (RFC 9449 section 6); absent: whoever bears it. */
  readonly jkt?: string
  /** Unix seconds. */
  readonly iat: number
  /** Unix seconds; `iat` + `ACCESS_TOKEN_SECONDS`. */
  readonly exp: number
}

const contentSchema = v.strictObject({
  grantId: sealedText,
  clientId: sealedText,
  tokenId: sealedText,
  enrollmentId: sealedText,
  sub: sealedText,
  scope: sealedText,
  claims: claimsSchema,
  trustLevel: v.picklist([1, 2, 3]),
  authTime: sealedNumber,
  jkt: v.exactOptional(sealedText),
  iat: sealedNumber,
  exp: sealedNumber,
}) satisfies v.GenericSchema<unknown, AccessTokenContent>

/** An access token with `content`. `random12`: twelve fresh random bytes, which also make each token another text. */
export async function sealAccessToken(
  master: MasterSecret,
  content: AccessTokenContent,
  random12: Uint8Array,
): Promise<string> {
  const { grantId, clientId, tokenId, enrollmentId, sub, scope, claims, ...rest } = content
  const { trustLevel, authTime, jkt, iat, exp } = rest
  const plaintext = JSON.stringify({
    ...{ grantId, clientId, tokenId, enrollmentId, sub, scope, claims },
    ...{ trustLevel, authTime, jkt, iat, exp },
  })
  return sealBox(master, 'token', plaintext, CONTEXT, random12)
}

/**
 * What the access token `text` says, or `undefined` when it is none of ours or has ended at `now` (Unix seconds). Whether
 * its grant and its enrollment still stand is for the caller to ask.
 */
export async function openAccessToken(
  master: MasterSecret,
  text: string,
  now: number,
): Promise<AccessTokenContent | undefined> {
  if (text.length > MAX_LENGTH) return undefined
  const content = await openContent(master, 'token', text, CONTEXT, contentSchema)
  return content !== undefined && now < content.exp ? content : undefined
}
