/** The happy way of a module, from the request to everything that came of it. */
import { type Arrival, Browser, type Landing } from './browser.ts'
import {
  checkAnswer,
  checkProvider,
  checkRedemption,
  type Provider,
  type Tokens,
} from './checks.ts'
import {
  answerLogin,
  type Changes,
  type Context,
  type Decision,
  endpoint,
  expectLanding,
  type Parameters,
  requestOf,
  urlWith,
} from './party.ts'
import type { Client } from './world.ts'

/** One module's run: a browser that knows nobody yet, and the provider as it describes itself. */
export interface Run {
  readonly context: Context
  readonly client: Client
  readonly browser: Browser
  readonly provider: Provider
}

export async function begin(context: Context, client = context.first): Promise<Run> {
  const provider = await checkProvider(context, client)
  return { context, client, browser: new Browser(context.issuer), provider }
}

/** An authorization request and where it took the browser. */
export interface Asked {
  readonly request: Parameters
  readonly arrival: Arrival
}

/** Sends the browser to the authorization endpoint. */
export async function ask(run: Run, changes: Changes = {}): Promise<Asked> {
  const { context, client, browser, provider } = run
  const request = requestOf(context, client, changes)
  const address = endpoint(provider.metadata, 'authorization_endpoint')
  return { request, arrival: await browser.open(urlWith(address, request)) }
}

export interface SignedIn extends Tokens {
  readonly request: Parameters
  readonly answer: Landing
  readonly code: string
}

/** A whole login on the phone. */
export async function signIn(
  run: Run,
  changes: Changes = {},
  decision: Decision & { readonly verifier?: string } = {},
): Promise<SignedIn> {
  const asked = await ask(run, changes)
  return finishLogin(run, asked, decision)
}

/** From the login page of `asked` to the tokens. */
export async function finishLogin(
  run: Run,
  { request, arrival }: Asked,
  decision: Decision & { readonly verifier?: string } = {},
): Promise<SignedIn> {
  const answer = await answerLogin(run.browser, run.context.person, arrival, decision)
  return redeem(run, request, answer, decision.verifier)
}

/** A request that must be answered without a page. */
export async function askSilently(run: Run, changes: Changes = {}): Promise<SignedIn> {
  const { request, arrival } = await ask(run, changes)
  return redeem(run, request, expectLanding(arrival))
}

async function redeem(
  { provider, context, client }: Run,
  request: Parameters,
  answer: Landing,
  verifier?: string,
): Promise<SignedIn> {
  const code = checkAnswer(context, request, answer)
  const tokens = await checkRedemption(provider, context, client, request, code, verifier)
  return { ...tokens, request, answer, code }
}
