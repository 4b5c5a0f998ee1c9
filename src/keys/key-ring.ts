/**
 * The key ring: the signing keys of this deployment, made on first need, and one function for each thing they sign.
 * There is no general `sign`. What it remembers are plain values in a map that the caller keeps, never promises.
 */
import { SignJWT } from 'jose'
import { type Bytes, concat, fromBase64url, sha256, toBase64url, utf8 } from '../bytes.ts'
import { ok, type Result, refuse } from '../result.ts'
import { type P256Half, type SigningAlg, WEB_CRYPTO } from './algorithms.ts'
import { readIssuedToken, TOKEN_TYP, type TokenTyp } from './issued-token.ts'
import type { MasterSecret } from './master-secret.ts'
import {
  headerOf,
  isOfKind,
  KEY_KINDS,
  type KeyFault,
  type KeyKind,
  type KeyPurpose,
  makeSigningKey,
  openSigningKey,
  type PublicJwk,
  type SigningKey,
  type StoredKey,
} from './signing-key.ts'

export interface JwkSet {
  readonly keys: readonly PublicJwk[]
}

export interface KeyRing {
  /** A compact JWS for a service over exactly `claims`, by the active ES256 token key. @throws SigningKeyUnusable */
  signToken(claims: Readonly<Record<string, unknown>>): Promise<string>
  /** An id token over exactly `claims`, by the active token key of `alg`. @throws SigningKeyUnusable */
  signIdToken(claims: Readonly<Record<string, unknown>>, alg: SigningAlg): Promise<string>
  /** An access token for a resource likewise (RFC 9068 section 2). @throws SigningKeyUnusable */
  signAccessToken(claims: Readonly<Record<string, unknown>>, alg: SigningAlg): Promise<string>
  /** A logout token likewise (OpenID Connect Back-Channel Logout section 2.4). @throws SigningKeyUnusable */
  signLogoutToken(claims: Readonly<Record<string, unknown>>, alg: SigningAlg): Promise<string>
  /**
   * The payload of an id token that a usable token key of this ring signed, active or retired, expired or not;
   * `undefined` for anything else. Whether its `aud` is the client at hand is for the caller to compare. D1 is asked once
   * more: a removed key counts no longer, whatever this isolate remembers (5-security 251, 325).
   */
  readIdToken(jws: string): Promise<Readonly<Record<string, unknown>> | undefined>
  /** The payload of an access token for a resource likewise. */
  readAccessToken(jws: string): Promise<Readonly<Record<string, unknown>> | undefined>
  /** A compact JWS for a phone over exactly `claims`, by the active push key. @throws SigningKeyUnusable */
  signPush(claims: Readonly<Record<string, unknown>>): Promise<string>
  /** The public token keys, ES256 first. @throws SigningKeyUnusable rather than leaving one out: caches would keep that */
  tokenJwks(): Promise<JwkSet>
  /**
   * A raw signature (r‖s) over the bytes that a Service VDS is signed over, by the active service-seal key, with the eight
   * bytes that name it there. @throws SigningKeyUnusable
   */
  signServiceVds(): Promise<{
    readonly kid: Bytes
    readonly sign: (bytes: Bytes) => Promise<Bytes>
  }>
  /** The public service-seal key that `kid` (base64url of eight bytes) names, `undefined` for any other. */
  serviceVdsKey(kid: string): Promise<P256Half | undefined>
  /** The public push and service-seal keys; nobody accepts them for tokens. @throws SigningKeyUnusable */
  deviceJwks(): Promise<JwkSet>
  /** Reads the stored keys afresh and opens each, for `/health` and after a removal; makes what is missing. */
  check(): Promise<Result<void, KeyFault | 'unreadable'>>
}

/** No key of this purpose can be used. The message names the reason and no secret. */
export class SigningKeyUnusable extends Error {
  override readonly name = 'SigningKeyUnusable'
}

/** What one look at the stored keys gave. */
export interface KeySnapshot {
  readonly usable: readonly SigningKey[]
  readonly faults: readonly KeyFault[]
  /** Unix seconds. */
  readonly freshUntil: number
}

export interface KeyRingParts {
  readonly master: MasterSecret
  readonly issuer: string
  /** Unix seconds. */
  readonly now: () => number
  /** Every key that isn't removed, in a steady order. */
  readonly load: () => Promise<readonly StoredKey[]>
  /** Stores a new active key unless its kind has one. */
  readonly insert: (key: StoredKey) => Promise<void>
  /** Whether the key was removed because it leaked. */
  readonly isRemoved: (kid: string) => Promise<boolean>
  /** Twelve fresh random bytes. */
  readonly random12: () => Uint8Array
  /** Where looks are remembered, by issuer and secret. */
  readonly memory: Map<string, KeySnapshot>
}

/** Within this time every isolate notices a key that was removed. */
const MAX_AGE_SECONDS = 60
/** How soon to look again when something was wrong. */
const RETRY_SECONDS = 30

