/** The happy way of a module: pushed, opened, approved on the phone, redeemed, and used. */
import { type Arrival, Browser, type Landing } from '../oidc/browser.ts'
import { checkAnswer, checkUserinfo, type Provider } from '../oidc/checks.ts'
import {
  type Answer,
  answerLogin,
  type Changes,
  challengeOf,
  type Decision,
  endpoint,
  type Parameters,
  presentIn,
  randomText,
  requestOf,
  urlWith,
} from '../oidc/party.ts'
import { checkBoundTokens, checkFapiProvider, checkPushed, type Pushed } from './checks.ts'
import { makeKey, type SigningKey } from './keys.ts'
import {
  type Access,
  type AccessChanges,
  type AssertionChanges,
  assertionOf,
  byAssertion,
  callBound,
  type FapiClient,
  type FapiContext,
  type NonceJar,
  type ProofChanges,
  post,
} from './party.ts'

/** One module's run: a browser that knows nobody yet, a fresh DPoP key, no nonce, and the provider as it describes itself. */
export interface Run {
  readonly context: FapiContext
  readonly client: FapiClient
  readonly browser: Browser
  readonly provider: Provider
  /** Its tokens are tied to it. */
  readonly key: SigningKey
  readonly jar: NonceJar
}

export async function begin(context: FapiContext, client = context.first): Promise<Run> {
  const provider = await checkFapiProvider(context)
  const browser = new Browser(context.issuer)
  return {
    context,
    client,
    browser,
    provider,
    key: makeKey(client.key.alg),
    jar: { challenges: 0 },
  }
}

/** How one request of a client differs from a good one. */
export interface Manner {
  /** Of the assertion; `null` sends none. */
  readonly assertion?: AssertionChanges | null
  /** Of the proof; `null` sends none. */
  readonly proof?: ProofChanges | null
  /** Signs the proof in place of the run's own key. */
  readonly key?: SigningKey
}

/** Posts `form` with an assertion and a proof. */
function callAs(
  { context, client, provider, key, jar }: Run,
  name: string,
  form: Changes,
  { assertion, proof, key: other = key }: Manner,
): Promise<Answer> {
  const proven =
    assertion === null ? {} : byAssertion(assertionOf(client, context.issuer, assertion))
  const signer = proof === null ? undefined : other
  return post(provider.metadata, name, { ...proven, ...form }, jar, signer, proof ?? undefined)
}

/** What a module asks for, and the verifier of its challenge. */
export interface Order {
  readonly request: Parameters
  readonly verifier: string
}

export function orderOf({ context, client }: Run, changes: Changes = {}): Order {
  const verifier = randomText(64)
  const request = requestOf(context, client, {
    code_challenge: challengeOf(verifier),
    code_challenge_method: 'S256',
    ...changes,
  })
  return { request, verifier }
}

/** Pushes `request` (RFC 9126 section 2.1), without a proof unless `manner` has one. */
export function push(run: Run, request: Parameters, manner: Manner = {}): Promise<Answer> {
  const endpointName = 'pushed_authorization_request_endpoint'
  return callAs(run, endpointName, request, { proof: null, ...manner })
}

export interface PushedOrder extends Order, Pushed {}

/** A pushed request that must be taken. */
export async function pushed(
  run: Run,
  changes: Changes = {},
  manner: Manner = {},
): Promise<PushedOrder> {
  const order = orderOf(run, changes)
  return { ...order, ...checkPushed(await push(run, order.request, manner)) }
}

/** Opens the login with the reference; `more` goes along in the address. */
export function open(
  { browser, client, provider }: Run,
  { requestUri }: Pushed,
  more: Changes = {},
): Promise<Arrival> {
  const front = presentIn({ client_id: client.clientId, request_uri: requestUri, ...more })
  return browser.open(urlWith(endpoint(provider.metadata, 'authorization_endpoint'), front))
}

/** An order that came back with a code. */
export interface Approved extends Order {
  readonly answer: Landing
  readonly code: string
}

/** From the login page to the code. */
export async function approve(
  { browser, context }: Run,
  { request, verifier }: Order,
  arrival: Arrival,
  decision: Decision = {},
): Promise<Approved> {
  const answer = await answerLogin(browser, context.person, arrival, decision)
  return { request, verifier, answer, code: checkAnswer(context, request, answer) }
}

/** From nothing to the code. */
export async function authorize(
  run: Run,
  changes: Changes = {},
  manner: Manner = {},
): Promise<Approved> {
  const order = await pushed(run, changes, manner)
  return approve(run, order, await open(run, order))
}

/** Brings a code to the token endpoint. */
export function redeem(
  run: Run,
  { request, verifier, code }: Approved,
  changes: Changes = {},
  manner: Manner = {},
): Promise<Answer> {
  const form = {
    grant_type: 'authorization_code',
    ...{ code, redirect_uri: request.redirect_uri, code_verifier: verifier },
    ...changes,
  }
  return callAs(run, 'token_endpoint', form, manner)
}

/** Brings a refresh token to the token endpoint. */
export function refresh(
  run: Run,
  refreshToken: string | undefined,
  manner: Manner = {},
  changes: Changes = {},
): Promise<Answer> {
  const form = { grant_type: 'refresh_token', refresh_token: refreshToken, ...changes }
  return callAs(run, 'token_endpoint', form, manner)
}

/** Everything that came of one code. */
export interface SignedIn extends Approved, Awaited<ReturnType<typeof checkBoundTokens>> {
  readonly userinfo: Readonly<Record<string, unknown>>
}

/** Redeems a code that must be good, and looks at everything that comes of it. */
export async function finish(run: Run, approved: Approved, manner: Manner = {}): Promise<SignedIn> {
  const { provider, context, client } = run
  const answer = await redeem(run, approved, {}, manner)
  const { nonce } = approved.request
  const tokens = await checkBoundTokens(answer, provider, context, client, nonce)
  const userinfo = await use(run, tokens, {}, manner.key)
  return { ...approved, ...tokens, userinfo }
}

/** A whole login. */
export async function signIn(
  run: Run,
  changes: Changes = {},
  manner: Manner = {},
): Promise<SignedIn> {
  return finish(run, await authorize(run, changes, manner))
}

/** Asks userinfo with the token of `run`. */
export function ask(
  { provider, key, jar }: Run,
  accessToken: string,
  changes: AccessChanges = {},
  other: SigningKey = key,
): Promise<Answer> {
  const access: Access = { metadata: provider.metadata, accessToken, key: other, jar }
  return callBound(access, changes)
}

/** Asks userinfo, which must answer. */
export async function use(
  run: Run,
  { accessToken, claims }: Pick<SignedIn, 'accessToken' | 'claims'>,
  changes: AccessChanges = {},
  key: SigningKey = run.key,
): Promise<Readonly<Record<string, unknown>>> {
  return checkUserinfo(await ask(run, accessToken, changes, key), claims.sub)
}
