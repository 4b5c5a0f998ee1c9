/**
 * The OAuth `scope` text, in both directions: what a client asks by it, and what the token answer says was granted. What a
 * scope means is disclosure/'s; `email` and `offline_access` disclose nothing of a seal and exist at this door only.
 */
import { type AtomicScope, expandScopes, isSubset, SCOPE_NAMES } from '../disclosure/scopes.ts'
import { ok, type Result, refuse } from '../result.ts'

/**
 * Every scope a client may name here, in the canonical order: `openid`, the other atoms and then the composites as
 * 2-protocol section 5 lists them, `email`, `offline_access`. Scopes are a set: whatever order they came in, this is the
 * order they are kept and answered in.
 */
export const SUPPORTED_SCOPES: readonly string[] = [...SCOPE_NAMES, 'email', 'offline_access']

/** What `scope` asks. */
export interface ScopeRequest {
  /** The names that are known, canonical order; `offline_access` only when the client may have it. */
  readonly requestedScopes: readonly string[]
  /** The disclosures they stand for, sorted, without `openid`. */
  readonly disclosures: readonly AtomicScope[]
  readonly offlineAccess: boolean
  readonly email: boolean
}

/**
 * Reads the `scope` parameter (RFC 6749 section 3.3). `ceiling` holds the disclosures that the client may ask at all;
 * `offlineAccess` says whether it may have a refresh token: it is not told when it may not (OIDC Core section 11).
 * @returns `invalid_scope` without `openid`, for an unknown scope that begins with `identity:`, and beyond the ceiling;
 * any other unknown scope is ignored (OIDC Core section 3.1.2.1)
 */
export function readScope(
  text: string | undefined,
  client: { readonly ceiling: readonly AtomicScope[]; readonly offlineAccess: boolean },
): Result<ScopeRequest, 'invalid_scope'> {
  const asked = new Set(text?.split(' '))
  if (!asked.has('openid')) return refuse('invalid_scope')
  if (!client.offlineAccess) asked.delete('offline_access')
  const ours = [...asked].filter((name) => name.startsWith('identity:'))
  if (!isSubset(ours, SUPPORTED_SCOPES)) return refuse('invalid_scope')

  const requestedScopes = SUPPORTED_SCOPES.filter((name) => asked.has(name))
  const disclosures = [...new Set(requestedScopes.flatMap(disclosuresOf))].sort()
  if (!isSubset(disclosures, client.ceiling)) return refuse('invalid_scope')
  return ok({
    requestedScopes,
    disclosures,
    offlineAccess: asked.has('offline_access'),
    email: asked.has('email'),
  })
}

/**
 * The `scope` of the token answer, canonical order: `openid`; each requested scope whose disclosures were all `granted`,
 * under the name it was asked by; every other granted disclosure as the atom it is (what is left of a composite, and what
 * was asked through `claims` only); `email` and `offline_access` as `extras` say that they give something.
 */
export function grantedScope(
  requestedScopes: readonly string[],
  granted: readonly AtomicScope[],
  extras: { readonly offlineAccess: boolean; readonly email: boolean },
): string {
  const whole = requestedScopes.filter((name) => {
    const disclosures = disclosuresOf(name)
    return disclosures.length > 0 && isSubset(disclosures, granted)
  })
  const covered = whole.flatMap(disclosuresOf)
  const names = new Set<string>([
    'openid',
    ...whole,
    ...granted.filter((scope) => !covered.includes(scope)),
    ...(extras.email ? ['email'] : []),
    ...(extras.offlineAccess ? ['offline_access'] : []),
  ])
  return SUPPORTED_SCOPES.filter((name) => names.has(name)).join(' ')
}

/** The part of the `granted` scope that is asked for now; `undefined` when more is asked (RFC 6749 section 6). */
export function narrowedScope(granted: string, asked: string | undefined): string | undefined {
  if (asked === undefined) return granted
  const names = granted.split(' ')
  const wanted = asked.split(' ').filter((name) => name !== '')
  if (wanted.length === 0 || !wanted.every((name) => names.includes(name))) return undefined
  return names.filter((name) => wanted.includes(name)).join(' ')
}

/** The disclosures that one scope stands for: none for `openid` and for whatever is not in the catalogue. */
export function disclosuresOf(name: string): readonly AtomicScope[] {
  const atoms = expandScopes([name])
  return atoms.ok ? atoms.value.filter((scope) => scope !== 'openid') : []
}