/** The ring over `parts`. Cheap: nothing is read before the first need. */
export function keyRing(parts: KeyRingParts): KeyRing {
  /** The active key of `kind`. */
  async function active(kind: KeyKind): Promise<SigningKey> {
    const { usable, faults } = await remembered(parts)
    const key = usable.find((each) => isOfKind(each, kind) && each.status === 'active')
    if (key === undefined) throw unusable(kind, faults)
    return key
  }

  async function publicKeys(...purposes: readonly KeyPurpose[]): Promise<JwkSet> {
    const { usable, faults } = await remembered(parts)
    const kinds = KEY_KINDS.filter(({ purpose }) => purposes.includes(purpose))
    const keys = kinds.flatMap((kind) => {
      const ofKind = usable.filter((key) => isOfKind(key, kind))
      if (!ofKind.some((key) => key.status === 'active')) throw unusable(kind, faults)
      return ofKind.map(({ publicJwk }) => publicJwk)
    })
    return { keys }
  }

  async function sign(
    kind: KeyKind,
    typ: string,
    claims: Readonly<Record<string, unknown>>,
  ): Promise<string> {
    const key = await active(kind)
    return new SignJWT({ ...claims }).setProtectedHeader(headerOf(key, typ)).sign(key.privateKey)
  }

  async function read(
    jws: string,
    typ: TokenTyp,
  ): Promise<Readonly<Record<string, unknown>> | undefined> {
    const { usable } = await remembered(parts)
    const keys = usable.filter((key) => key.purpose === 'token')
    const issued = await readIssuedToken(jws, typ, keys, parts.issuer, parts.now())
    if (issued === undefined) return undefined
    return (await parts.isRemoved(issued.kid)) ? undefined : issued.payload
  }

  return {
    signToken: (claims) => sign({ purpose: 'token', alg: 'ES256' }, TOKEN_TYP.token, claims),
    signIdToken: (claims, alg) => sign({ purpose: 'token', alg }, TOKEN_TYP.token, claims),
    signAccessToken: (claims, alg) => sign({ purpose: 'token', alg }, TOKEN_TYP.access, claims),
    signLogoutToken: (claims, alg) => sign({ purpose: 'token', alg }, TOKEN_TYP.logout, claims),
    readIdToken: (jws) => read(jws, TOKEN_TYP.token),
    readAccessToken: (jws) => read(jws, TOKEN_TYP.access),
    signPush: (claims) => sign({ purpose: 'push', alg: 'ES256' }, 'idtoken-push+jwt', claims),
    tokenJwks: () => publicKeys('token'),
    async signServiceVds() {
      const { publicJwk, privateKey } = await active({ purpose: 'service', alg: 'ES256' })
      const algorithm = WEB_CRYPTO.ES256
      return {
        kid: fromBase64url(publicJwk.kid) ?? new Uint8Array(),
        sign: async (bytes) =>
          new Uint8Array(await crypto.subtle.sign(algorithm, privateKey, bytes)),
      }
    },
    async serviceVdsKey(kid) {
      const { usable } = await remembered(parts)
      const named = usable.find((key) => key.purpose === 'service' && key.publicJwk.kid === kid)
      return named?.publicJwk.kty === 'EC' ? named.publicJwk : undefined
    },
    deviceJwks: () => publicKeys('push', 'service'),
    check: async () => {
      try {
        const { faults } = await look(parts, await identityOf(parts))
        return faults[0] === undefined ? ok(undefined) : refuse(faults[0])
      } catch {
        return refuse('unreadable')
      }
    },
  }
}

/**
 * The last look while it is fresh. When it is not, one request looks again and the others go on with the old one;
 * if the look fails, so does the first, for the last good copy is better than no login while the database is away.
 */
async function remembered(parts: KeyRingParts): Promise<KeySnapshot> {
  const identity = await identityOf(parts)
  const last = parts.memory.get(identity)
  if (last === undefined) return look(parts, identity)
  if (parts.now() < last.freshUntil) return last

  parts.memory.set(identity, { ...last, freshUntil: parts.now() + RETRY_SECONDS })
  try {
    return await look(parts, identity)
  } catch {
    return last
  }
}

/** Reads the stored keys, makes what is missing, opens everything and remembers the outcome. */
async function look(parts: KeyRingParts, identity: string): Promise<KeySnapshot> {
  const found = await parts.load()
  const missing = KEY_KINDS.filter((kind) => !hasActive(found, kind))
  await Promise.all(
    missing.map(async (kind) =>
      parts.insert(await makeSigningKey(parts.master, kind, parts.random12(), parts.now())),
    ),
  )
  // Another isolate may have been first: what counts is what is stored now.
  const stored = missing.length > 0 ? await parts.load() : found

  const { usable, faults } = await openAll(parts.master, stored)
  const age = faults.length === 0 ? MAX_AGE_SECONDS : RETRY_SECONDS
  const snapshot = { usable, faults, freshUntil: parts.now() + age }
  parts.memory.set(identity, snapshot)
  return snapshot
}

async function openAll(
  master: MasterSecret,
  stored: readonly StoredKey[],
): Promise<{ usable: readonly SigningKey[]; faults: readonly KeyFault[] }> {
  const usable: SigningKey[] = []
  const faults: KeyFault[] = []
  for (const key of stored) {
    if (stored.filter((other) => other.kid === key.kid).length > 1) {
      faults.push('kid_twice')
      continue
    }
    const opened = await openSigningKey(master, key)
    if (opened.ok) usable.push(opened.value)
    else faults.push(opened.reason)
  }
  if (KEY_KINDS.some((kind) => !hasActive(stored, kind))) faults.push('no_active_key')
  return { usable, faults }
}

function hasActive(stored: readonly StoredKey[], kind: KeyKind): boolean {
  return stored.some((key) => isOfKind(key, kind) && key.status === 'active')
}

/** The name of this deployment's place in the memory: the issuer and a digest of every version of the secret. */
async function identityOf({ issuer, master }: KeyRingParts): Promise<string> {
  const versions = [...master.versions].flatMap(([version, secret]) => [
    utf8(`${version}:`),
    secret,
  ])
  return `${issuer} ${toBase64url(await sha256(concat(...versions)))}`
}

function unusable({ purpose, alg }: KeyKind, faults: readonly KeyFault[]): SigningKeyUnusable {
  return new SigningKeyUnusable(`${alg} ${purpose} key: ${faults.join(', ') || 'none'}`)
}
