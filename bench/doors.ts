/** One login step by step, by either door, as the browser, the phone and the service play it together. */
import { createHash, randomBytes } from 'node:crypto'
import { decodeJwt } from 'jose'
import { REQUIRED_SCOPES, SCOPES } from '../dev/bar/service.ts'
import { demand, must } from '../dev/login-stage.ts'
import type { Claim } from '../dev/phone/phone.ts'
import { type Answer, ask } from './http.ts'
import type { Person } from './people.ts'
import { ADDRESS_HEADER, freshAddress, Visitor } from './visitor.ts'

export type Door = 'oidc' | 'direct'

/** A product under test, and the service that its people sign in to. */
export type Target = {
  readonly origin: string
  readonly issuer: string
  readonly serviceId: string
  readonly secret: string
}

/** Where the service's pages are; nobody listens there. */
export const SERVICE_ORIGIN = 'http://127.0.0.1:9'
export const REDIRECT_URI = `${SERVICE_ORIGIN}/callback`

/** A login on its way: who plays it, and what they have learnt so far. */
export type Login = {
  readonly target: Target
  readonly person: Person
  readonly visitor: Visitor
  readonly nonce: string
  readonly verifier: string
  page: string
  sessionId: string
  wsToken: string
  otp: string
  claimed: Claim | undefined
  code: string
  idToken: string
  accessToken: string
  refreshToken: string
}

/** One act of a login. `path` is the request that it makes of the product; the push alone makes none. */
export type Step = {
  readonly name: string
  readonly path: string | undefined
  /** How long after the login's beginning a person gets to it, in milliseconds. */
  readonly after: number
  readonly run: (login: Login) => Promise<void>
}

export function beginLogin(target: Target, person: Person): Login {
  return {
    ...{ target, person, visitor: new Visitor(target.origin, target.issuer) },
    nonce: randomBytes(16).toString('base64url'),
    verifier: randomBytes(32).toString('base64url'),
    ...{ page: '', sessionId: '', wsToken: '', otp: '', claimed: undefined },
    ...{ code: '', idToken: '', accessToken: '', refreshToken: '' },
  }
}

async function authorize(login: Login): Promise<void> {
  const { target, verifier, nonce, visitor } = login
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: target.serviceId,
    redirect_uri: REDIRECT_URI,
    scope: ['openid', ...SCOPES].join(' '),
    state: randomBytes(12).toString('base64url'),
    nonce,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  })
  login.page = pageOf(await visitor.open(`/oidc/authorize?${query}`), 'login-start')
}

async function typeNumber(login: Login): Promise<void> {
  const { person, visitor, page } = login
  const typed = { tokenId: person.tokenId }
  login.page = pageOf(await visitor.submit(page, '/login/address', typed), 'login-pushing')
  login.sessionId = /data-session="([^"]*)"/.exec(login.page)?.[1] ?? ''
  login.wsToken = /data-token="([^"]*)"/.exec(login.page)?.[1] ?? ''
}

async function initiate(login: Login): Promise<void> {
  const { target, person } = login
  const answer = await ask(`${target.origin}/auth/initiate`, {
    method: 'POST',
    headers: { ...basic(target), 'content-type': 'application/json' },
    body: JSON.stringify({
      serviceId: target.serviceId,
      tokenId: person.tokenId,
      scopes: SCOPES,
      requiredScopes: REQUIRED_SCOPES,
    }),
  })
  const begun = jsonOf(answer, 'initiate')
  login.sessionId = String(begun.sessionId)
  login.wsToken = String(begun.wsToken)
}

async function follow(login: Login): Promise<void> {
  login.otp = await login.visitor.follow(login.sessionId, login.wsToken)
}

async function readPush({ person, sessionId }: Login): Promise<void> {
  const opened = await person.phone.openPush((await person.pushes.take('push')).data)
  const fits = opened.kind === 'prompt' && opened.prompt.sessionId === sessionId
  demand(fits, `the push is of another login: ${JSON.stringify(opened)}`)
}

async function claim(login: Login): Promise<void> {
  const { person, sessionId, visitor, otp } = login
  login.claimed = must('The claim', await person.phone.claim(sessionId))
  demand(login.claimed.otp === otp, 'the codes differ')
  await visitor.expect('claimed')
}

