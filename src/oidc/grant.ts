/**
 * What one approval gave one client, and the way everything that this door keeps outside (code, access token, refresh
 * token, single sign-on cookie) is read again. No table holds a grant: it travels sealed.
 */
import * as v from 'valibot'
import { sha256, toBase64url } from '../bytes.ts'
import { claimsFor } from '../disclosure/claims.ts'
import { type AtomicScope, intersect, isSubset } from '../disclosure/scopes.ts'
import type { KeyLabel } from '../keys/derive.ts'
import type { MasterSecret } from '../keys/master-secret.ts'
import { openBox } from '../keys/sealed-box.ts'
import { ceilingOf, type Service } from '../services/service.ts'
import { disclosuresOf } from './scope.ts'

/** How many random bytes name a grant. */
export const GRANT_ID_BYTES = 16

export interface Grant {
  /** Base64url of 16 random bytes: what `dead_grants` names. */
  readonly grantId: string
  readonly clientId: string
  readonly tokenId: string
  readonly enrollmentId: string
  readonly sub: string
  /** Granted OAuth scopes, space separated, as the token answer shows them. */
  readonly scope: string
  /** Granted claims without `sub`; absent claims are absent, never null. */
  readonly claims: Readonly<Record<string, string | number | boolean>>
  readonly trustLevel: 1 | 2 | 3
  /** Unix seconds. */
  readonly authTime: number
  readonly sid: string
}

/** Text of ours inside a box. */
export const sealedText = v.pipe(v.string(), v.minLength(1))
/** Unix seconds, or a count. */
export const sealedNumber = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
export const claimsSchema = v.record(v.string(), v.union([v.string(), v.number(), v.boolean()]))

/**
 * Strict: a member that this code does not know was put there by a later version, and may have been a restriction (a bound
 * key, an audience). After a rollback such a box is refused and never read as if the restriction weren't there.
 */
export const grantSchema = v.strictObject({
  grantId: sealedText,
  clientId: sealedText,
  tokenId: sealedText,
  enrollmentId: sealedText,
  sub: sealedText,
  scope: sealedText,
  claims: claimsSchema,
  trustLevel: v.picklist([1, 2, 3]),
  authTime: sealedNumber,
  sid: sealedText,
}) satisfies v.GenericSchema<unknown, Grant>

/** Asked of somebody who has every attribute, `claimsFor` names every claim of a scope: no second list to keep in step. */
const SOMEBODY = {
  givenNames: 'A',
  familyName: 'B',
  dateOfBirth: '2000-01-01',
  nationality: 'FRA',
  documentNumber: '1',
  photo: new Uint8Array(1),
}

/**
 * The members of `claims` that `scopes` give, and the e-mail alias when `email` is wanted. For an answer that covers less
 * than the grant does: a client that asks for less now gets less.
 */
export function claimsWithin(
  claims: Grant['claims'],
  scopes: readonly AtomicScope[],
  email: boolean,
): Grant['claims'] {
  const names = Object.keys(claimsFor(SOMEBODY, scopes, { today: '2026-01-01', trustLevel: 1 }))
  if (email) names.push('email', 'email_verified')
  return Object.fromEntries(Object.entries(claims).filter(([name]) => names.includes(name)))
}

/**
 * The part of a grant that `service` may have now: since the person approved, the operator may have taken a scope or the
 * alias domain away (5-security 3.7, the smaller ceiling applies at once).
 */
export function allowedNow<T extends Pick<Grant, 'scope' | 'claims'>>(
  granted: T,
  service: Service,
): T {
  const ceiling = ceilingOf(service)
  const email = service.oidc?.alias_domain !== undefined
  const names = granted.scope.split(' ').flatMap((name) => {
    if (name === 'email') return email ? [name] : []
    const disclosures = disclosuresOf(name)
    // Of a composite that is no longer whole, what is left is named one by one.
    return isSubset(disclosures, ceiling) ? [name] : intersect(disclosures, ceiling)
  })
  return {
    ...granted,
    scope: [...new Set(names)].join(' '),
    claims: claimsWithin(granted.claims, ceiling, email),
  }
}

/** The `sid` of the login `sessionId`: 22 base64url characters of its SHA-256, so that a token names no object. */
export async function sessionSid(sessionId: string): Promise<string> {
  return toBase64url(await sha256(sessionId)).slice(0, 22)
}

/**
 * The JSON content of a box that was sealed for `label` and `context`, as a fresh object of `schema`'s shape. `undefined`
 * for anything else, also for content of our own that another version sealed and this one does not understand.
 */
export async function openContent<const S extends v.GenericSchema>(
  master: MasterSecret,
  label: KeyLabel,
  text: string,
  context: string,
  schema: S,
): Promise<v.InferOutput<S> | undefined> {
  const opened = await openBox(master, label, text, context)
  if (opened === undefined) return undefined
  try {
    const value: unknown = JSON.parse(
      new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(opened),
    )
    const parsed = v.safeParse(schema, value)
    return parsed.success ? parsed.output : undefined
  } catch {
    return undefined
  }
}
