/**
 * The virtual phone without a face: keys, device statements, pushes. One module for browser and Node (WebCrypto, fetch and jose
 * only); the page, the autopilot, the demo and the tests all use it. It shows nothing and stores nothing: `state()` gives what
 * its owner keeps.
 */
import {
  base64url,
  CompactSign,
  calculateJwkThumbprint,
  compactDecrypt,
  createLocalJWKSet,
  exportJWK,
  exportSPKI,
  type JSONWebKeySet,
  type JWK,
  jwtVerify,
} from 'jose'
import type { Way } from './links.ts'
import { type CardFault, type ServiceCard, verifyServiceVds } from './service-vds.ts'

/** Two P-256 pairs: one signs statements, the other opens pushes. */
export type PhoneKeys = { readonly signing: CryptoKeyPair; readonly agreement: CryptoKeyPair }

/** What a phone knows once it is enrolled. `seal` is the fingerprint of `vds`. */
export type Enrolled = {
  readonly tokenId: string
  readonly vds: string
  readonly seal: string
  readonly expiresAt: string
}

/** All that must survive a restart; a structured clone of it works (keys stay unextractable). */
export type PhoneState = { readonly keys: PhoneKeys; readonly enrolled: Enrolled | undefined }

/** An answer of the wire, or `unreachable` with status 0 when there was none. `code` is that of the problem details. */
export type Answer<T> =
  | { readonly ok: true; readonly status: number; readonly body: T }
  | {
      readonly ok: false
      readonly status: number
      readonly code: string
      readonly body: unknown
      readonly retryAfter?: number
    }

/** A login as `/auth/claim` describes it. `otp` is absent when the person must type the code. */
export type Claim = {
  readonly sessionId: string
  readonly nonce: string
  readonly service: {
    readonly id: string
    readonly name: string
    readonly url: string
    readonly logo: string | null
  }
  readonly origin: string
  readonly scopes: readonly string[]
  readonly requiredScopes: readonly string[]
  readonly otp?: string
  readonly context: {
    readonly browser: string | null
    readonly country: string | null
    readonly startedAt: string
  }
  readonly expiresAt: string
}

/** What a push said, once it was opened and proven to come from the server. */
export type Prompt = Readonly<Record<string, unknown>> & { readonly sessionId: string }

/** `pull`: the push carries nothing, ask `/device/pending`. `ignored`: not for us, or not from the server. */
export type Opened =
  | { readonly kind: 'prompt'; readonly prompt: Prompt }
  | { readonly kind: 'pull' }
  | { readonly kind: 'ignored'; readonly reason: string }

/**
 * For tests that lie: members laid over an honest statement (header, payload) or request body. `undefined` takes a member away. `signWith`
 * signs with another key.
 */
export type Tampering = {
  readonly header?: Readonly<Record<string, unknown>>
  readonly payload?: Readonly<Record<string, unknown>>
  readonly body?: Readonly<Record<string, unknown>>
  readonly signWith?: CryptoKey
}

export type PhoneOptions = {
  /** Base URL of the wire, without a slash at the end. */
  readonly api: string
  readonly issuer: string
  readonly state?: PhoneState
  readonly fetch?: (url: string, init?: RequestInit) => Promise<Response>
  /** Unix seconds. */
  readonly now?: () => number
}

/** Fresh keys. `extractable` is for a phone whose state lives in a file. */
export async function generateKeys(extractable = false): Promise<PhoneKeys> {
  const curve = { namedCurve: 'P-256' }
  return {
    signing: await crypto.subtle.generateKey({ name: 'ECDSA', ...curve }, extractable, [
      'sign',
      'verify',
    ]),
    agreement: await crypto.subtle.generateKey({ name: 'ECDH', ...curve }, extractable, [
      'deriveBits',
    ]),
  }
}

/** A phone with the keys of `options.state`, or with fresh ones. */
export async function createPhone(options: PhoneOptions): Promise<Phone> {
  const keys = options.state?.keys ?? (await generateKeys())
  const signingJwk = publicMembers(await exportJWK(keys.signing.publicKey))
  const agreementJwk = publicMembers(await exportJWK(keys.agreement.publicKey))
  return new Phone(options, keys, {
    publicKeyPem: await exportSPKI(keys.signing.publicKey),
    thumbprint: await calculateJwkThumbprint(signingJwk),
    agreementJwk,
    agreementThumbprint: await calculateJwkThumbprint(agreementJwk),
  })
}

