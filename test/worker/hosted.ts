/** What the tests of the hosted pages look for, in answers, in storage and on the clock. */
import { listDurableObjectIds } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { expect, vi } from 'vitest'
import { landingOf, pageId, REDIRECT_URI, waitingIn } from './relying-party.ts'
import { dumpD1 } from './storage.ts'
import { type Answer, ISSUER, type Person } from './world.ts'

/** A page with that status and id, which sends the browser nowhere by itself. */
export function expectPage(answer: Answer, status: number, id: string): void {
  expect([answer.status, pageId(answer)]).toEqual([status, id])
  expect(answer.headers.has('Location')).toBe(false)
}

const SENTENCES = {
  'error-client': 'This service is not known here.',
  'error-redirect-uri': 'The address to return to is not registered for this service.',
  'error-request': 'This sign-in request is not valid.',
  'error-request-uri': 'This sign-in request has expired or was already used.',
}

/** PAGE400: the provider's own page, nothing of the request in it, and no way on. */
export function expectErrorPage(answer: Answer, id: keyof typeof SENTENCES): void {
  expect([answer.status, pageId(answer)]).toEqual([400, id])
  expect(answer.headers.get('Content-Type')).toBe('text/html; charset=utf-8')
  expect(answer.headers.get('Cache-Control')).toBe('no-store')
  expect(answer.headers.has('Location')).toBe(false)
  expect(answer.headers.has('Set-Cookie')).toBe(false)
  expect(answer.body).toContain(SENTENCES[id])
  expect(answer.body).not.toMatch(/<(?:a|form|script|link|meta http-equiv)\b/)
}

/** The first page of a login. */
export function expectLoginPage(answer: Answer): void {
  expect([answer.status, pageId(answer)]).toEqual([200, 'login-start'])
  expect(answer.body).toContain('Sign in to Bar le Central with your phone')
}

/** AUTHZ(error) of 5-security: 303 to the registered address with state and `iss`, and without a code. */
export function expectAuthz(
  answer: Answer,
  error: string,
  expected: { readonly state?: string | null; readonly address?: string } = {},
): void {
  const { state = 'random-csrf-token', address = REDIRECT_URI } = expected
  expect(answer.status).toBe(303)
  const location = answer.headers.get('Location') ?? ''
  expect(location.startsWith(`${address}?`), location).toBe(true)
  expect(location).not.toContain('#')
  const { error_description, ...parameters } = landingOf(answer).parameters
  expect(parameters).toEqual({ error, iss: ISSUER, ...(state === null ? {} : { state }) })
  // 5-security 20: the characters of RFC 6749.
  expect(error_description).toMatch(/^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/)
  expect(answer.headers.get('Cache-Control')).toBe('no-store')
}

/** Every object there is, those of earlier tests too: they are empty. */
export async function objectIds(): Promise<readonly string[]> {
  const logins = await listDurableObjectIds(env.LOGIN_SESSION)
  const inboxes = await listDurableObjectIds(env.PHONE_INBOX)
  return [...logins, ...inboxes].map(String).sort()
}

/** `act`, after which nothing is stored that wasn't before, and nobody was called: no object, no row, no push. */
export async function untouched<T>(act: () => Promise<T>): Promise<T> {
  const before = [await dumpD1(), await objectIds()]
  const fetched = vi.spyOn(globalThis, 'fetch')
  const answer = await act()
  await scheduler.wait(1)
  expect(fetched).not.toHaveBeenCalled()
  fetched.mockRestore()
  expect([await dumpD1(), await objectIds()]).toEqual(before)
  return answer
}

/** Moves the clock of Worker and objects on by `seconds`; `vi.useRealTimers` ends it. */
export function wait(seconds: number): void {
  const now = Date.now()
  if (!vi.isFakeTimers()) vi.useFakeTimers({ toFake: ['Date'] })
  vi.setSystemTime(now + seconds * 1000)
}

/** Three validly signed approvals with a wrong code, which end the attempt of a waiting page. */
export async function mistype(person: Person, waiting: Answer): Promise<void> {
  const { sessionId, code } = waitingIn(waiting)
  const { body: claimed } = await person.claim(sessionId)
  const otp = code === '123456' ? '654321' : '123456'
  for (let i = 0; i < 3; i++) {
    const { body } = await person.approve(sessionId, claimed, { payload: { otp } })
    expect(body.code).toBe('invalid_otp')
  }
}
