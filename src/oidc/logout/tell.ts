import { toBase64url } from '../../bytes.ts'
import type { MasterSecret } from '../../keys/master-secret.ts'
import type { OidcClient } from '../../services/oidc-client.ts'
import type { Service } from '../../services/service.ts'
import { sendLogoutToken } from '../back-channel.ts'
import { subjectAt } from '../door.ts'
import { LOGOUT_JTI_BYTES, logoutTokenClaims } from '../logout-token.ts'
import type { ClientSession } from '../store.ts'

export interface TellHouse {
  readonly issuer: string
  readonly master: MasterSecret
  readonly recallService: (clientId: string) => Promise<Service | undefined>
  readonly signLogoutToken: (
    claims: Readonly<Record<string, unknown>>,
    alg: OidcClient['id_token_signed_response_alg'],
  ) => Promise<string>
  /** Notes how the client took it. */
  readonly note: (clientId: string, outcome: string) => Promise<void>
  /** Unix seconds. */
  readonly now: () => number
  readonly random: (length: number) => Uint8Array<ArrayBuffer>
}

/**
 * Tells the clients of `sessions`, which have ended, each for itself. It runs after the answer, where nobody waits for an
 * error: it never throws.
 */
export async function tellClients(
  house: TellHouse,
  sessions: readonly ClientSession[],
): Promise<void> {
  await Promise.all(
    sessions.map(async (session) => {
      const outcome = await tell(house, session).catch(() => 'failed')
      if (outcome !== undefined) await house.note(session.clientId, outcome)
    }),
  )
}

async function tell(
  { issuer, master, recallService, signLogoutToken, now, random }: TellHouse,
  { clientId, tokenId, sid }: ClientSession,
): Promise<string | undefined> {
  const service = await recallService(clientId)
  const address = service?.oidc?.backchannel_logout_uri
  if (service?.oidc === undefined || address === undefined) return undefined
  const sub = await subjectAt(master, service, tokenId)
  const jti = toBase64url(random(LOGOUT_JTI_BYTES))
  const claims = logoutTokenClaims({ issuer, clientId, sub, sid, jti }, now())
  const token = await signLogoutToken(claims, service.oidc.id_token_signed_response_alg)
  return sendLogoutToken(address, token)
}
