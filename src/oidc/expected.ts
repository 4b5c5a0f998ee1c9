import { ok, type Result, refuse } from '../result.ts'
import type { AuthorizationRequest } from './authorization-request.ts'
import { hintOf } from './hint.ts'

/**
 * Who must answer `request`: every `sub` that it names. A hint names somebody and logs nobody in (5-security 46).
 * @param readIdToken the payload of an id_token of ours, however old; see `KeyRing.readIdToken`
 */
export async function expectedSubs(
  { idTokenHint, expectedSubject, clientId }: AuthorizationRequest,
  readIdToken: (jws: string) => Promise<Readonly<Record<string, unknown>> | undefined>,
): Promise<Result<readonly string[], 'invalid_request'>> {
  const subs = expectedSubject === null ? [] : [expectedSubject]
  if (idTokenHint === null) return ok(subs)
  const hint = hintOf(await readIdToken(idTokenHint))
  return hint?.clientId === clientId ? ok([...subs, hint.sub]) : refuse('invalid_request')
}
