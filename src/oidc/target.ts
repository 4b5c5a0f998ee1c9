import type { Parameters } from '../http/parameters.ts'
import { ok, type Result, refuse } from '../result.ts'
import type { OidcClient } from '../services/oidc-client.ts'

/**
 * The resource that a request is for (RFC 8707 section 2), `null` for none: one that is registered for `client`, and one
 * per request, because a token that two resources take could be carried from the one to the other. `granted` is what an
 * earlier step fixed: it may be repeated and not changed. For a client without resources the parameter has no meaning, as
 * any unknown one: several products send it to everybody.
 * @param name `audience` says the same at the token exchange (RFC 8693 section 2.1)
 */
export function readTarget(
  { values, repeated }: Parameters,
  { resources }: Pick<OidcClient, 'resources'>,
  granted: string | null = null,
  name: 'resource' | 'audience' = 'resource',
): Result<string | null, 'invalid_target'> {
  if (resources === undefined || resources.length === 0) {
    return granted === null ? ok(null) : refuse('invalid_target')
  }
  if (repeated.has(name)) return refuse('invalid_target')
  const asked = values.get(name) ?? granted
  if (asked === null) return ok(null)
  const isGranted = granted === null || asked === granted
  return isGranted && resources.includes(asked) ? ok(asked) : refuse('invalid_target')
}
