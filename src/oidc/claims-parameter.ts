/**
 * The `claims` parameter (OIDC Core section 5.5): strict JSON, read once. A claim that is named asks for the scope that
 * gives it; whether the client may ask that, and what the person grants, is decided elsewhere.
 */
import { utf8 } from '../bytes.ts'
import { lowestLevelOf, type TrustLevel } from '../disclosure/acr.ts'
import { CLAIM_NAMES, scopeOfClaim } from '../disclosure/claims.ts'
import type { AtomicScope } from '../disclosure/scopes.ts'
import { ok, type Result, refuse } from '../result.ts'

/** What `claims` asks. */
export interface ClaimsRequest {
  /** The disclosures that the known claims of either member need, sorted; perhaps more than the client may ask. */
  readonly disclosures: readonly AtomicScope[]
  /** Whether `email` or `email_verified` is asked. */
  readonly email: boolean
  /** The known claims asked under `id_token`, sorted. `sub`, `acr` and the like are in every id_token anyway. */
  readonly idTokenClaims: readonly string[]
  /** The level that an `acr` claim asks at least. */
  readonly minTrustLevel: TrustLevel | null
  /** The one `sub` that may be answered (OIDC Core section 5.5.1). */
  readonly expectedSubject: string | null
}

type Fault = 'invalid_request' | 'unmet_authentication_requirements'
type Members = ReadonlyMap<string, unknown>

/** In UTF-8. */
const MAX_LENGTH = 4096
const EMAIL_CLAIMS = ['email', 'email_verified']
const KNOWN: ReadonlySet<string> = new Set([...CLAIM_NAMES, ...EMAIL_CLAIMS, 'sub', 'acr'])

/**
 * Reads `claims`; absent it asks nothing. Members other than `userinfo` and `id_token` are ignored, and so are claims that
 * are not known.
 * @returns `invalid_request` for what is no JSON, too long, or not of the shape that OIDC Core section 5.5 gives it;
 * `unmet_authentication_requirements` for an essential `acr` none of whose values is ours
 */
export function readClaimsParameter(text: string | undefined): Result<ClaimsRequest, Fault> {
  const root: Members | undefined = text === undefined ? new Map() : membersOf(parseJson(text))
  const userinfo = claimsIn(root?.get('userinfo'))
  const idToken = claimsIn(root?.get('id_token'))
  if (userinfo === undefined || idToken === undefined || root === undefined) {
    return refuse('invalid_request')
  }

  const subject = readSubject([userinfo, idToken])
  if (!subject.ok) return subject
  const levels: TrustLevel[] = []
  for (const claims of [userinfo, idToken]) {
    const level = readAcr(claims.get('acr'))
    if (!level.ok) return level
    if (level.value !== undefined) levels.push(level.value)
  }

  const asked = [...userinfo.keys(), ...idToken.keys()]
  const disclosures = asked.map(scopeOfClaim).filter((scope) => scope !== undefined)
  return ok({
    disclosures: [...new Set(disclosures)].sort(),
    email: EMAIL_CLAIMS.some((name) => asked.includes(name)),
    idTokenClaims: [...CLAIM_NAMES, ...EMAIL_CLAIMS].filter((name) => idToken.has(name)).sort(),
    minTrustLevel: levels.sort().at(-1) ?? null,
    expectedSubject: subject.value,
  })
}

/**
 * The known claims in `userinfo` or `id_token`, or `undefined` for a malformed one. An array is no claim request, but
 * OpenID Identity Assurance sends one for `verified_claims`: what is not known is ignored, not judged.
 */
function claimsIn(value: unknown): Members | undefined {
  if (value === undefined) return new Map()
  const claims = membersOf(value)
  if (claims === undefined) return undefined
  for (const [name, request] of claims) {
    const wellFormed = KNOWN.has(name) ? request === null || membersOf(request) : true
    if (typeof request !== 'object' || !wellFormed) return undefined
  }
  return new Map([...claims].filter(([name]) => KNOWN.has(name)))
}

/** Two different subjects can't both be answered. */
function readSubject(members: readonly Members[]): Result<string | null, 'invalid_request'> {
  const asked = new Set<unknown>()
  for (const claims of members) {
    const value = membersOf(claims.get('sub'))?.get('value')
    if (value !== undefined) asked.add(value)
  }
  if (asked.size === 0) return ok(null)
  const [subject] = asked
  return asked.size === 1 && typeof subject === 'string' ? ok(subject) : refuse('invalid_request')
}

/**
 * The level asked by an `acr` claim. Values ask a minimum, as those of `acr_values` do, whether essential or not; only an
 * essential claim fails when no value is ours (OIDC Core section 5.5.1.1). What can't be read is refused: to overlook it
 * would be a silent downgrade (1-architecture decision 15).
 */
function readAcr(request: unknown): Result<TrustLevel | undefined, Fault> {
  const members = membersOf(request)
  if (members === undefined) return ok(undefined)
  const [value, values = [], essential = false] = ['value', 'values', 'essential'].map((name) =>
    members.get(name),
  )
  if (!Array.isArray(values) || typeof essential !== 'boolean') return refuse('invalid_request')
  const asked: unknown[] = value === undefined ? values : [value, ...values]
  if (!asked.every((acr) => typeof acr === 'string')) return refuse('invalid_request')

  const level = lowestLevelOf(asked)
  const restricted = value !== undefined || members.has('values')
  if (level === undefined && essential && restricted) {
    return refuse('unmet_authentication_requirements')
  }
  return ok(level)
}

function parseJson(text: string): unknown {
  // A character is at least one byte: this spares encoding what is too long anyway.
  if (text.length > MAX_LENGTH || utf8(text).length > MAX_LENGTH) return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The members of a JSON object, in a map because `__proto__` and `constructor` are names like any other. */
function membersOf(value: unknown): Members | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return new Map(Object.entries(value))
}
