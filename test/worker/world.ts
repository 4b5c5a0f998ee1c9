/**
 * What the worker tests share: the development issuer's acts, a person whose every signature can be bent, and calls over
 * the Worker's own fetch. Nothing is faked but FCM, which is a server of its own behind HTTP.
 */
import { createExecutionContext, runInDurableObject, waitOnExecutionContext } from 'cloudflare:test'
import { env, exports } from 'cloudflare:workers'
import { CompactSign, calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK } from 'jose'
import { buildHouse, createApp, serve } from '../../src/app.ts'
import { type Bytes, sha256, toBase64url, utf8 } from '../../src/bytes.ts'
import { parseMasterSecret } from '../../src/keys/master-secret.ts'
import { inboxName } from '../../src/login/object.ts'
import type { Session } from '../../src/login/session.ts'
import { makeGrant, makeRevocationList, makeSeal, makeTrustList } from '../../src/seal/make.ts'
import type { StatedIdentity } from '../../src/seal/payload.ts'
import { OPERATOR_TOKEN, type TestKey } from './bindings.ts'

declare global {
  namespace Cloudflare {
    interface Env {
      TEST_ISSUER: string
    }
  }
}

export const ISSUER = 'http://localhost:8787'
export const BAR_ORIGIN = 'http://127.0.0.1:8789'
const FCM_ORIGIN = 'http://127.0.0.1:8788'

const keys: Record<'list' | 'seal' | 'grant' | 'other', TestKey> = JSON.parse(env.TEST_ISSUER)

export function now(): number {
  return Math.floor(Date.now() / 1000)
}

/** An answer with its body read. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of every shape
  readonly body: any
}

/** `response` with its body read: JSON parsed, anything else as text. */
export async function answerOf(response: Response): Promise<Answer> {
  const text = await response.text()
  const isJson = /json/.test(response.headers.get('Content-Type') ?? '')
  return {
    status: response.status,
    headers: response.headers,
    body: isJson && text !== '' ? JSON.parse(text) : text,
  }
}

/** POSTs `body` as JSON. */
export async function post(
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return send('POST', path, JSON.stringify(body), {
    'Content-Type': 'application/json',
    ...headers,
  })
}

/** Sends anything at all. */
export async function send(
  method: string,
  path: string,
  body?: BodyInit | null,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const init: RequestInit = { method, headers }
  if (body !== undefined) init.body = body
  return answerOf(await exports.default.fetch(`${ISSUER}${path}`, init))
}

export function operator(method: 'PUT' | 'POST', path: string, body: unknown): Promise<Answer> {
  return send(method, path, JSON.stringify(body), {
    'Content-Type': 'application/json',
    Authorization: `Bearer ${OPERATOR_TOKEN}`,
  })
}

