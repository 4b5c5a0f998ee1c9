/** The frame of every endpoint that a client calls itself with a form: token, PAR, introspection, revocation. */
import { type Context, Hono } from 'hono'
import type { Config } from '../../config.ts'
import { addressBucket } from '../../http/address.ts'
import { readForm } from '../../http/body.ts'
import { only } from '../../http/method.ts'
import type { Result } from '../../result.ts'
import { readClientCredentials } from '../../services/authenticate.ts'
import { dpopNonce } from '../../services/dpop-nonce.ts'
import type { WebOrigins } from '../cors.ts'
import type { NoteRefusal } from '../refusal.ts'
import { type TokenFault, tokenError, tooManyRequests } from '../token-error.ts'
import type { ClientHouse, ClientRequest } from './admission.ts'

export interface ClientRoutesHouse extends ClientHouse {
  readonly config: Config
  readonly origins: WebOrigins
  /** Failed tries of a client from an address. */
  readonly failureLimit: RateLimit
  readonly noteRefusal: NoteRefusal
}

export interface ClientEndpoint {
  readonly where: 'token' | 'par' | 'introspect' | 'revoke'
  readonly path: string
  /** What it reads and what must not come twice (RFC 6749 section 3.2), beside the parameters of client authentication. */
  readonly parameters: readonly string[]
  /** As in `parametersOf`. */
  readonly multiline?: readonly string[]
  /** Whether it reads the header `DPoP`. */
  readonly dpop: boolean
  /** Whether pages of registered web origins may call it. */
  readonly forPages: boolean
  readonly answer: (request: ClientRequest) => Promise<Result<Response, TokenFault>>
}

const CREDENTIALS = ['client_id', 'client_secret', 'client_assertion', 'client_assertion_type']

/** The route of `endpoint`: POST, and nothing else. */
export function clientRoutes(house: ClientRoutesHouse, endpoint: ClientEndpoint): Hono {
  const { path } = endpoint
  const app = new Hono()
  const respond = async (c: Context) =>
    withNonce(house, endpoint, c, await answer(house, endpoint, c))
  if (endpoint.forPages) {
    app
      .options(path, (c) => house.origins.preflight(c.req.raw, 'POST'))
      .post(path, (c) => house.origins.allow(c.req.raw, () => respond(c)))
  } else {
    app.post(path, respond)
  }
  return app.all(path, only('POST'))
}

async function answer(
  house: ClientRoutesHouse,
  endpoint: ClientEndpoint,
  c: Context,
): Promise<Response> {
  const { where } = endpoint
  const authorization = c.req.header('Authorization')
  const basic = authorization !== undefined
  // Not a form of another type, which is a malformed request: a form that nobody unpacks (5-security 3, 17).
  if (c.req.header('Content-Encoding') !== undefined) {
    await house.noteRefusal(where, 'invalid_request content encoding')
    return tokenError('invalid_request', { status: 415 })
  }
  const form = await readForm(c.req.raw, undefined, endpoint.multiline)
  if (!form.ok) {
    await house.noteRefusal(where, `invalid_request ${form.reason}`)
    const tooLarge = form.reason === 'payload_too_large'
    return tokenError('invalid_request', tooLarge ? { status: 413 } : {})
  }
  const { values, repeated } = form.value
  const twice = [...endpoint.parameters, ...CREDENTIALS].find((name) => repeated.has(name))
  if (twice !== undefined) {
    await house.noteRefusal(where, `invalid_request ${twice} twice`)
    return tokenError('invalid_request')
  }
  const credentials = readClientCredentials(authorization, {
    client_id: values.get('client_id'),
    client_secret: values.get('client_secret'),
    client_assertion: values.get('client_assertion'),
    client_assertion_type: values.get('client_assertion_type'),
  })
  if (!credentials.ok) {
    await house.noteRefusal(where, `${credentials.reason} credentials unreadable`)
    return tokenError(credentials.reason, { basic })
  }

  const answered = await endpoint.answer({
    path: endpoint.path,
    credentials: credentials.value,
    form: values,
    repeated,
    dpop: endpoint.dpop ? c.req.header('DPoP') : undefined,
  })
  if (answered.ok) return answered.value
  const { error, why } = answered.reason
  const { clientId } = credentials.value
  // Who hasn't proved to be a client is not named: a client_id is any text until then.
  const proven = error === 'invalid_client' ? undefined : clientId
  await house.noteRefusal(where, `${error} ${why}`, proven)
  if (proven === undefined && !(await mayFail(house, c, clientId))) return tooManyRequests()
  return tokenError(error, { basic })
}

/** Who uses DPoP is told the nonce for its next proof, whatever the answer is (RFC 9449 section 8.2). */
async function withNonce(
  { master, now }: ClientRoutesHouse,
  endpoint: ClientEndpoint,
  c: Context,
  response: Response,
): Promise<Response> {
  if (endpoint.dpop && c.req.header('DPoP') !== undefined) {
    response.headers.set('DPoP-Nonce', await dpopNonce(master, now()))
  }
  return response
}

/**
 * Counts a failed authentication by client and address, and by address alone, so that a new client_id is no new start. The
 * client itself is never locked out (5-security 66).
 */
async function mayFail(
  { config, failureLimit }: ClientRoutesHouse,
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