type PublicHalves = {
  readonly publicKeyPem: string
  readonly thumbprint: string
  readonly agreementJwk: JWK
  readonly agreementThumbprint: string
}

export class Phone {
  /** SPKI PEM of the signing key. */
  readonly publicKeyPem: string
  /** RFC 7638 thumbprint of the signing key: `kid` of statements, `aud` of pushes. */
  readonly thumbprint: string
  /** Public JWK that pushes are sealed to, and its thumbprint. */
  readonly agreementJwk: JWK
  readonly agreementThumbprint: string
  readonly #options: PhoneOptions
  readonly #keys: PhoneKeys
  #enrolled: Enrolled | undefined
  /** When the last word on a service was given, Unix seconds: the next one must be younger. */
  #lastTrust = 0

  constructor(options: PhoneOptions, keys: PhoneKeys, halves: PublicHalves) {
    this.#options = options
    this.#keys = keys
    this.#enrolled = options.state?.enrolled
    this.publicKeyPem = halves.publicKeyPem
    this.thumbprint = halves.thumbprint
    this.agreementJwk = halves.agreementJwk
    this.agreementThumbprint = halves.agreementThumbprint
  }

  get tokenId(): string | undefined {
    return this.#enrolled?.tokenId
  }

  state(): PhoneState {
    return { keys: this.#keys, enrolled: this.#enrolled }
  }

  /** A device statement: `payload` with `aud` and `iat`, signed by the device key (2-protocol section 2). */
  async statement(
    typ: string,
    payload: Readonly<Record<string, unknown>>,
    tampering: Tampering = {},
  ): Promise<string> {
    const whole = { aud: this.#options.issuer, iat: this.#now(), ...payload, ...tampering.payload }
    return new CompactSign(new TextEncoder().encode(JSON.stringify(whole)))
      .setProtectedHeader({ alg: 'ES256', typ, kid: this.thumbprint, ...tampering.header })
      .sign(tampering.signWith ?? this.#keys.signing.privateKey)
  }

  /** Binds this phone's key to the person of the seal `vds`. `grant` is the issuer's word that we hold the seal rightfully. */
  async enroll(
    order: {
      readonly vds: string
      readonly deviceId: string
      readonly fcmToken?: string | undefined
      readonly grant?: string | undefined
    },
    tampering: Tampering = {},
  ): Promise<Answer<{ enrolled: true; tokenId: string; expiresAt: string }>> {
    const challenge = await this.#post<{ challenge: string }>('/enroll/challenge', {})
    if (!challenge.ok) return challenge
    const { vds, deviceId, fcmToken, grant } = order
    const seal = await fingerprintOf(vds)
    const payload = {
      challenge: challenge.body.challenge,
      seal,
      deviceId,
      fcm: fcmToken && (await digest(fcmToken)),
      enc: this.agreementThumbprint,
    }
    const body = {
      vdsData: vds,
      publicKeyPem: this.publicKeyPem,
      deviceId,
      fcmToken,
      encryptionKey: this.agreementJwk,
      enrollmentGrant: grant,
      statement: await this.statement('idtoken-enroll+jwt', payload, tampering),
    }
    const answer = await this.#post<{ enrolled: true; tokenId: string; expiresAt: string }>(
      '/enroll',
      body,
      tampering,
    )
    if (answer.ok) {
      const { tokenId, expiresAt } = answer.body
      this.#enrolled = { tokenId, vds, seal, expiresAt }
    }
    return answer
  }

  /** What the `data` of a push holds for this phone. Whatever isn't provably the server's and ours is ignored. */
  async openPush(data: Readonly<Record<string, string>>): Promise<Opened> {
    if (data.v !== '1' || data.t !== 'login') return { kind: 'ignored', reason: 'not a login' }
    if (data.jwe === undefined) return { kind: 'pull' }
    try {
      const prompt = await this.openPrompt(data.jwe)
      return typeof prompt.sessionId === 'string'
        ? { kind: 'prompt', prompt: { ...prompt, sessionId: prompt.sessionId } }
        : { kind: 'ignored', reason: 'no sessionId' }
    } catch (fault) {
      return { kind: 'ignored', reason: fault instanceof Error ? fault.message : String(fault) }
    }
  }

  /** The claims sealed in `jwe`. Throws unless it is sealed to us and the JWS inside is the server's, for us, now. */
  async openPrompt(jwe: string): Promise<Readonly<Record<string, unknown>>> {
    const { plaintext } = await compactDecrypt(jwe, this.#keys.agreement.privateKey, {
      keyManagementAlgorithms: ['ECDH-ES'],
      contentEncryptionAlgorithms: ['A256GCM'],
    })
    const { payload } = await jwtVerify(
      new TextDecoder().decode(plaintext),
      createLocalJWKSet(await this.#deviceKeys()),
      {
        algorithms: ['ES256'],
        typ: 'idtoken-push+jwt',
        issuer: this.#options.issuer,
        audience: this.thumbprint,
        requiredClaims: ['iat', 'exp'],
        currentDate: new Date(this.#now() * 1000),
      },
    )
    return payload
  }

  /** Logins that wait for this phone: the way when no push came. */
  async pending(
    tampering: Tampering = {},
  ): Promise<Answer<{ sessionId: string; expiresAt: string }[]>> {
    return this.#act('/device/pending', 'idtoken-pending+jwt', {}, tampering)
  }

  /** Opens a login that this phone came by in this `way`; the browser learns that a phone has it. */
  async claim(
    sessionId: string,
    tampering: Tampering = {},
    way: Way = { via: 'push' },
  ): Promise<Answer<Claim>> {
    const members = { sessionId, ...way }
    const answer = await this.#act<Omit<Claim, 'sessionId'>>(
      '/auth/claim',
      'idtoken-claim+jwt',
      members,
      tampering,
    )
    return answer.ok ? { ...answer, body: { ...answer.body, sessionId } } : answer
  }

  /**
   * Approves `claim`, sharing `grantedScopes`. `otp` is what the person typed, where the claim brings no code. `returnTo`: what
   * must be opened after a login by link, so that the browser which began goes on.
   */
  async approve(
    claim: Claim,
    decision: { readonly grantedScopes: readonly string[]; readonly otp?: string | undefined },
    tampering: Tampering = {},
  ): Promise<Answer<{ status: 'approved'; returnTo?: string }>> {
    const members = {
      sessionId: claim.sessionId,
      nonce: claim.nonce,
      otp: decision.otp ?? claim.otp,
      service: claim.service.id,
      origin: claim.origin,
      grantedScopes: [...decision.grantedScopes].sort(),
      seal: this.#enrolled?.seal,
    }
    const body = { vdsData: this.#enrolled?.vds }
    return this.#act('/auth/verify', 'idtoken-approve+jwt', members, tampering, body)
  }

  /** Declines `claim`. `not_me` also asks that this phone be left in peace for a while. */
  async deny(
    claim: Pick<Claim, 'sessionId' | 'nonce'>,
    reason: 'declined' | 'not_me',
    tampering: Tampering = {},
  ): Promise<Answer<{ status: 'rejected' }>> {
    const { sessionId, nonce } = claim
    return this.#act('/auth/reject', 'idtoken-deny+jwt', { sessionId, nonce, reason }, tampering)
  }

  /** The service that the Service VDS `vds` speaks for, by the provider's keys; or why it speaks for nobody. */
  async meetService(vds: string): Promise<ServiceCard | CardFault | 'unreachable'> {
    const keys = await this.#deviceKeys().catch(() => undefined)
    if (keys === undefined) return 'unreachable'
    return verifyServiceVds(vds, {
      issuer: this.#options.issuer,
      keys: keys.keys,
      now: this.#now(),
    })
  }

  /** The Service VDS of `serviceId` that is in force, if there is one. */
  async currentVds(serviceId: string): Promise<Answer<{ serviceVds: string; expiresAt: string }>> {
    return this.#ask(`/services/${encodeURIComponent(serviceId)}/vds`)
  }

  /**
   * Says that the person trusts the service of `vds`, or no longer does. `sessionId`: the page that showed it waits for the
   * answer.
   */
  async trust(
    word: {
      readonly serviceId: string
      readonly vds: string
      readonly trusted: boolean
      readonly sessionId?: string | undefined
    },
    tampering: Tampering = {},
  ): Promise<Answer<{ trusted: boolean }>> {
    const { serviceId, vds, trusted, sessionId } = word
    // Two words within one second would be one too many: the server keeps the younger one.
    this.#lastTrust = Math.max(this.#now(), this.#lastTrust + 1)
    const members = {
      iat: this.#lastTrust,
      service: serviceId,
      vds: await digest(vds),
      trusted,
      ...(sessionId === undefined ? {} : { sessionId }),
    }
    const body = { serviceVds: vds }
    return this.#act('/device/trust', 'idtoken-trust+jwt', members, tampering, body)
  }

  /** Tells the server a new push token; the agreement key goes along. */
  async update(fcmToken: string, tampering: Tampering = {}): Promise<Answer<{ updated: true }>> {
    const members = { fcm: await digest(fcmToken), enc: this.agreementThumbprint }
    const body = { fcmToken, encryptionKey: this.agreementJwk }
    return this.#act('/device/update', 'idtoken-update+jwt', members, tampering, body)
  }

  async #act<T>(
    path: string,
    typ: string,
    members: Readonly<Record<string, unknown>>,
    tampering: Tampering,
    body: Readonly<Record<string, unknown>> = {},
  ): Promise<Answer<T>> {
    const statement = await this.statement(typ, { tokenId: this.tokenId, ...members }, tampering)
    return this.#post<T>(path, { statement, ...body }, tampering)
  }

  async #post<T>(path: string, body: object, { body: lies }: Tampering = {}): Promise<Answer<T>> {
    const init = {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...body, ...lies }),
    }
    return this.#ask<T>(path, init)
  }

  async #ask<T>(path: string, init?: RequestInit): Promise<Answer<T>> {
    let response: Response
    try {
      response = await this.#fetch(`${this.#options.api}${path}`, init)
    } catch {
      return UNREACHABLE
    }
    return readAnswer<T>(response)
  }

  async #deviceKeys(): Promise<JSONWebKeySet> {
    const response = await this.#fetch(`${this.#options.api}/.well-known/device-jwks.json`)
    return response.json()
  }

  #fetch(url: string, init?: RequestInit): Promise<Response> {
    return (this.#options.fetch ?? fetch)(url, init)
  }

  #now(): number {
    return this.#options.now?.() ?? Math.floor(Date.now() / 1000)
  }
}

