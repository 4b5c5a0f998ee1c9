import { calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose'

/** The operator's token of the worker tests. */
export const OPERATOR_TOKEN = 'operator-token-of-the-worker-tests'

/** One P-256 key with both halves as JWK. */
export interface TestKey {
  readonly kid: string
  readonly publicJwk: object
  readonly privateJwk: object
}

/** The settings under which the worker tests run, with keys that exist only for this run. */
export async function makeTestBindings(): Promise<Record<string, string>> {
  const list = await makeKey()
  const seal = await makeKey()
  const grant = await makeKey()
  const other = await makeKey()
  return {
    ISSUER: 'http://localhost:8787',
    MASTER_SECRET: Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('base64url'),
    OPERATOR_TOKEN_SHA256: await sha256(OPERATOR_TOKEN),
    TRUST_LIST_KEYS: JSON.stringify([{ ...list.publicJwk, kid: list.kid }]),
    ENROLLMENT_GRANT: 'optional',
    ENROLLMENTS_PER_HOUR: '5',
    CONFIRMATION: 'compare',
    CLIENT_ADDRESS_HEADER: 'CF-Connecting-IP',
    TEST_ISSUER: JSON.stringify({ list, seal, grant, other }),
  }
}

async function makeKey(): Promise<TestKey> {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
  const publicJwk = await exportJWK(publicKey)
  return {
    kid: await calculateJwkThumbprint(publicJwk),
    publicJwk,
    privateJwk: await exportJWK(privateKey),
  }
}

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))
  return Buffer.from(digest).toString('base64url')
}
