/**
 * The access token that FCM wants: a signed assertion is exchanged for it (RFC 7523 section 2.1, Google's service account
 * flow). Three pure steps; `fcm.ts` does the call between them and keeps the token.
 */
import { importPKCS8, SignJWT } from 'jose'
import * as v from 'valibot'
import { ok, type Result, refuse } from '../result.ts'
import type { ServiceAccount } from './service-account.ts'

const SCOPE = 'https://www.googleapis.com/auth/firebase.messaging'
const LONGEST_LIFE = 3600

/** A POST with a form body. */
export type TokenRequest = { readonly url: string; readonly body: string }

/** `token` is fit for an Authorization header; `expiresAt` in Unix seconds. */
export type AccessToken = { readonly token: string; readonly expiresAt: number }

/** The exchange request of `account` at `now` (Unix seconds). Refused when the private key can't sign RS256. */
export async function buildTokenRequest(
  account: ServiceAccount,
  now: number,
): Promise<Result<TokenRequest, 'unusable_key'>> {
  const issuedAt = Math.floor(now)
  try {
    const key = await importPKCS8(account.privateKey, 'RS256')
    const assertion = await new SignJWT({ scope: SCOPE })
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT', kid: account.privateKeyId })
      .setIssuer(account.clientEmail)
      .setAudience(account.tokenEndpoint)
      .setIssuedAt(issuedAt)
      .setExpirationTime(issuedAt + LONGEST_LIFE)
      .sign(key)
    const form = { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion }
    return ok({ url: account.tokenEndpoint, body: new URLSearchParams(form).toString() })
  } catch {
    return refuse('unusable_key')
  }
}

const answerShape = v.object({
  access_token: v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,8192}$/)),
  expires_in: v.pipe(v.number(), v.integer(), v.minValue(1)),
  token_type: v.pipe(v.string(), v.regex(/^bearer$/i)),
})

/**
 * Reads the answer to a request sent at `now`. `rejected`: they refuse us (key disabled, clock off, scope), which a person must
 * mend; `unreadable`: their fault, or a body that isn't what RFC 6749 section 5.1 says.
 */
export function readTokenAnswer(
  status: number,
  bodyText: string,
  now: number,
): Result<AccessToken, 'rejected' | 'unreadable'> {
  if (status >= 400 && status < 500 && status !== 429) return refuse('rejected')
  if (status !== 200) return refuse('unreadable')
  const parsed = v.safeParse(answerShape, parseJson(bodyText))
  if (!parsed.success) return refuse('unreadable')
  const life = Math.min(parsed.output.expires_in, LONGEST_LIFE)
  return ok({ token: parsed.output.access_token, expiresAt: now + life })
}

/**
 * When to fetch the next token, in Unix seconds: after 80 to 90 % of this one's life, spread by `jitter` (0 to 1) so that isolates
 * born together don't exchange together.
 */
export function refreshTime(issuedAt: number, expiresAt: number, jitter: number): number {
  return issuedAt + (expiresAt - issuedAt) * (0.8 + 0.1 * jitter)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