const UNREACHABLE = { ok: false, status: 0, code: 'unreachable', body: undefined } as const

async function readAnswer<T>(response: Response): Promise<Answer<T>> {
  const { status } = response
  const body: unknown = await response.json().catch(() => undefined)
  // An answer that was cut off on its way is no answer: whoever asked must ask again.
  if (response.ok && body === undefined) return UNREACHABLE
  if (response.ok) return { ok: true, status, body: body as T }
  const isProblem = typeof body === 'object' && body !== null && 'code' in body
  const code = isProblem ? String(body.code) : `http_${status}`
  const wait = Number(response.headers.get('retry-after') ?? '')
  return { ok: false, status, code, body, ...(wait > 0 ? { retryAfter: wait } : {}) }
}

/** Base64url SHA-256 of a seal's header and payload, whose length stands at offset 15 (3-seal 1.1). */
async function fingerprintOf(vds: string): Promise<string> {
  const bytes = base64url.decode(vds)
  const payloadLength = ((bytes[15] ?? 0) << 8) | (bytes[16] ?? 0)
  return sha256(bytes.slice(0, 17 + payloadLength))
}

function digest(text: string): Promise<string> {
  return sha256(new TextEncoder().encode(text))
}

async function sha256(bytes: Uint8Array): Promise<string> {
  return base64url.encode(
    new Uint8Array(await crypto.subtle.digest('SHA-256', new Uint8Array(bytes))),
  )
}

function publicMembers({ kty = '', crv = '', x = '', y = '' }: JWK): JWK {
  return { kty, crv, x, y }
}
