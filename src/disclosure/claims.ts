/** The claims that each scope gives (2-protocol section 5). A claim that was not granted or is not known is absent. */
import { type Bytes, toBase64url } from '../bytes.ts'
import type { TrustLevel } from './acr.ts'
import { ageRange, isAtLeast } from './age.ts'
import { isEuCitizen } from './eu.ts'
import { ATOMIC_SCOPES, type AtomicScope } from './scopes.ts'

/** What a seal says of a person; text in the spelling of the seal. */
export interface Attributes {
  /** Empty for a person with one name. */
  readonly givenNames: string
  readonly familyName: string
  /** `YYYY`, `YYYY-MM` or `YYYY-MM-DD`. */
  readonly dateOfBirth: string
  /** ISO 3166 alpha-3, or a code of ICAO 9303. */
  readonly nationality: string
  readonly documentNumber: string
  /** WebP. */
  readonly photo?: Bytes | undefined
}

export type Claims = Record<string, string | boolean | number>

export interface Circumstances {
  /** `YYYY-MM-DD`, UTC. */
  readonly today: string
  /** The issuer's word in the seal. */
  readonly trustLevel: TrustLevel
}

type Candidates = Readonly<Record<string, string | boolean | number | undefined>>

/** Exactly the claims of `scopes`. `openid` gives none here: `sub` depends on the service, see `subjectFor`. */
export function claimsFor(
  attributes: Attributes,
  scopes: readonly AtomicScope[],
  circumstances: Circumstances,
): Claims {
  const claims: Claims = {}
  for (const scope of scopes) {
    for (const [name, value] of Object.entries(candidates(scope, attributes, circumstances))) {
      if (value !== undefined && value !== '') claims[name] = value
    }
  }
  return claims
}

function candidates(
  scope: AtomicScope,
  person: Attributes,
  { today, trustLevel }: Circumstances,
): Candidates {
  switch (scope) {
    case 'openid':
      return {}
    case 'identity:name':
      return {
        given_name: person.givenNames,
        family_name: person.familyName,
        name: names(person).join(' '),
      }
    case 'identity:given_name':
      return { given_name: person.givenNames }
    case 'identity:family_name':
      return { family_name: person.familyName }
    case 'identity:name_initial':
      return { name_initial: nameInitial(person) }
    case 'identity:date_of_birth':
      return { birthdate: person.dateOfBirth }
    case 'identity:nationality':
      return { nationality: person.nationality }
    case 'identity:document':
      return { document_number: person.documentNumber }
    case 'identity:photo':
      return { picture: person.photo && webpDataUrl(person.photo) }
    case 'identity:trust_level':
      return { trust_level: trustLevel }
    case 'identity:age_over_18':
      return { age_over_18: isAtLeast(18, person.dateOfBirth, today) }
    case 'identity:age_over_21':
      return { age_over_21: isAtLeast(21, person.dateOfBirth, today) }
    case 'identity:age_over_25':
      return { age_over_25: isAtLeast(25, person.dateOfBirth, today) }
    case 'identity:age_range':
      return { age_range: ageRange(person.dateOfBirth, today) }
    case 'identity:is_eu_citizen':
      return { is_eu_citizen: isEuCitizen(person.nationality, today) }
  }
}

const NOBODY: Attributes = {
  givenNames: '',
  familyName: '',
  dateOfBirth: '',
  nationality: '',
  documentNumber: '',
}

/** Asked of nobody, `candidates` still names its claims: so this map can't say anything else than `claimsFor` does. */
const SCOPE_OF_CLAIM: ReadonlyMap<string, AtomicScope> = new Map(
  ATOMIC_SCOPES.map((scope) => ({
    scope,
    claims: Object.keys(candidates(scope, NOBODY, { today: '', trustLevel: 1 })),
  }))
    .sort((one, other) => other.claims.length - one.claims.length)
    .flatMap(({ scope, claims }) => claims.map((claim) => [claim, scope] as const)),
)

/** The name of every claim that some scope gives, sorted. `sub`, `acr` and the like are not of this list. */
export const CLAIM_NAMES: readonly string[] = [...SCOPE_OF_CLAIM.keys()].sort()

/** The scope that gives `claim` and the fewest others with it; `undefined` when none gives it. */
export function scopeOfClaim(claim: string): AtomicScope | undefined {
  return SCOPE_OF_CLAIM.get(claim)
}

function names({ givenNames, familyName }: Attributes): readonly string[] {
  return [givenNames, familyName].filter((name) => name !== '')
}

/** Like `J. D.`; absent for a person with one name, who has `family_name` and `name` only (2-protocol section 3). */
function nameInitial(person: Attributes): string | undefined {
  const initials = names(person).map((name) => /\p{L}/u.exec(name)?.[0].toUpperCase())
  return initials.length < 2 || initials.includes(undefined) ? undefined : `${initials.join('. ')}.`
}

/** RFC 2397 wants the plain base64 alphabet, with padding. */
function webpDataUrl(photo: Bytes): string | undefined {
  if (photo.length === 0) return undefined
  const base64 = toBase64url(photo).replaceAll('-', '+').replaceAll('_', '/')
  return `data:image/webp;base64,${base64}${'='.repeat((4 - (base64.length % 4)) % 4)}`
}
