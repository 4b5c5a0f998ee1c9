/** `POST /oidc/token` (RFC 6749 section 3.2). */
import { type Context, Hono } from 'hono'
import type { Config } from '../../config.ts'
import { addressBucket } from '../../http/address.ts'
import { readForm } from '../../http/body.ts'
import { only } from '../../http/method.ts'
import { json } from '../../http/problem.ts'
import { readClientCredentials } from '../../services/authenticate.ts'
import type { WebOrigins } from '../cors.ts'
import { PATHS } from '../paths.ts'
import { tokenError, tooManyRequests } from '../token-error.ts'
import type { TokenHouse } from './grant-type.ts'
import { answerTokenRequest } from './pipeline.ts'

export interface TokenRoutesHouse extends TokenHouse {
  readonly config: Config
  readonly origins: WebOrigins
  /** Failed tries of a client from an address. */
  readonly failureLimit: RateLimit
}

/** What this endpoint reads; none may come twice (RFC 6749 section 3.2). Others are ignored, however often they come. */
const PARAMETERS = [
  ...['grant_type', 'code', 'redirect_uri', 'code_verifier', 'refresh_token', 'scope'],
  ...['client_id', 'client_secret'],
]

export function tokenRoutes(house: TokenRoutesHouse): Hono {
  const app = new Hono()
  app.options(PATHS.token, (c) => house.origins.preflight(c.req.raw, 'POST'))
  app
    .post(PATHS.token, (c) => house.origins.allow(c.req.raw, () => answer(house, c)))
    .all(PATHS.token, only('POST'))
  return app
}

async function answer(house: TokenRoutesHouse, c: Context): Promise<Response> {
  const authorization = c.req.header('Authorization')
  const basic = authorization !== undefined
  // Not a form of another type, which is a malformed request: a form that nobody unpacks (5-security 3, 17).
  if (c.req.header('Content-Encoding') !== undefined) {
    await house.noteRefusal('token', 'invalid_request content encoding')
    return tokenError('invalid_request', { status: 415 })
  }
  const form = await readForm(c.req.raw)
  if (!form.ok) {
    await house.noteRefusal('token', `invalid_request ${form.reason}`)
    const tooLarge = form.reason === 'payload_too_large'
    return tokenError('invalid_request', tooLarge ? { status: 413 } : {})
  }
  const { values, repeated } = form.value
  const twice = PARAMETERS.find((name) => repeated.has(name))
  if (twice !== undefined) {
    await house.noteRefusal('token', `invalid_request ${twice} twice`)
    return tokenError('invalid_request')
  }
  const credentials = readClientCredentials(authorization, {
    client_id: values.get('client_id'),
    client_secret: values.get('client_secret'),
  })
  if (!credentials.ok) {
    await house.noteRefusal('token', `${credentials.reason} credentials unreadable`)
    return tokenError(credentials.reason, { basic })
  }

  const answered = await answerTokenRequest(house, credentials.value, values)
  if (answered.ok) return json(answered.value)
  const { error, why } = answered.reason
  const { clientId } = credentials.value
  // Who hasn't proved to be a client is not named: a client_id is any text until then.
  const proven = error === 'invalid_client' ? undefined : clientId
  await house.noteRefusal('token', `${error} ${why}`, proven)
  if (proven === undefined && !(await mayFail(house, c, clientId))) return tooManyRequests()
  return tokenError(error, { basic })
}

/**
 * Counts a failed authentication by client and address, and by address alone, so that a new client_id is no new start. The
 * client itself is never locked out (5-security 66).
 */
async function mayFail(
  { config, failureLimit }: TokenRoutesHouse,
  c: Context,
  clientId: string,
): Promise<boolean> {
  const address = addressBucket(c.req.raw.headers, config.clientAddressHeader)
  try {
    const keys = [`${clientId.slice(0, 64)} ${address}`, address]
    const limited = await Promise.all(keys.map((key) => failureLimit.limit({ key })))
    return limited.every(({ success }) => success)
  } catch {
    // A limiter that is down closes no token endpoint (5-security 257).
    return true
  }
}
