/**
 * What an operator sets for a deployment, read once and checked before anything is served (5-security 317, 319).
 * Nothing here is ever taken from a request: the issuer, above all, is configuration and compared exactly.
 */
import type { JWK } from 'jose'
import * as v from 'valibot'
import { isLoopback } from './http/public-address.ts'
import { type MasterSecret, parseMasterSecret } from './keys/master-secret.ts'
import { parseServiceAccount, type ServiceAccount } from './push/service-account.ts'
import { ok, type Result, refuse } from './result.ts'

/** How the person ties browser and phone together (1-architecture decision 3). */
export type Confirmation = 'compare' | 'transfer'

export interface Config {
  /** The issuer URL, without trailing slash. */
  readonly issuer: string
  /** Whether the issuer is loopback http: then, and only then, loopback http addresses are accepted elsewhere. */
  readonly loopback: boolean
  readonly master: MasterSecret
  readonly fcm: ServiceAccount
  /** Base64url SHA-256 of the operator's bearer token; empty while no operator is set. */
  readonly operatorTokenHash: string
  /** Public keys that may sign the trust list and the revocation list. */
  readonly trustListKeys: readonly JWK[]
  readonly trustListGraceSeconds: number
  readonly enrollmentGrant: 'required' | 'optional'
  readonly enrollmentsPerHour: number
  /** Issuance stations with a limit of their own: IPv4 addresses, or IPv6 networks as `2001:db8:1:2::/64`. */
  readonly kioskAddresses: readonly string[]
  readonly kioskEnrollmentsPerHour: number
  readonly confirmation: Confirmation
  /** Where the app of a development world listens; `null` where phones open `{issuer}/l` by themselves. */
  readonly appUrl: string | null
  /** Whether a person must have trusted a service before a login there, whatever the service says. */
  readonly trustRequired: boolean
  /** The header that a trusted proxy sets to the client's address; empty when there is none. */
  readonly clientAddressHeader: string
}

const wholeNumber = v.pipe(v.string(), v.regex(/^\d{1,9}$/), v.transform(Number))

const PinnedKey = v.looseObject({
  kty: v.literal('EC'),
  crv: v.literal('P-256'),
  x: v.string(),
  y: v.string(),
  kid: v.pipe(v.string(), v.minLength(1)),
})

const Variables = v.object({
  OPERATOR_TOKEN_SHA256: v.pipe(v.string(), v.regex(/^([A-Za-z0-9_-]{43})?$/)),
  TRUST_LIST_KEYS: v.pipe(v.string(), v.parseJson(), v.array(PinnedKey), v.maxLength(2)),
  TRUST_LIST_GRACE_SECONDS: wholeNumber,
  ENROLLMENT_GRANT: v.picklist(['required', 'optional']),
  ENROLLMENTS_PER_HOUR: wholeNumber,
  KIOSK_ADDRESSES: v.pipe(
    v.optional(v.string(), ''),
    v.regex(/^([0-9a-f.:]+(\/64)?(,[0-9a-f.:]+(\/64)?)*)?$/),
    v.transform((list) => (list === '' ? [] : list.split(','))),
  ),
  KIOSK_ENROLLMENTS_PER_HOUR: v.optional(wholeNumber, '200'),
  CONFIRMATION: v.picklist(['compare', 'transfer']),
  TRUST_REQUIRED: v.optional(v.picklist(['yes', 'no']), 'no'),
  APP_URL: v.pipe(
    v.optional(v.string(), ''),
    v.check((address) => address === '' || /^https?:$/.test(URL.parse(address)?.protocol ?? '')),
  ),
  CLIENT_ADDRESS_HEADER: v.pipe(v.string(), v.regex(/^[A-Za-z0-9-]*$/)),
})

/**
 * The configuration in `variables` (the Worker's environment), or a plain sentence for the operator that says which
 * setting is wrong. The sentence never holds the value of a secret.
 */
export function readConfig(variables: Readonly<Record<string, unknown>>): Result<Config, string> {
  const issuer = readIssuer(variables.ISSUER)
  if (!issuer.ok) return issuer

  const master = parseMasterSecret(text(variables.MASTER_SECRET))
  if (!master.ok) return refuse(MASTER_SECRET_SENTENCES[master.reason])

  const settings = v.safeParse(Variables, variables)
  if (!settings.success) {
    const names = settings.issues.map((issue) => String(issue.path?.[0]?.key))
    return refuse(`Malformed or missing setting: ${[...new Set(names)].join(', ')}.`)
  }

  // Anybody who opens a link of ours would be sent there.
  if (settings.output.APP_URL !== '' && !issuer.value.loopback) {
    return refuse('APP_URL is for a development world: leave it empty where ISSUER is https.')
  }

  const fcm = parseServiceAccount(text(variables.FCM_SERVICE_ACCOUNT) ?? '', {
    loopbackAllowed: issuer.value.loopback,
  })
  if (!fcm.ok) {
    return refuse('FCM_SERVICE_ACCOUNT is not the JSON key of a Firebase service account.')
  }

  const set = settings.output
  return ok({
    ...issuer.value,
    master: master.value,
    fcm: fcm.value,
    operatorTokenHash: set.OPERATOR_TOKEN_SHA256,
    trustListKeys: set.TRUST_LIST_KEYS,
    trustListGraceSeconds: set.TRUST_LIST_GRACE_SECONDS,
    enrollmentGrant: set.ENROLLMENT_GRANT,
    enrollmentsPerHour: set.ENROLLMENTS_PER_HOUR,
    kioskAddresses: set.KIOSK_ADDRESSES,
    kioskEnrollmentsPerHour: set.KIOSK_ENROLLMENTS_PER_HOUR,
    confirmation: set.CONFIRMATION,
    trustRequired: set.TRUST_REQUIRED === 'yes',
    appUrl: set.APP_URL === '' ? null : set.APP_URL,
    clientAddressHeader: set.CLIENT_ADDRESS_HEADER,
  })
}

const MASTER_SECRET_SENTENCES = {
  missing: 'MASTER_SECRET is not set.',
  malformed:
    'MASTER_SECRET is malformed: it is base64url, or a list like 2:<base64url>,1:<base64url>.',
  short: 'MASTER_SECRET is too short: it needs at least 32 random bytes.',
  weak: 'MASTER_SECRET is not random: make one with a generator.',
}

function readIssuer(
  value: unknown,
): Result<{ readonly issuer: string; readonly loopback: boolean }, string> {
  const issuer = text(value) ?? ''
  const url = URL.canParse(issuer) ? new URL(issuer) : undefined
  if (url === undefined) return refuse('ISSUER is not a URL.')
  const loopback = url.protocol === 'http:' && isLoopback(url.hostname)
  if (url.protocol !== 'https:' && !loopback) {
    return refuse('ISSUER must be an https URL (http is accepted on localhost only).')
  }
  if (/[?#]|\/$/.test(issuer) || url.username !== '' || url.password !== '') {
    return refuse('ISSUER must have no query, fragment, user information or trailing slash.')
  }
  // It is compared letter by letter, here and by everybody else: a second spelling would be a second issuer.
  if (url.href !== issuer && url.href !== `${issuer}/`) {
    return refuse(
      'ISSUER must be spelt as browsers spell it: lower case, no default port, no detours.',
    )
  }
  return ok({ issuer, loopback })
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
