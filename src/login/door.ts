/**
 * The one contract between login/ and the doors above it (1-architecture section 4): a door hands over what is asked,
 * and is handed back what was granted. login/ knows no token and no OAuth parameter.
 */
import type { AtomicScope } from '../disclosure/scopes.ts'
import type { Service } from '../services/service.ts'

/** The service as the server holds it: this, and never what a request says, is what the phone shows. */
export interface AskingService {
  readonly id: string
  readonly name: string
  readonly url: string
  readonly logo: string | null
}

/** What may be shown about the browser that began: never a raw header (5-security 190). */
export interface BrowserContext {
  readonly browser: string | null
  readonly country: string | null
}

/** What a door asks of one login. */
export interface Asked {
  /** Which door: names the function that makes the result. */
  readonly door: DoorName
  /** What the door needs again when it makes its result; opaque to login/, and stored as JSON. */
  readonly doorState: DoorState
  readonly service: AskingService
  /** The `cti` of the Service VDS by which the service asked; `null`: by none. */
  readonly vds: string | null
  /** The origin that the approval names. */
  readonly origin: string
  /** The registered address where a hosted login ends; `null` where the service draws its own page. */
  readonly returnTo: string | null
  /** Origins whose pages may open the socket. */
  readonly socketOrigins: readonly string[]
  /** Who began: an authenticated back end, or a page that counts as anonymous: a service's, or one of our own. */
  readonly begunBy: 'back-end' | 'page'
  /** `register`: a phone is only to say that it trusts the service. */
  readonly purpose: 'login' | 'register'
  /** Whether only who trusts the service may log in. */
  readonly trustRequired: boolean
  readonly scopes: readonly AtomicScope[]
  readonly requiredScopes: readonly AtomicScope[]
  readonly minTrustLevel: 1 | 2 | 3
  readonly confirmation: 'compare' | 'transfer'
  readonly context: BrowserContext
}

export type DoorName = 'direct' | 'oidc'

export type DoorState = Readonly<
  Record<string, string | number | boolean | null | readonly string[]>
>

/** What the person granted, from the verified seal. `claims` holds exactly the claims of `scopes`. */
export interface Granted {
  readonly tokenId: string
  readonly enrollmentId: string
  readonly scopes: readonly AtomicScope[]
  readonly claims: Readonly<Record<string, string | boolean | number>>
  readonly trustLevel: 1 | 2 | 3
  /** Unix seconds. */
  readonly approvedAt: number
}

/** Why a login ended without a grant. `cancelled`: by the browser that began. */
export type RejectionReason =
  | 'declined'
  | 'not_me'
  | 'wrong_code'
  | 'insufficient_trust_level'
  | 'revoked'
  | 'service_disabled'
  | 'cancelled'

/** Where the browser goes when a login on our own pages has ended. */
export interface Onward {
  /** An address that the service registered. */
  readonly address: string
  /** Present: the browser posts them there as a form. Absent: it follows a redirect. */
  readonly fields?: Readonly<Record<string, string>>
  /** What the door wants this browser to remember; it alone can read it. */
  readonly keepsake?: { readonly name: `__Host-${string}`; readonly value: string }
}

/**
 * What a door makes of a grant. `delivery` goes to the browser's socket inside `approved`; `redeemable` is kept until the
 * service's back end brings `code`; `onward` until the browser that began continues. All are encrypted while they wait.
 */
export interface DoorResult {
  readonly delivery: Readonly<Record<string, string>>
  readonly redeemable: {
    readonly code: string
    readonly answer: Readonly<Record<string, string>>
  } | null
  readonly onward: Onward | null
}

/** A door's half of the contract. */
export interface Door {
  /** Whether `service`, as it is registered now, may still have what it asked some minutes ago. */
  allows(asked: Asked, service: Service): boolean
  /** Makes the result of an approval. Called once per approval, before the transition, and must have no effect. */
  finish(asked: Asked, granted: Granted, sessionId: string): Promise<DoorResult>
  /** Where a hosted login that ended without a grant leads; `null` at doors without hosted pages. */
  refuse(asked: Asked, reason: RejectionReason): Onward | null
}

export type Doors = Readonly<Record<DoorName, Door>>
