/**
 * What the token endpoint's pipeline and its grant types agree on. A grant type reads what was presented and redeems it;
 * who the client is, whether it may, which key it holds, which resource it may ask for and whether the person still stands
 * is the pipeline's work, so that no grant type can forget it.
 */
import type { Result } from '../../result.ts'
import type { OidcClient } from '../../services/oidc-client.ts'
import type { ClientHouse, ClientRequest, ClientService } from '../client/admission.ts'
import type { Grant } from '../grant.ts'
import type { Actor } from '../jwt-access-token.ts'
import type { OwnTokenHouse } from '../own-token.ts'
import type { NoteRefusal } from '../refusal.ts'
import type { TokenFault } from '../token-error.ts'

type Sign = (
  claims: Readonly<Record<string, unknown>>,
  alg: OidcClient['id_token_signed_response_alg'],
) => Promise<string>

export interface TokenHouse extends ClientHouse, OwnTokenHouse {
  readonly signIdToken: Sign
  readonly signAccessToken: Sign
  /** The payload of an id_token of ours, however old; see `KeyRing.readIdToken`. */
  readonly readIdToken: (jws: string) => Promise<Readonly<Record<string, unknown>> | undefined>
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
  /** Notes that a client got a token to act for a person at a resource. */
  readonly noteExchange: (
    exchange: { readonly clientId: string; readonly grantId: string },
    from: string,
    resource: string,
  ) => Promise<void>
  readonly random: (length: number) => Uint8Array<ArrayBuffer>
}

/** Whom a presented code or token belongs to, as we sealed or signed it ourselves. */
export interface Bearer {
  readonly clientId: string
  readonly tokenId: string
  readonly enrollmentId: string
  readonly trustLevel: 1 | 2 | 3
  /** The resource it was made for, whose holder may present it too; `null`: its client alone. */
  readonly audience: string | null
  /** The thumbprint of the key that must be proved along with it; `null`: none. */
  readonly jkt: string | null
  /** The resource that was granted with it and can't be changed any more; `null`: none. */
  readonly resource: string | null
}

/** What the pipeline has found out when it lets a grant type redeem. */
export interface Redemption {
  readonly request: ClientRequest
  readonly service: ClientService
  /** The key that the new tokens are bound to. */
  readonly jkt: string | null
  /** The resource that the access token is for. */
  readonly resource: string | null
}

/** What tokens are made from. */
export interface Redeemed {
  readonly grant: Omit<Grant, 'clientId' | 'scope' | 'claims' | 'sid'>
  /** The scope text of the access token: the grant's, or less. */
  readonly scope: string
  readonly claims: Grant['claims']
  /** The refresh token that goes with the answer. */
  readonly refreshToken?: string
  /** What the id_token says beside the grant; absent: there is none in the answer. */
  readonly idToken?: {
    readonly sid: string
    readonly nonce: string | null
    /** As in `IdTokenAbout`. */
    readonly idTokenClaims: readonly string[]
  }
  /** For a token that was exchanged: no longer life than that of what it was exchanged for (Unix seconds). */
  readonly exchanged?: { readonly until: number; readonly act: Actor; readonly grantedTo: string }
}

export interface GrantType<Presented extends Bearer> {
  readonly name: string
  /** The parameter that is presented; without it the request is invalid. */
  readonly parameter: string
  /** What is said of one that can't be used. */
  readonly fault: 'invalid_grant' | 'invalid_request'
  /** The parameter that names the resource beside `resource`. */
  readonly audienceParameter?: 'audience'
  /** `undefined` when it is none of ours. */
  read(house: TokenHouse, presented: string, request: ClientRequest): Promise<Presented | undefined>
  /** Redeems what an authenticated client presented that it may present, for a person who stands. */
  redeem(
    house: TokenHouse,
    presented: Presented,
    redemption: Redemption,
  ): Promise<Result<Redeemed, TokenFault>>
}
