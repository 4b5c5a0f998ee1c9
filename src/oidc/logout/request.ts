/** What a logout request means (OpenID Connect RP-Initiated Logout section 2), and the confirmation that waits for a yes. */
import * as v from 'valibot'
import { utf8 } from '../../bytes.ts'
import type { Parameters } from '../../http/parameters.ts'
import type { MasterSecret } from '../../keys/master-secret.ts'
import { sealBox } from '../../keys/sealed-box.ts'
import { ok, type Result, refuse } from '../../result.ts'
import { isPostLogoutRedirectUri } from '../../services/oidc-client.ts'
import type { Service } from '../../services/service.ts'
import { openContent, sealedNumber } from '../grant.ts'
import type { Hint } from '../hint.ts'

export interface LogoutRequest {
  /** Who asks; `null` when nobody said. */
  readonly clientId: string | null
  readonly hint: Hint | null
  /** Registered by that client. */
  readonly returnTo: string | null
  readonly state: string | null
}

/** The client that a request names, by its hint or by `client_id`; two different ones are an error. */
export function namedClient(
  { values }: Parameters,
  hint: Hint | undefined,
): Result<string | null, 'invalid'> {
  const named = values.get('client_id')
  if (hint === undefined) return ok(named ?? null)
  return named === undefined || named === hint.clientId ? ok(hint.clientId) : refuse('invalid')
}

/** In UTF-8, as at the authorization endpoint; a longer one would not fit into the form of the confirmation. */
const MAX_STATE = 4096
const KNOWN = ['id_token_hint', 'client_id', 'post_logout_redirect_uri', 'state']

/**
 * The request in `parameters`, or `invalid` when the browser can't be sent where it says: an address that is not exactly
 * registered, or one that comes without anything to say whose it is (5-security 95).
 */
export function readLogoutRequest(
  { values, repeated }: Parameters,
  hint: Hint | undefined,
  service: Service | undefined,
): Result<LogoutRequest, 'invalid'> {
  if (KNOWN.some((name) => repeated.has(name))) return refuse('invalid')
  const state = values.get('state') ?? null
  if (state !== null && utf8(state).length > MAX_STATE) return refuse('invalid')
  const returnTo = values.get('post_logout_redirect_uri') ?? null
  const client = service?.enabled ? service.oidc : undefined
  if (returnTo !== null && (client === undefined || !isPostLogoutRedirectUri(client, returnTo))) {
    return refuse('invalid')
  }
  return ok({
    clientId: service?.serviceId ?? null,
    hint: hint ?? null,
    returnTo,
    state,
  })
}

/** What a person is asked to confirm. */
export interface Confirmation {
  /** The client whose session ends; `null`: every session of this browser. */
  readonly clientId: string | null
  readonly returnTo: string | null
  readonly state: string | null
  /** Unix seconds. */
  readonly askedAt: number
}

/** How long the question stands. */
const CONFIRMATION_SECONDS = 600

const confirmationSchema = v.strictObject({
  clientId: v.nullable(v.string()),
  returnTo: v.nullable(v.string()),
  state: v.nullable(v.string()),
  askedAt: sealedNumber,
}) satisfies v.GenericSchema<unknown, Confirmation>

/** Seals `confirmation` to the browser of that hash: another site can't press the button for it (5-security 99). */
export function sealConfirmation(
  master: MasterSecret,
  { clientId, returnTo, state, askedAt }: Confirmation,
  browser: string,
  random12: Uint8Array,
): Promise<string> {
  const plaintext = JSON.stringify({ clientId, returnTo, state, askedAt })
  return sealBox(master, 'cookie', plaintext, contextOf(browser), random12)
}

export async function openConfirmation(
  master: MasterSecret,
  text: string,
  browser: string,
  now: number,
): Promise<Confirmation | undefined> {
  const opened = await openContent(master, 'cookie', text, contextOf(browser), confirmationSchema)
  return opened !== undefined && now - opened.askedAt < CONFIRMATION_SECONDS ? opened : undefined
}

function contextOf(browser: string): string {
  return `oidc logout ${browser}`
}
