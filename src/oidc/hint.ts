/** An `id_token_hint`: it names who is expected, and never logs anybody in or out by itself (4-oidc section 3.2). */

export interface Hint {
  readonly clientId: string
  readonly sub: string
  readonly sid: string
}

/**
 * The hint in the payload of a token that we signed, or `undefined` when that is no id_token: the JWT of the direct door
 * has the same key and form, but belongs to no session.
 */
export function hintOf(payload: Readonly<Record<string, unknown>> | undefined): Hint | undefined {
  const { aud, sub, sid } = payload ?? {}
  if (typeof aud !== 'string' || typeof sub !== 'string' || typeof sid !== 'string') {
    return undefined
  }
  return { clientId: aud, sub, sid }
}
