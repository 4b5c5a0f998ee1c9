/**
 * A relying party and a browser for the worker tests of the OpenID Connect door: requests as a client makes them, a cookie
 * jar, and forms as a page without script sends them.
 */
import { exports } from 'cloudflare:workers'
import { decodeJwt } from 'jose'
import { sha256, toBase64url } from '../../src/bytes.ts'
import {
  type Answer,
  answerOf,
  connect,
  freshAddress,
  ISSUER,
  operator,
  type Person,
  send,
  trustList,
} from './world.ts'

export const RP_ORIGIN = 'http://127.0.0.1:8790'
export const REDIRECT_URI = `${RP_ORIGIN}/cb`

/** A registration of an OpenID Connect client; `oidc` changes its client record. */
export const CLIENT_REGISTRATION = {
  name: 'Bar le Central',
  url: `${RP_ORIGIN}/`,
  origins: [RP_ORIGIN],
  allowedScopes: [
    'identity:name',
    'identity:date_of_birth',
    'identity:nationality',
    'identity:age_over_18',
    'identity:age_over_21',
    'identity:trust_level',
  ],
  defaultScopes: [],
  subjectType: 'public',
}

export interface Client {
  readonly clientId: string
  readonly secret: string
  readonly basic: Record<string, string>
}

/** Puts the trust list in force and registers a client. */
export async function registerClient(
  oidc: Record<string, unknown> = {},
  changes: Record<string, unknown> = {},
  clientId = 'bar-le-central',
): Promise<Client> {
  await operator('PUT', '/operator/trust-list', { trustList: await trustList() })
  const { status, body } = await operator('PUT', `/operator/services/${clientId}`, {
    ...CLIENT_REGISTRATION,
    ...changes,
    oidc: { redirect_uris: [REDIRECT_URI], ...oidc },
  })
  if (status > 201) throw new Error(`registration failed: ${JSON.stringify(body)}`)
  const basic = { Authorization: `Basic ${btoa(`${clientId}:${body.secret}`)}` }
  return { clientId, secret: body.secret, basic }
}

export const VERIFIER = 'a-verifier-of-the-worker-tests-that-is-long-enough'

export async function challengeOf(verifier: string): Promise<string> {
  return toBase64url(await sha256(verifier))
}

/** The parameters of a plain request; `undefined` drops one. */
export async function authorizationParameters(
  changes: Record<string, string | undefined> = {},
): Promise<Record<string, string>> {
  const parameters = {
    response_type: 'code',
    client_id: 'bar-le-central',
    redirect_uri: REDIRECT_URI,
    scope: 'openid identity:name identity:age_over_18',
    state: 'random-csrf-token',
    nonce: 'random-replay-protection',
    code_challenge: await challengeOf(VERIFIER),
    code_challenge_method: 'S256',
    ...changes,
  }
  return Object.fromEntries(
    Object.entries(parameters).filter((entry): entry is [string, string] => entry[1] !== undefined),
  )
}

/** Where an answer sends the browser. */
export interface Landing {
  /** Address without its query. */
  readonly address: string
  readonly parameters: Record<string, string>
}

/** The landing in a `Location`. */
export function landingOf({ headers }: { readonly headers: Headers }): Landing {
  const url = new URL(headers.get('Location') ?? '')
  const parameters = Object.fromEntries(url.searchParams)
  url.search = ''
  return { address: url.href, parameters }
}

/** The fields of the form with that action in a page of ours. */
export function formIn(page: string, action: string): Record<string, string> {
  const form = [...page.matchAll(/<form method="post" action="([^"]*)"[^>]*>([\s\S]*?)<\/form>/g)]
  const found = form.find(([, to]) => unescaped(to ?? '') === action)
  if (found === undefined) throw new Error(`no form for ${action} in ${page.slice(0, 2000)}`)
  const inputs = [...(found[2] ?? '').matchAll(/<input\b([^>]*)>/g)].map(([, text = '']) => [
    /name="([^"]*)"/.exec(text)?.[1] ?? '',
    unescaped(/value="([^"]*)"/.exec(text)?.[1] ?? ''),
  ])
  return Object.fromEntries(inputs)
}

function unescaped(text: string): string {
  return text
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&amp;', '&')
}

/** The id of the page's `main`. */
export function pageId({ body }: Answer): string | undefined {
  return /<main id="([^"]*)"/.exec(String(body))?.[1]
}

/** A browser: cookies, an address of its own, and nothing that it doesn't send. */
export class Tab {
  readonly cookies: Map<string, string>
  readonly address = freshAddress()

  constructor(cookies = new Map<string, string>()) {
    this.cookies = cookies
  }

