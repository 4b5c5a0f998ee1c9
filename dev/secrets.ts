/** Development secrets: JSON files that only their owner can read, made once. */
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makeServiceAccount, type ServiceAccountJson } from './fcm/service-account.ts'
import { type IssuerKeys, makeIssuerKeys } from './issuer.ts'

/** What a development world is set up with. `serviceSecrets` is by serviceId. */
export type WorldSecrets = {
  readonly masterSecret: string
  readonly operatorToken: string
  readonly issuerKeys: IssuerKeys
  readonly serviceAccount: ServiceAccountJson
  readonly serviceSecrets: Readonly<Record<string, string>>
}

/** The JSON in `file`, or `undefined` when there is none that can be read. */
export async function readSecret<T>(file: string): Promise<T | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8'))
  } catch {
    return undefined
  }
}

/** Writes `content` for the owner's eyes only. */
export async function writeSecret(file: string, content: unknown): Promise<void> {
  const text = typeof content === 'string' ? content : `${JSON.stringify(content, null, 2)}\n`
  await writeFile(file, text, { mode: 0o600 })
}

/** The secrets of the world in `folder`, made there if it has none. */
export async function openSecrets(folder: string): Promise<WorldSecrets> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const file = secretsFile(folder)
  const known = await readSecret<WorldSecrets>(file)
  if (known !== undefined) return known
  const secrets = {
    masterSecret: randomBytes(32).toString('base64url'),
    operatorToken: randomBytes(32).toString('base64url'),
    issuerKeys: await makeIssuerKeys(),
    serviceAccount: await makeServiceAccount('http://127.0.0.1', 'idtoken-dev'),
    serviceSecrets: {},
  }
  await writeSecret(file, secrets)
  return secrets
}

/** Remembers the secret of one service. */
export async function keepServiceSecret(
  folder: string,
  serviceId: string,
  secret: string,
): Promise<void> {
  const secrets = await openSecrets(folder)
  const serviceSecrets = { ...secrets.serviceSecrets, [serviceId]: secret }
  await writeSecret(secretsFile(folder), { ...secrets, serviceSecrets })
}

function secretsFile(folder: string): string {
  return join(folder, 'secrets.json')
}
