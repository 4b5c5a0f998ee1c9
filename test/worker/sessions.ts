/** People who are signed in: what the tests of single sign-on and of logout share. */
import { expect, onTestFinished, vi } from 'vitest'
import {
  type Client,
  claimsOf,
  type Landing,
  landingOf,
  REDIRECT_URI,
  redeem,
  registerClient,
  Tab,
} from './relying-party.ts'
import { enrolled, ISSUER, type Person } from './world.ts'

/** Another client than the usual one. */
export const CINEMA = 'cinema'

/** Moves the clock by `seconds` until the test is over. */
export function later(seconds: number): void {
  if (!vi.isFakeTimers()) {
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() })
    onTestFinished(() => void vi.useRealTimers())
  }
  vi.setSystemTime(Date.now() + seconds * 1000)
}

/** A login up to its id_token. */
export async function signIn(
  client: Client,
  person: Person,
  tab = new Tab(),
  changes: Record<string, string> = {},
  grantedScopes?: readonly string[],
): Promise<string> {
  const asked = { client_id: client.clientId, ...changes }
  const { parameters } = await tab.login(person, asked, grantedScopes)
  const { status, body } = await redeem(client, parameters.code)
  expect(status, JSON.stringify(body)).toBe(200)
  return body.id_token
}

export interface SignedIn {
  readonly client: Client
  readonly person: Person
  readonly tab: Tab
  readonly idToken: string
}

/** A person who has signed in to the bar. */
export async function signedIn(
  changes: Record<string, string> = {},
  oidc: Record<string, unknown> = {},
  grantedScopes?: readonly string[],
): Promise<SignedIn> {
  const client = await registerClient(oidc)
  const person = await enrolled({ push: false })
  const tab = new Tab()
  const idToken = await signIn(client, person, tab, changes, grantedScopes)
  return { client, person, tab, idToken }
}

/** Asks without a page; the answer must be a redirect that sets no cookie. */
export async function silently(
  tab: Tab,
  changes: Record<string, string | undefined> = {},
): Promise<Landing> {
  const answer = await tab.authorize({ prompt: 'none', ...changes })
  expect(answer.status, answer.body).toBe(303)
  expect(answer.body).toBe('')
  expect(answer.headers.getSetCookie()).toEqual([])
  return landingOf(answer)
}

/** The landing of a success. */
export function granted(state = 'random-csrf-token'): Landing {
  return { address: REDIRECT_URI, parameters: { code: expect.any(String), state, iss: ISSUER } }
}

/** The landing of an error. */
export function refusal(error: string, state = 'random-csrf-token'): Landing {
  const parameters = { error, error_description: expect.any(String), state, iss: ISSUER }
  return { address: REDIRECT_URI, parameters }
}

/** The claims of the id_token that a landing's code gives. */
export async function idTokenOf(
  client: Client,
  { parameters }: Landing,
): Promise<Record<string, unknown>> {
  const { status, body } = await redeem(client, parameters.code)
  expect(status, JSON.stringify(body)).toBe(200)
  return claimsOf(body.id_token)
}
