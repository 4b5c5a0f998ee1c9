/**
 * The one contract between login/ and the doors above it (1-architecture section 4): a door hands over what is asked,
 * and is handed back what was granted. login/ knows no token and no OAuth parameter.
 */
import type { AtomicScope } from '../disclosure/scopes.ts'

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
  /** What the door needs again when it makes its result; opaque to login/. */
  readonly doorState: Readonly<Record<string, string | number | null>>
  readonly service: AskingService
  /** The origin that the approval names. */
  readonly origin: string
  /** Origins whose pages may open the socket. */
  readonly socketOrigins: readonly string[]
  /** Who began: an authenticated back end, or a page that has only its Origin to show and counts as anonymous. */
  readonly begunBy: 'back-end' | 'page'
  readonly scopes: readonly AtomicScope[]
  readonly requiredScopes: readonly AtomicScope[]
  readonly minTrustLevel: 1 | 2 | 3
  readonly confirmation: 'compare' | 'transfer'
  readonly context: BrowserContext
}

export type DoorName = 'direct'

/** What the person granted, from the verified seal. `claims` holds exactly the claims of `scopes`. */
export interface Granted {
  readonly tokenId: string
  readonly enrollmentId: string
  readonly scopes: readonly AtomicScope[]
  readonly claims: Readonly<Record<string, unknown>>
  readonly trustLevel: 1 | 2 | 3
  /** Unix seconds. */
  readonly approvedAt: number
}

/**
 * What a door makes of a grant. `delivery` goes to the browser's socket inside `approved`; `redeemable` is kept until the
 * service's back end brings `code`, and is never seen by the browser. Both are encrypted while they wait.
 */
export interface DoorResult {
  readonly delivery: Readonly<Record<string, string>>
  readonly redeemable: {
    readonly code: string
    readonly answer: Readonly<Record<string, string>>
  } | null
}

/** A door's half of the contract. It is called once per approval, before the transition, and must have no effect. */
export type FinishLogin = (asked: Asked, granted: Granted, sessionId: string) => Promise<DoorResult>

export type Doors = Readonly<Record<DoorName, FinishLogin>>
