import { AMR, acrOf } from '../disclosure/acr.ts'
import type { Granted } from '../login/door.ts'

/** How many random bytes name a token (`jti`). */
export const JTI_BYTES = 16

/** The claims of a direct JWT (2-protocol section 4). `now` in Unix seconds. */
export function directClaims(
  about: {
    readonly issuer: string
    readonly audience: string
    readonly subject: string
    readonly nonce: string
    readonly jti: string
    /** By which the service has the person rung again; `null`: none, it knows or is to know nobody. */
    readonly loginHandle: string | null
    readonly lifetimeSeconds: number
  },
  granted: Granted,
  now: number,
): Record<string, unknown> {
  return {
    ...granted.claims,
    iss: about.issuer,
    aud: about.audience,
    sub: about.subject,
    iat: now,
    exp: now + Math.min(about.lifetimeSeconds, 3600),
    jti: about.jti,
    nonce: about.nonce,
    auth_time: granted.approvedAt,
    acr: acrOf(granted.trustLevel),
    amr: AMR,
    scope: granted.scopes.join(' '),
    ...(about.loginHandle === null ? {} : { login_handle: about.loginHandle }),
  }
}
