/** The words of the virtual phone: scopes, faults, places. */

/** What a scope shares, as a person would say it. */
const SHARES: Readonly<Record<string, string>> = {
  'identity:given_name': 'First name',
  'identity:family_name': 'Family name',
  'identity:name': 'Full name',
  'identity:name_initial': 'Initials',
  'identity:date_of_birth': 'Date of birth',
  'identity:nationality': 'Nationality',
  'identity:document': 'Document number',
  'identity:photo': 'Portrait photo',
  'identity:trust_level': 'How your identity was proved',
  'identity:age_over_18': 'Whether you are over 18',
  'identity:age_over_21': 'Whether you are over 21',
  'identity:age_over_25': 'Whether you are over 25',
  'identity:age_range': 'Your age range',
  'identity:is_eu_citizen': 'Whether you are an EU citizen',
  openid: 'An identifier for this service',
}

/** What people worry about, and the scopes that would give it away. */
const WORRIES: readonly (readonly [words: string, scopes: readonly string[]])[] = [
  ['First name', ['identity:given_name', 'identity:name']],
  ['Family name', ['identity:family_name', 'identity:name']],
  ['Date of birth', ['identity:date_of_birth']],
  ['Nationality', ['identity:nationality']],
  ['Document number', ['identity:document']],
  ['Photo', ['identity:photo']],
]

export function wordsOf(scope: string): string {
  return SHARES[scope] ?? scope
}

/** Whether the document of `person` answers `scope` at all. The development issuer seals no photo. */
export function isInDocument(
  scope: string,
  { givenNames, familyName }: { readonly givenNames: string; readonly familyName: string },
): boolean {
  if (scope === 'identity:given_name') return givenNames !== ''
  if (scope === 'identity:family_name') return familyName !== ''
  if (scope === 'identity:name_initial') return givenNames !== '' && familyName !== ''
  return scope !== 'identity:photo'
}

/** What a service that gets `scopes` does not get. */
export function notReceived(scopes: readonly string[]): string[] {
  return WORRIES.filter(([, giving]) => !giving.some((scope) => scopes.includes(scope))).map(
    ([words]) => words,
  )
}

/** What went wrong, and whether trying again makes sense, by the code of the wire. */
export function wordsOfFault(code: string): { readonly title: string; readonly text: string } {
  return (
    FAULTS[code] ?? {
      title: 'That did not work',
      text: `The identity provider answered “${code}”. Nothing was shared.`,
    }
  )
}

/** The same in one line. */
export function sentenceOfFault(code: string): string {
  const { title, text } = wordsOfFault(code)
  return `${title}. ${text}`
}

const FAULTS: Readonly<Record<string, { readonly title: string; readonly text: string }>> = {
  session_not_found: {
    title: 'Time ran out',
    text: 'This login is no longer open. Nothing was shared. Start it again in your browser.',
  },
  session_resolved: {
    title: 'Already answered',
    text: 'This login was decided before. Nothing more was shared.',
  },
  invalid_otp: {
    title: 'Not the right code',
    text: 'That is not the code your browser shows. Look again.',
  },
  qr_expired: {
    title: 'That code was too old',
    text: 'The code in the browser moves. Scan the one that is there now.',
  },
  already_claimed: {
    title: 'Another phone was quicker',
    text: 'This login is open on another phone. Nothing was shared. If that is not yours, cancel in the browser.',
  },
  trust_required: {
    title: 'Trust this service first',
    text: 'Only who trusts it can log in here. Scan its own code once, the one for “Register with IDToken”, then log in again.',
  },
  service_disabled: {
    title: 'This service is switched off',
    text: 'The identity provider has closed it for now. Nothing was shared.',
  },
  invalid_service_vds: {
    title: 'This service proves nothing',
    text: 'The identity provider has not signed this code. Do not trust whoever shows it.',
  },
  service_vds_expired: {
    title: 'This code has expired',
    text: 'The service has to show a newer one. Nothing was changed.',
  },
  service_vds_replaced: {
    title: 'This code is no longer good',
    text: 'The service has got a newer one, or none. Ask it to show the newer one. Nothing was changed.',
  },
  other_provider: {
    title: 'Not for this phone',
    text: 'That code belongs to another identity provider.',
  },
  camera_only: {
    title: 'Scan it with the camera',
    text: 'Somebody made a link of a code that is meant to be looked at. Nothing was opened.',
  },
  not_ours: {
    title: 'Not an IDToken code',
    text: 'That is no code of a login or of a service.',
  },
  invalid_statement: {
    title: 'This phone is not recognised',
    text: 'The identity provider does not know this phone any more, or the clocks differ. Start over to enroll again.',
  },
  insufficient_trust_level: {
    title: 'This service asks for more',
    text: 'Your identity was not proved strongly enough for it. Nothing was shared.',
  },
  credential_mismatch: {
    title: 'Another seal is enrolled',
    text: 'The identity on this phone is not the enrolled one. Start over to enroll again.',
  },
  enrollment_revoked: {
    title: 'This phone was blocked',
    text: 'Its enrollment was ended. Start over to enroll again.',
  },
  too_many_requests: {
    title: 'Too many requests',
    text: 'Wait a minute, then try again.',
  },
  unreachable: {
    title: 'No connection',
    text: 'The identity provider does not answer. Is it still running?',
  },
}

/** Who seems to be asking: what the server knows of the browser. */
export function wordsOfContext(context: {
  readonly browser: string | null
  readonly country: string | null
  readonly startedAt: string
}): string {
  const time = new Date(context.startedAt).toLocaleTimeString('en-GB', {
    hour: '2-digit',
    minute: '2-digit',
  })
  if (context.browser === null && context.country === null) {
    return `Browser and place unknown · started ${time}`
  }
  const browser = context.browser ?? 'Browser unknown'
  return `${browser} · ${countryName(context.country)} · started ${time}`
}

function countryName(code: string | null): string {
  if (code === null) return 'place unknown'
  return new Intl.DisplayNames(['en'], { type: 'region' }).of(code) ?? code
}
