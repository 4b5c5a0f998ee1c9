/**
 * disclosure/ owns what a service may learn: the closed catalogue of scopes, the claims each of them gives, the claims
 * derived from others, `acr` and `sub`. It does not own who may ask for what (services/), what a person granted
 * (login/), or where the attributes come from (seal/). A scope that is not in this catalogue does not exist.
 */
import { ok, type Result, refuse } from '../result.ts'

/** In the order of the table of 2-protocol section 5, which is the order in which scopes are named to clients. */
export const ATOMIC_SCOPES = [
  'openid',
  'identity:name',
  'identity:given_name',
  'identity:family_name',
  'identity:name_initial',
  'identity:date_of_birth',
  'identity:nationality',
  'identity:document',
  'identity:photo',
  'identity:trust_level',
  'identity:age_over_18',
  'identity:age_over_21',
  'identity:age_over_25',
  'identity:age_range',
  'identity:is_eu_citizen',
] as const

/** A scope that stands for itself. Everything is compared, signed and stored in atoms (2-protocol section 5). */
export type AtomicScope = (typeof ATOMIC_SCOPES)[number]

const FULL: readonly AtomicScope[] = [
  'identity:name',
  'identity:date_of_birth',
  'identity:nationality',
  'identity:document',
  'identity:trust_level',
]

/** A map and not an object: `constructor` must not be a scope. */
const CATALOGUE: ReadonlyMap<string, readonly AtomicScope[]> = new Map<
  string,
  readonly AtomicScope[]
>([
  ...ATOMIC_SCOPES.map((atom) => [atom, [atom]] as const),
  ['profile', ['identity:name']],
  ['identity:basic', ['identity:name', 'identity:trust_level']],
  ['identity:age_verification', ['identity:age_over_18', 'identity:name']],
  ['identity:full', FULL],
  ['identity:full_with_photo', [...FULL, 'identity:photo']],
])

/** Every name in the catalogue: `openid`, the other atoms, the composites. */
export const SCOPE_NAMES: readonly string[] = [...CATALOGUE.keys()]

/**
 * The atoms that `requested` stands for, sorted and unique; composites are expanded.
 * @returns the first scope that is not in the catalogue as the reason
 */
export function expandScopes(
  requested: readonly string[],
): Result<AtomicScope[], { readonly unknown: string }> {
  const atoms = new Set<AtomicScope>()
  for (const scope of requested) {
    const members = CATALOGUE.get(scope)
    if (members === undefined) return refuse({ unknown: scope })
    for (const atom of members) atoms.add(atom)
  }
  return ok([...atoms].sort())
}

/** Whether a service needs the operator's explicit grant for this scope. */
export function isRestricted(scope: AtomicScope): boolean {
  return scope === 'identity:document' || scope === 'identity:photo'
}

/** Whether everything in `inner` is in `outer`. */
export function isSubset(inner: readonly string[], outer: readonly string[]): boolean {
  return inner.every((scope) => outer.includes(scope))
}

/** What is in every one of `sets`, sorted and unique: one ceiling under another. */
export function intersect(
  first: readonly AtomicScope[],
  ...others: readonly (readonly AtomicScope[])[]
): AtomicScope[] {
  return [...new Set(first)]
    .filter((scope) => others.every((other) => other.includes(scope)))
    .sort()
}
