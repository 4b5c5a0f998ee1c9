/**
 * What the token endpoint's pipeline and its grant types agree on. A grant type reads what was presented and redeems it;
 * who the client is, whether it may, and whether the person still stands is the pipeline's work, so that no grant type
 * can forget it.
 */
import type { MasterSecret } from '../../keys/master-secret.ts'
import type { Result } from '../../result.ts'
import type { OidcClient } from '../../services/oidc-client.ts'
import type { Service } from '../../services/service.ts'
import type { Grant } from '../grant.ts'
import type { NoteRefusal } from '../refusal.ts'
import type { OidcStore } from '../store.ts'
import type { TokenFault } from '../token-error.ts'

export interface TokenHouse {
  readonly issuer: string
  readonly master: MasterSecret
  readonly store: OidcStore
  readonly signIdToken: (
    claims: Readonly<Record<string, unknown>>,
    alg: OidcClient['id_token_signed_response_alg'],
  ) => Promise<string>
  /** Throws when no token could be signed now: nothing is spent for that. */
  readonly readyToSign: () => Promise<unknown>
  /** Spends a code in the object of its login; `undefined` when it buys nothing. login/ hands it in. */
  readonly redeem: (
    sessionId: string,
    clientId: string,
    code: string,
  ) => Promise<Readonly<Record<string, string>> | undefined>
  readonly noteRefusal: NoteRefusal
  /** Notes a token or code that came again. */
  readonly noteReplay: (
    what: 'code' | 'refresh_token',
    grant: { readonly clientId: string; readonly grantId: string },
  ) => Promise<void>
  /** Unix seconds. */
  readonly now: () => number
  readonly random: (length: number) => Uint8Array<ArrayBuffer>
}

/** The parameters of the form; each at most once. */
export type Form = ReadonlyMap<string, string>

/** Whom a presented code or token belongs to, as we sealed it ourselves. */
export interface Bearer {
  readonly clientId: string
  readonly tokenId: string
  readonly enrollmentId: string
  readonly trustLevel: 1 | 2 | 3
}

/** A service that is an OpenID Connect client. */
export interface ClientService extends Service {
  readonly oidc: OidcClient
}

/** What tokens are made from. */
export interface Redeemed {
  readonly grant: Grant
  /** The scope text of the access token: the grant's, or less. */
  readonly scope: string
  readonly claims: Grant['claims']
  readonly nonce: string | null
  readonly idTokenClaims: readonly string[]
  /** The refresh token that goes with the answer. */
  readonly refreshToken?: string
}

export interface GrantType<Presented extends Bearer> {
  readonly name: string
  /** The parameter that is presented; without it the request is invalid. */
  readonly parameter: string
  /** `undefined` when it is none of ours. */
  read(house: TokenHouse, presented: string): Promise<Presented | undefined>
  /** Redeems what an authenticated client presented that it belongs to, for a person who stands. */
  redeem(
    house: TokenHouse,
    presented: Presented,
    form: Form,
    service: ClientService,
  ): Promise<Result<Redeemed, TokenFault>>
}
