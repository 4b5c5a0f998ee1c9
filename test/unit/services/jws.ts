/** Keys that clients sign with, and compact JWS of any content, right or wrong, for the tests of this folder. */
import fc from 'fast-check'
import { exportJWK, generateKeyPair } from 'jose'
import type { ClientSigningJwk } from '../../../src/services/client-keys.ts'

const ALGORITHMS = {
  ES256: { name: 'ECDSA', hash: 'SHA-256' },
  PS256: { name: 'RSA-PSS', saltLength: 32 },
  EdDSA: { name: 'Ed25519' },
} as const

export type Alg = keyof typeof ALGORITHMS

export interface Signer {
  readonly alg: Alg
  readonly privateKey: CryptoKey
  readonly publicKey: CryptoKey
  /** Without `kid`, as a DPoP proof carries it. */
  readonly jwk: Readonly<Record<string, unknown>>
  /** As it is registered, with the algorithm as its `kid`. */
  readonly registered: ClientSigningJwk
}

export async function makeSigner(alg: Alg): Promise<Signer> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
  const jwk = { ...(await exportJWK(publicKey)) }
  const registered = { ...jwk, kid: alg } as unknown as ClientSigningJwk
  return { alg, privateKey, publicKey, jwk, registered }
}

/** Base64url of `value`: a text as it is, anything else as JSON. */
export function segment(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return Buffer.from(text).toString('base64url')
}

export async function signatureOver(input: string, signer: Signer): Promise<Buffer> {
  const algorithm = ALGORITHMS[signer.alg]
  return Buffer.from(await crypto.subtle.sign(algorithm, signer.privateKey, Buffer.from(input)))
}

export async function signJws(header: unknown, payload: unknown, signer: Signer): Promise<string> {
  const input = `${segment(header)}.${segment(payload)}`
  return `${input}.${(await signatureOver(input, signer)).toString('base64url')}`
}

/** `object` as JSON with the text of `members` added, for what `JSON.stringify` can't write: doubles, `__proto__`, 1e400. */
export function jsonWith(object: object, members: string): string {
  return `${JSON.stringify(object).slice(0, -1)},${members}}`
}

/** `text` with another character at one place, for each place from `start` on. */
export function* mutationsOf(text: string, start = 0): Generator<string> {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  for (let at = start; at < text.length; at++) {
    const now = alphabet.indexOf(text.charAt(at))
    // The lowest bit changes: in the last character of a part, one that counts for nothing.
    const other = now < 0 ? 'A' : alphabet.charAt(now ^ 1)
    yield `${text.slice(0, at)}${other}${text.slice(at + 1)}`
  }
}

const character = fc.oneof(
  fc.integer({ min: 0, max: 0x7f }).map((code) => String.fromCharCode(code)),
  fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code)),
  fc.constantFrom('.', '-', '_', 'A', 'B', '='),
)

/** Any text, also with half a pair and controls in it. */
export const anyText = fc.string({ unit: character })

/** `text` with any character put in place of any one of its own. */
export function anyMutationOf(text: string): fc.Arbitrary<string> {
  return fc
    .tuple(fc.nat(text.length - 1), character)
    .map(([at, other]) => `${text.slice(0, at)}${other}${text.slice(at + 1)}`)
    .filter((bent) => bent !== text)
}

/** Milliseconds of the fastest of a few runs: what the work costs, whatever else the machine does. */
export async function costOf(run: () => Promise<unknown>): Promise<number> {
  const costs: number[] = []
  for (let i = 0; i < 5; i++) {
    const started = performance.now()
    await run()
    costs.push(performance.now() - started)
  }
  return Math.min(...costs)
}