/** The calls of a Worker whose environment differs from the tests' own in `changes`. */
export function deployment(
  changes: Partial<Record<keyof Env, unknown>>,
): (path: string, body: unknown, headers?: Record<string, string>) => Promise<Answer> {
  const altered = { ...env, ...changes } as Env
  const house = buildHouse(altered)
  if (!house.ok) throw new Error(house.reason)
  const app = createApp(house.value)
  return async (path, body, headers = {}) => {
    const request = new Request(`${ISSUER}${path}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...headers },
      body: JSON.stringify(body),
    })
    const ctx = createExecutionContext()
    const answer = await answerOf(await serve(app, request, altered, ctx))
    await waitOnExecutionContext(ctx)
    return answer
  }
}

/* ---- the issuer ---- */

export type TrustOptions = Partial<Parameters<typeof makeTrustList>[0]> & {
  readonly signedBy?: 'list' | 'other'
}

/** A trust list of the development issuer: CA `IDT1`, whose `0001` signs seals and `G001` grants. */
export async function trustList({
  signedBy = 'list',
  ...changes
}: TrustOptions = {}): Promise<string> {
  const at = now()
  const entry = {
    caId: 'IDT1',
    status: 'active' as const,
    maxTrustLevel: 3 as const,
    validity: { from: at - 86_400, to: at + 86_400 * 365 },
  }
  const { kid, privateJwk } = keys[signedBy]
  return makeTrustList(
    {
      sequence: 1,
      issuedAt: at - 60,
      nextUpdate: at + 86_400,
      manifests: [],
      entries: [
        {
          ...entry,
          certId: '0001',
          key: keys.seal.publicJwk as JWK & { kty: 'EC'; crv: 'P-256'; x: string; y: string },
          purposes: ['identity-seal'],
          manifests: ['0A0001'],
        },
        {
          ...entry,
          certId: 'G001',
          key: keys.grant.publicJwk as JWK & { kty: 'EC'; crv: 'P-256'; x: string; y: string },
          purposes: ['enrollment-grant'],
          manifests: [],
        },
      ],
      ...changes,
    },
    { key: privateJwk as JWK, kid },
  )
}

export async function revocationList(sequence: number, fingerprints: string[]): Promise<string> {
  const { kid, privateJwk } = keys.list
  return makeRevocationList(
    { sequence, issuedAt: now() - 60, nextUpdate: now() + 86_400, fingerprints },
    { key: privateJwk as JWK, kid },
  )
}

export interface SealOptions {
  readonly identity?: Partial<StatedIdentity>
  readonly createdAt?: number
  readonly signedBy?: 'seal' | 'other'
  readonly caId?: string
  readonly certId?: string
}

/** A specimen seal for Jean Dupont, or whoever the test says. */
export async function specimen(tokenId: string, options: SealOptions = {}) {
  const key = await crypto.subtle.importKey(
    'jwk',
    keys[options.signedBy ?? 'seal'].privateJwk as JsonWebKey,
    { name: 'ECDSA', namedCurve: 'P-256' },
    false,
    ['sign'],
  )
  return makeSeal({
    caId: options.caId ?? 'IDT1',
    certId: options.certId ?? '0001',
    createdAt: options.createdAt ?? now() - 3600,
    identity: {
      givenNames: 'Jean',
      familyName: 'Dupont',
      dateOfBirth: '1988-02-29',
      nationality: 'FRA',
      documentNumber: '12AB34567',
      tokenId,
      expiresOn: '2034-05-31',
      trustLevel: 2,
      issuingState: 'FRA',
      documentType: 'P',
      ...options.identity,
    },
    sign: async (bytes) =>
      new Uint8Array(
        await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key, bytes),
      ) as Bytes,
  })
}

/* ---- the world ---- */

export interface Bar {
  readonly serviceId: string
  readonly secret: string
  readonly basic: Record<string, string>
}

export const BAR_REGISTRATION = {
  name: 'Bar le Central',
  url: `${BAR_ORIGIN}/`,
  origins: [BAR_ORIGIN],
  allowedScopes: [
    'identity:name',
    'identity:given_name',
    'identity:age_over_18',
    'identity:nationality',
  ],
  defaultScopes: ['identity:given_name', 'identity:age_over_18'],
  requiredScopes: ['identity:age_over_18'],
}

/** Puts the trust list in force and registers a service. */
export async function openBar(
  changes: Record<string, unknown> = {},
  serviceId = 'bar-le-central',
): Promise<Bar> {
  await operator('PUT', '/operator/trust-list', { trustList: await trustList() })
  const { body } = await operator('PUT', `/operator/services/${serviceId}`, {
    ...BAR_REGISTRATION,
    ...changes,
  })
  const basic = { Authorization: `Basic ${btoa(`${serviceId}:${body.secret}`)}` }
  return { serviceId, secret: body.secret, basic }
}

/** A service's back end begins a login. */
export function initiate(bar: Bar, tokenId: string, more: object = {}): Promise<Answer> {
  return post('/auth/initiate', { serviceId: bar.serviceId, tokenId, ...more }, bar.basic)
}

/** A page of the bar begins a login. */
export function initiateFromPage(
  tokenId: string,
  more: object = {},
  headers: Record<string, string> = {},
): Promise<Answer> {
  return post(
    '/auth/initiate',
    { serviceId: 'bar-le-central', tokenId, ...more },
    { Origin: BAR_ORIGIN, ...headers },
  )
}

/* ---- a person ---- */

export interface Statement {
  readonly header?: Record<string, unknown>
  readonly payload?: Record<string, unknown>
  readonly key?: CryptoKey
}

/** A person with a phone, whose statements a test may bend at will. */
export class Person {
  readonly tokenId: string
  readonly keyPair: CryptoKeyPair
  readonly agreement: CryptoKeyPair
  readonly thumbprint: string
  seal: Awaited<ReturnType<typeof specimen>>
  fcmToken: string | undefined

  constructor(
    tokenId: string,
    keyPair: CryptoKeyPair,
    agreement: CryptoKeyPair,
    thumbprint: string,
    seal: Awaited<ReturnType<typeof specimen>>,
    fcmToken: string | undefined,
  ) {
    this.tokenId = tokenId
    this.keyPair = keyPair
    this.agreement = agreement
    this.thumbprint = thumbprint
    this.seal = seal
    this.fcmToken = fcmToken
  }

  static async make(
    options: SealOptions & { readonly tokenId?: string; readonly push?: boolean } = {},
  ): Promise<Person> {
    const tokenId = options.tokenId ?? crypto.randomUUID()
    const keyPair = await generateKeyPair('ES256', { extractable: true })
    const agreement = await generateKeyPair('ECDH-ES', { crv: 'P-256', extractable: true })
    const fcmToken = options.push === false ? undefined : await newPushToken()
    return new Person(
      tokenId,
      keyPair as CryptoKeyPair,
      agreement as CryptoKeyPair,
      await calculateJwkThumbprint(await exportJWK(keyPair.publicKey)),
      await specimen(tokenId, options),
      fcmToken,
    )
  }

  /** A statement of `typ`, with header and payload members replaced (or dropped, where `undefined`) as a test asks. */
  async sign(typ: string, payload: object, bend: Statement = {}): Promise<string> {
    const header = { alg: 'ES256', typ, kid: this.thumbprint, ...bend.header }
    const claims = { aud: ISSUER, iat: now(), ...payload, ...bend.payload }
    return new CompactSign(utf8(JSON.stringify(claims)))
      .setProtectedHeader(JSON.parse(JSON.stringify(header)))
      .sign(bend.key ?? this.keyPair.privateKey)
  }

  async publicKeyPem(): Promise<string> {
    const spki = new Uint8Array(
      (await crypto.subtle.exportKey('spki', this.keyPair.publicKey)) as ArrayBuffer,
    )
    const base64 = btoa(String.fromCharCode(...spki))
    return `-----BEGIN PUBLIC KEY-----\n${base64.replace(/.{64}/g, '$&\n')}\n-----END PUBLIC KEY-----\n`
  }

  async agreementJwk(): Promise<JWK> {
    const { kty, crv, x, y } = await exportJWK(this.agreement.publicKey)
    return { kty, crv, x, y } as JWK
  }

  async grant(changes: Partial<Parameters<typeof makeGrant>[0]> = {}): Promise<string> {
    const order = {
      caId: 'IDT1',
      issuer: ISSUER,
      fingerprint: this.seal.fingerprint,
      deviceThumbprint: this.thumbprint,
      expiresAt: now() + 300,
      ...changes,
    }
    return makeGrant(order, { key: keys.grant.privateJwk as JWK, kid: keys.grant.kid })
  }

  /** The body of `/enroll`, whole and right, with `bend` for its statement. */
  async enrollBody(
    bend: Statement & { readonly grant?: boolean } = {},
  ): Promise<Record<string, unknown>> {
    const { body } = await post('/enroll/challenge', {})
    const encryptionKey = await this.agreementJwk()
    const statement = await this.sign(
      'idtoken-enroll+jwt',
      {
        challenge: body.challenge,
        seal: this.seal.fingerprint,
        deviceId: 'test-phone',
        ...(this.fcmToken && { fcm: toBase64url(await sha256(this.fcmToken)) }),
        enc: await calculateJwkThumbprint(encryptionKey),
      },
      bend,
    )
    return {
      vdsData: this.seal.base64url,
      publicKeyPem: await this.publicKeyPem(),
      deviceId: 'test-phone',
      ...(this.fcmToken && { fcmToken: this.fcmToken }),
      encryptionKey,
      ...(bend.grant === false ? {} : { enrollmentGrant: await this.grant() }),
      statement,
    }
  }

  async enroll(headers: Record<string, string> = {}): Promise<Answer> {
    return post('/enroll', await this.enrollBody(), headers)
  }

  async claim(sessionId: string, bend: Statement = {}): Promise<Answer> {
    const statement = await this.sign(
      'idtoken-claim+jwt',
      { tokenId: this.tokenId, sessionId, via: 'push' },
      bend,
    )
    return post('/auth/claim', { statement })
  }

  /** The approval of a claimed login; `bend.payload` replaces what the phone would sign. */
  async approval(
    sessionId: string,
    claimed: {
      nonce: string
      otp?: string
      service: { id: string }
      origin: string
      scopes: string[]
    },
    bend: Statement = {},
  ): Promise<Record<string, string>> {
    const statement = await this.sign(
      'idtoken-approve+jwt',
      {
        tokenId: this.tokenId,
        sessionId,
        nonce: claimed.nonce,
        otp: claimed.otp,
        service: claimed.service.id,
        origin: claimed.origin,
        grantedScopes: claimed.scopes,
        seal: this.seal.fingerprint,
      },
      bend,
    )
    return { statement, vdsData: this.seal.base64url }
  }

  async approve(
    sessionId: string,
    claimed: Parameters<Person['approval']>[1],
    bend: Statement = {},
  ): Promise<Answer> {
    return post('/auth/verify', await this.approval(sessionId, claimed, bend))
  }

  async deny(
    sessionId: string,
    nonce: string,
    reason: string = 'declined',
    bend: Statement = {},
  ): Promise<Answer> {
    const statement = await this.sign(
      'idtoken-deny+jwt',
      { tokenId: this.tokenId, sessionId, nonce, reason },
      bend,
    )
    return post('/auth/reject', { statement })
  }

  async pending(bend: Statement = {}): Promise<Answer> {
    const statement = await this.sign('idtoken-pending+jwt', { tokenId: this.tokenId }, bend)
    return post('/device/pending', { statement })
  }

  /** The messages that FCM has delivered to this phone so far. */
  async pushes(): Promise<{ data: Record<string, string> }[]> {
    const response = await fetch(
      `${FCM_ORIGIN}/inbox?token=${encodeURIComponent(this.fcmToken ?? '')}`,
    )
    return response.json()
  }
}

/** A person who is enrolled. */
export async function enrolled(options: Parameters<typeof Person.make>[0] = {}): Promise<Person> {
  const person = await Person.make(options)
  // Each from an address of his own: the hourly limit is the subject of its own test.
  const answer = await person.enroll({ 'CF-Connecting-IP': freshAddress() })
  if (answer.status !== 200) throw new Error(`enrollment failed: ${JSON.stringify(answer.body)}`)
  return person
}

let lastAddress = 0

/** An address that no test has used yet. */
export function freshAddress(): string {
  lastAddress += 1
  return `198.51.${(lastAddress >> 8) & 0xff}.${lastAddress & 0xff}`
}

export async function newPushToken(): Promise<string> {
  const response = await fetch(`${FCM_ORIGIN}/device`, { method: 'POST', body: '{}' })
  const { token } = await response.json<{ token: string }>()
  return token
}

export async function scriptPush(token: string, script: unknown): Promise<void> {
  await fetch(`${FCM_ORIGIN}/script`, { method: 'POST', body: JSON.stringify({ token, script }) })
}

/* ---- behind the doors ---- */

/** The object of a login. */
export function loginObject(sessionId: string) {
  return env.LOGIN_SESSION.get(env.LOGIN_SESSION.idFromString(sessionId.slice(5)))
}

/** The master secret of the Worker under test. */
export function masterSecret() {
  const master = parseMasterSecret(env.MASTER_SECRET)
  if (!master.ok) throw new Error(master.reason)
  return master.value
}

/** The inbox of a person. */
export async function inboxObject(tokenId: string) {
  return env.PHONE_INBOX.getByName(await inboxName(masterSecret(), tokenId))
}

/** A login as its object stores it, or `undefined` when nothing is stored. */
export function storedLogin(sessionId: string): Promise<Session | undefined> {
  return runInDurableObject(loginObject(sessionId), (_object, { storage }) => {
    const tables = storage.sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'login'").toArray()
    if (tables.length === 0) return undefined
    return JSON.parse(
      String(storage.sql.exec('SELECT session FROM login').one().session),
    ) as Session
  })
}

/** The audit rows of a login: one, once it has ended. */
export async function loginAudit(sessionId: string): Promise<Record<string, unknown>[]> {
  const { results } = await env.DB.prepare(
    "SELECT detail FROM audit WHERE event = 'login' AND once = ?",
  )
    .bind(toBase64url(await sha256(sessionId)))
    .all<{ detail: string }>()
  return results.map(({ detail }) => JSON.parse(detail))
}

/** Waits until `look` gives something true, or a list that isn't empty: for what happens after an answer. */
export async function eventually<T>(look: () => Promise<T>): Promise<T> {
  for (let looks = 0; ; looks++) {
    const seen = await look()
    const there = Array.isArray(seen) ? seen.length > 0 : Boolean(seen)
    if (there || looks === 100) return seen
    await scheduler.wait(20)
  }
}

/* ---- the browser ---- */

/** The socket of one browser: everything it was sent, and how it ended. */
export class Browser {
  readonly events: Record<string, string>[] = []
  readonly socket: WebSocket
  readonly closed: Promise<{ code: number; reason: string }>
  #waiting: (() => void)[] = []

  constructor(socket: WebSocket) {
    this.socket = socket
    this.closed = new Promise((resolve) => {
      socket.addEventListener('close', ({ code, reason }) => {
        resolve({ code, reason })
        this.#wake()
      })
    })
    socket.addEventListener('message', ({ data }) => {
      if (data !== 'pong') this.events.push(JSON.parse(String(data)))
      this.#wake()
    })
    socket.accept()
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  /** Waits for the event `type`. */
  async event(type: string): Promise<Record<string, string>> {
    const deadline = Date.now() + 2000
    for (;;) {
      const found = this.events.find((event) => event.type === type)
      if (found) return found
      if (Date.now() > deadline) throw new Error(`no ${type}; got ${JSON.stringify(this.events)}`)
      await Promise.race([
        new Promise<void>((resolve) => this.#waiting.push(resolve)),
        scheduler.wait(50),
      ])
    }
  }
}

/** Opens the socket of a login as a page of the bar does. */
export async function connect(
  login: { sessionId: string; wsToken: string },
  options: {
    readonly origin?: string | null
    readonly token?: string | null
    readonly path?: string
    readonly cookie?: string
  } = {},
): Promise<Browser> {
  const { origin = BAR_ORIGIN, token = login.wsToken } = options
  const response = await exports.default.fetch(
    `${ISSUER}${options.path ?? `/ws/session/${login.sessionId}`}`,
    {
      headers: {
        Upgrade: 'websocket',
        'Sec-WebSocket-Protocol': token === null ? 'idtoken.v1' : `idtoken.v1, ${token}`,
        'CF-Connecting-IP': freshAddress(),
        ...(origin === null ? {} : { Origin: origin }),
        ...(options.cookie === undefined ? {} : { Cookie: options.cookie }),
      },
    },
  )
  if (response.webSocket === null) throw new Error(`no socket: ${response.status}`)
  return new Browser(response.webSocket)
}

/** A login that a page watches and a phone has claimed. */
export interface Watched {
  readonly sessionId: string
  readonly browser: Browser
  /** The body of the claim, as it came. */
  readonly claimed: Answer['body']
}