async function approve(login: Login): Promise<void> {
  const { person, claimed, visitor } = login
  if (claimed === undefined) throw new Error('Nothing was claimed.')
  must('The approval', await person.phone.approve(claimed, { grantedScopes: claimed.scopes }))
  const { jwt } = await visitor.expect('approved')
  login.idToken = jwt ?? ''
  person.logins += 1
}

async function proceed(login: Login): Promise<void> {
  const { status, headers, text } = await login.visitor.submit(login.page, '/login/continue')
  demand(status === 303, `continue answered ${status} ${text.slice(0, 300)}`)
  login.code = new URL(String(headers.location)).searchParams.get('code') ?? ''
}

async function redeem(login: Login): Promise<void> {
  const { target, code, verifier } = login
  const form = { grant_type: 'authorization_code', code, redirect_uri: REDIRECT_URI }
  const answer = await ask(`${target.origin}/oidc/token`, {
    method: 'POST',
    headers: {
      ...basic(target),
      'content-type': 'application/x-www-form-urlencoded',
      [ADDRESS_HEADER]: freshAddress(),
    },
    body: new URLSearchParams({ ...form, code_verifier: verifier }).toString(),
  })
  const tokens = jsonOf(answer, 'token')
  login.idToken = String(tokens.id_token)
  login.accessToken = String(tokens.access_token)
  const { nonce, age_over_18 } = decodeJwt(login.idToken)
  demand(nonce === login.nonce && age_over_18 === true, 'the id_token is of another login')
}

/** `GET /oidc/userinfo` with the access token of a login that has ended. */
export async function userinfo({ target, accessToken }: Login): Promise<void> {
  const headers = { authorization: `Bearer ${accessToken}` }
  const claims = jsonOf(await ask(`${target.origin}/oidc/userinfo`, { headers }), 'userinfo')
  demand(claims.age_over_18 === true, 'userinfo says something else')
}

const SOCKET = { name: 'socket', path: 'GET /ws/session' } as const
const PUSH = { name: 'push', path: undefined, run: readPush } as const
const CLAIM = { name: 'claim', path: 'POST /auth/claim', run: claim } as const
const VERIFY = { name: 'verify', path: 'POST /auth/verify', run: approve } as const

/** The steps of each door. The times are those of a quick person. */
export const STEPS: Readonly<Record<Door, readonly Step[]>> = {
  oidc: [
    { name: 'authorize', path: 'GET /oidc/authorize', after: 0, run: authorize },
    { name: 'address', path: 'POST /login/address', after: 1000, run: typeNumber },
    { ...SOCKET, after: 1000, run: follow },
    { ...PUSH, after: 1000 },
    { ...CLAIM, after: 2000 },
    { ...VERIFY, after: 4000 },
    { name: 'continue', path: 'POST /login/continue', after: 4000, run: proceed },
    { name: 'token', path: 'POST /oidc/token', after: 4000, run: redeem },
  ],
  direct: [
    { name: 'initiate', path: 'POST /auth/initiate', after: 0, run: initiate },
    { ...SOCKET, after: 0, run: follow },
    { ...PUSH, after: 0 },
    { ...CLAIM, after: 1000 },
    { ...VERIFY, after: 3000 },
  ],
}

/** Plays all steps of a login at once. */
export async function playLogin(door: Door, login: Login): Promise<void> {
  try {
    for (const { run } of STEPS[door]) await run(login)
  } finally {
    login.visitor.leave()
  }
}

export function basic({ serviceId, secret }: Target): { readonly authorization: string } {
  const credentials = Buffer.from(`${serviceId}:${secret}`).toString('base64')
  return { authorization: `Basic ${credentials}` }
}

/** The object in an answer. Throws when the answer is a refusal. */
export function jsonOf(answer: Answer, what: string): Readonly<Record<string, unknown>> {
  demand(answer.status === 200, `${what} answered ${answer.status} ${answer.text.slice(0, 300)}`)
  return JSON.parse(answer.text)
}

function pageOf({ status, text }: Answer, expected: string): string {
  const id = /<main id="([^"]*)"/.exec(text)?.[1]
  demand(id === expected, `the page is ${id ?? status} instead of ${expected}`)
  return text
}
