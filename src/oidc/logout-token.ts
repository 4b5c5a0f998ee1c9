/** How many random bytes name a logout token (`jti`). */
export const LOGOUT_JTI_BYTES = 16
/** Two minutes at most, as OpenID Connect Back-Channel Logout section 4 recommends. */
export const LOGOUT_TOKEN_SECONDS = 120

const EVENT = 'http://schemas.openid.net/event/backchannel-logout'

/**
 * The claims of a logout token (Back-Channel Logout section 2.4). There is no `nonce`: one is forbidden, so that the token
 * can't pass for an id_token. The header must say `typ: logout+jwt`. `now` in Unix seconds.
 */
export function logoutTokenClaims(
  about: {
    readonly issuer: string
    readonly clientId: string
    /** As in the id_tokens of this client. */
    readonly sub: string
    readonly sid: string
    readonly jti: string
  },
  now: number,
): Record<string, unknown> {
  return {
    iss: about.issuer,
    aud: about.clientId,
    sub: about.sub,
    sid: about.sid,
    iat: now,
    exp: now + LOGOUT_TOKEN_SECONDS,
    jti: about.jti,
    events: { [EVENT]: {} },
  }
}
