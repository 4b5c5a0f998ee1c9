/**
 * The development issuer: a CA of its own that seals made-up people, grants enrollments and signs the trust list which names it. It
 * proves nothing about anybody; a deployment trusts it only while its list key is pinned.
 */
import { calculateJwkThumbprint, exportJWK, importJWK, type JWK } from 'jose'
import { makeGrant, makeSeal, makeTrustList, type SigningKey } from '../src/seal/make.ts'
import { IDENTITY_MANIFEST } from '../src/seal/manifest.ts'
import { type Person, persons } from './persons.ts'

const CA_ID = 'IDT1'
const SEAL_CERT_ID = '0001'
const GRANT_CERT_ID = '0002'
const DAY = 86_400

/** Private JWKs, kept beside the other development secrets. `list` signs the trust list. */
export type IssuerKeys = { readonly seal: JWK; readonly grant: JWK; readonly list: JWK }

/** A seal and the word that the phone with that key may enroll with it. */
export type Specimen = {
  readonly vds: string
  readonly tokenId: string
  readonly grant: string
  readonly fingerprint: string
  readonly person: Person
}

export type SpecimenOrder = {
  readonly deviceKeyThumbprint: string
  readonly person: Person
  /** A fresh UUID unless given. */
  readonly tokenId?: string | undefined
}

/** Three fresh keys. */
export async function makeIssuerKeys(): Promise<IssuerKeys> {
  const [seal, grant, list] = await Promise.all([makeKey(), makeKey(), makeKey()])
  return { seal, grant, list }
}

export class Issuer {
  readonly #keys: IssuerKeys
  readonly #audience: string

  /** `audience` is the deployment (its issuer URL) for which grants are made. */
  constructor(keys: IssuerKeys, audience: string) {
    this.#keys = keys
    this.#audience = audience
  }

  /** What a deployment pins in `TRUST_LIST_KEYS`. */
  async pinnedKey(): Promise<JWK> {
    return { ...publicHalf(this.#keys.list), kid: await thumbprint(this.#keys.list) }
  }

  /** The trust list with this issuer as its only entry, good for a month. `sequence` must rise with each new list. */
  async trustList(sequence: number, now = unixNow()): Promise<string> {
    const entry = {
      caId: CA_ID,
      maxTrustLevel: 3,
      status: 'active',
      validity: { from: now - DAY, to: now + 365 * DAY },
    } as const
    const content = {
      sequence,
      issuedAt: now - 60,
      nextUpdate: now + 30 * DAY,
      entries: [
        {
          ...entry,
          certId: SEAL_CERT_ID,
          key: curvePoint(this.#keys.seal),
          purposes: ['identity-seal' as const],
          manifests: [IDENTITY_MANIFEST.id],
        },
        {
          ...entry,
          certId: GRANT_CERT_ID,
          key: curvePoint(this.#keys.grant),
          purposes: ['enrollment-grant' as const],
          manifests: [],
        },
      ],
      manifests: [{ ...IDENTITY_MANIFEST }],
    }
    return makeTrustList(content, await signingKey(this.#keys.list))
  }

  /** A seal for `order.person` and a ten-minute grant for one device. */
  async specimen(order: SpecimenOrder, now = unixNow()): Promise<Specimen> {
    const { person, deviceKeyThumbprint } = order
    const tokenId = order.tokenId ?? crypto.randomUUID()
    const seal = await makeSeal({
      caId: CA_ID,
      certId: SEAL_CERT_ID,
      createdAt: now,
      identity: {
        givenNames: person.givenNames,
        familyName: person.familyName,
        dateOfBirth: person.dateOfBirth,
        nationality: person.nationality,
        documentNumber: person.documentNumber,
        tokenId,
        expiresOn: new Date((now + 5 * 365 * DAY) * 1000).toISOString().slice(0, 10),
        face: standInTemplate(),
        trustLevel: 3,
        issuingState: person.nationality,
        sex: person.sex,
        documentType: 'P',
      },
      sign: (bytes) => signRaw(this.#keys.seal, bytes),
    })
    const grantOrder = {
      caId: CA_ID,
      issuer: this.#audience,
      fingerprint: seal.fingerprint,
      deviceThumbprint: deviceKeyThumbprint,
      expiresAt: now + 590,
    }
    const grant = await makeGrant(grantOrder, await signingKey(this.#keys.grant))
    return { vds: seal.base64url, tokenId, grant, fingerprint: seal.fingerprint, person }
  }
}

/** `GET /issuer/persons`, and `POST /issuer/specimen` `{deviceKeyThumbprint, person?, tokenId?}`; `undefined` elsewhere. */
export async function answerIssuer(
  issuer: Issuer,
  request: Request,
): Promise<Response | undefined> {
  const { pathname } = new URL(request.url)
  if (pathname === '/issuer/persons' && request.method === 'GET') return Response.json(persons)
  if (pathname !== '/issuer/specimen' || request.method !== 'POST') return undefined
  const body = (await request.json().catch(() => null)) as Record<string, unknown> | null
  const { deviceKeyThumbprint, tokenId } = body ?? {}
  const person = persons.find(({ id }) => id === (body?.person ?? persons[0]?.id))
  const wellFormed =
    typeof deviceKeyThumbprint === 'string' &&
    /^[\w-]{43}$/.test(deviceKeyThumbprint) &&
    (tokenId === undefined || /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(String(tokenId)))
  if (!wellFormed || person === undefined) {
    return Response.json({ title: 'Malformed order for a specimen.' }, { status: 400 })
  }
  const order = { deviceKeyThumbprint, person, tokenId: tokenId as string | undefined }
  return Response.json(await issuer.specimen(order))
}

/** A template in shape only: 140 bytes that begin `00 3F` and describe nobody's face. */
function standInTemplate(): Uint8Array<ArrayBuffer> {
  const bytes = crypto.getRandomValues(new Uint8Array(140))
  bytes.set([0x00, 0x3f])
  return bytes
}

async function makeKey(): Promise<JWK> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
  const { privateKey } = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const { kty = '', crv = '', x = '', y = '', d = '' } = await exportJWK(privateKey)
  return { kty, crv, x, y, d }
}

async function signingKey(jwk: JWK): Promise<SigningKey> {
  return { key: jwk, kid: await thumbprint(jwk) }
}

async function signRaw(jwk: JWK, bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const key = (await importJWK(jwk, 'ES256')) as CryptoKey
  return new Uint8Array(await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key, bytes))
}

function thumbprint(jwk: JWK): Promise<string> {
  return calculateJwkThumbprint(jwk)
}

function publicHalf({ kty = '', crv = '', x = '', y = '' }: JWK): JWK {
  return { kty, crv, x, y }
}

function curvePoint({ x = '', y = '' }: JWK) {
  return { kty: 'EC', crv: 'P-256', x, y } as const
}

function unixNow(): number {
  return Math.floor(Date.now() / 1000)
}