  get cookieHeader(): string {
    return [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  }

  /** One request; `Set-Cookie` is obeyed, redirects are not followed. */
  async send(
    method: string,
    path: string,
    form?: Record<string, string> | null,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const init: RequestInit = {
      method,
      redirect: 'manual',
      headers: {
        'CF-Connecting-IP': this.address,
        ...(this.cookies.size > 0 ? { Cookie: this.cookieHeader } : {}),
        ...(form ? { 'Content-Type': 'application/x-www-form-urlencoded' } : {}),
        ...headers,
      },
    }
    if (form) init.body = new URLSearchParams(form).toString()
    const response = await exports.default.fetch(`${ISSUER}${path}`, init)
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (/Max-Age=0(;|$)/.test(line)) this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
    return answerOf(response)
  }

  /** Opens `/oidc/authorize`. */
  async authorize(changes: Record<string, string | undefined> = {}): Promise<Answer> {
    const query = new URLSearchParams(await authorizationParameters(changes))
    return this.send('GET', `/oidc/authorize?${query}`)
  }

  /** Types a number into the page and sends it. */
  async type(page: Answer, tokenId: string): Promise<Answer> {
    return this.send('POST', '/login/address', {
      ...formIn(page.body, '/login/address'),
      tokenId,
    })
  }

  /** Presses the button of the form with that action. */
  async press(page: Answer, action: string): Promise<Answer> {
    return this.send('POST', action, formIn(page.body, action))
  }

  /** From the request to the code on the page that waits for the phone. */
  async begin(tokenId: string, changes: Record<string, string | undefined> = {}): Promise<Answer> {
    return this.type(await this.authorize(changes), tokenId)
  }

  /** The socket of a waiting page. */
  socket(page: Answer, headers: { readonly cookie?: string; readonly origin?: string } = {}) {
    const { sessionId, wsToken } = waitingIn(page)
    return connect(
      { sessionId, wsToken },
      { origin: headers.origin ?? ISSUER, cookie: headers.cookie ?? this.cookieHeader },
    )
  }

  /** A whole login: the landing at the client with its code. */
  async login(
    person: Person,
    changes: Record<string, string | undefined> = {},
    grantedScopes?: readonly string[],
  ): Promise<Landing> {
    const waiting = await this.begin(person.tokenId, changes)
    await approve(person, waiting, grantedScopes)
    return landingOf(await this.press(waiting, '/login/continue'))
  }
}

/** What a waiting page knows of its login. */
export function waitingIn({ body }: Answer): {
  readonly sessionId: string
  readonly wsToken: string
  readonly code: string
} {
  const text = String(body)
  return {
    sessionId: /data-session="([^"]*)"/.exec(text)?.[1] ?? '',
    wsToken: /data-token="([^"]*)"/.exec(text)?.[1] ?? '',
    code: [...text.matchAll(/<span>(\d{3})<\/span>/g)].map(([, digits]) => digits).join(''),
  }
}

/** The person approves the login of a waiting page, with all scopes or some. */
export async function approve(
  person: Person,
  waiting: Answer,
  grantedScopes?: readonly string[],
): Promise<void> {
  const { sessionId } = waitingIn(waiting)
  const claimed = await person.claim(sessionId)
  if (claimed.status !== 200) throw new Error(`claim: ${JSON.stringify(claimed.body)}`)
  const bend = grantedScopes === undefined ? {} : { payload: { grantedScopes } }
  const approved = await person.approve(sessionId, claimed.body, bend)
  if (approved.status !== 200) throw new Error(`approval: ${JSON.stringify(approved.body)}`)
}

/** The client brings a code to the token endpoint. */
export function redeem(
  client: Client,
  code: string | undefined,
  changes: Record<string, string | undefined> = {},
  headers: Record<string, string> = client.basic,
): Promise<Answer> {
  return token(
    {
      grant_type: 'authorization_code',
      code,
      redirect_uri: REDIRECT_URI,
      code_verifier: VERIFIER,
      ...changes,
    },
    headers,
  )
}

/** Sends a form to the token endpoint; `undefined` drops a parameter. */
export function token(
  form: Record<string, string | undefined>,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const present = Object.entries(form).filter((entry): entry is [string, string] => !!entry[1])
  return send('POST', '/oidc/token', new URLSearchParams(present).toString(), {
    'Content-Type': 'application/x-www-form-urlencoded',
    'CF-Connecting-IP': freshAddress(),
    ...headers,
  })
}

export function userinfo(
  accessToken: string,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return send('GET', '/oidc/userinfo', undefined, {
    Authorization: `Bearer ${accessToken}`,
    ...headers,
  })
}

/** The claims of a JWT, not verified. */
export function claimsOf(jwt: string): Record<string, unknown> {
  return decodeJwt(jwt)
}
