/**
 * The development world: the product, a virtual phone with the fake FCM and the development issuer, and the demo service, each on a
 * port of its own. It sets the product up as an operator would, from outside.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { clientRecord } from './bar/relying-party.ts'
import { serveBar } from './bar/server.ts'
import { REQUIRED_SCOPES, SCOPES } from './bar/service.ts'
import { createFakeFcm, type FakeFcm } from './fcm/fake-fcm.ts'
import { Issuer } from './issuer.ts'
import { type Operator, operate } from './operator.ts'
import { type Autopilot, startAutopilot } from './phone/autopilot.ts'
import { servePhone } from './phone/server.ts'
import { startProduct } from './product.ts'
import { keepServiceSecret, openSecrets, type WorldSecrets, writeSecret } from './secrets.ts'

export type WorldOptions = {
  /** Keeps databases and secrets; the same folder is the same world again. */
  readonly folder: string
  readonly port: number
  readonly phonePort: number
  readonly barPort: number
  readonly confirmation?: 'compare' | 'transfer' | undefined
  readonly autopilot?: boolean | undefined
  /** Settings of the product that differ from the development ones. */
  readonly settings?: Readonly<Record<string, string>>
  readonly log?: (line: string) => void
  /** The product has ended by itself; the world can only be stopped now. */
  readonly onDeath?: (lastWords: string) => void
  /** Aborting it while the world starts makes the start fail, cleanly. */
  readonly signal?: AbortSignal
}

export type World = {
  /** The issuer URL of the product. */
  readonly product: string
  /** The phone's page; `localhost`, so that the two pages are two sites to a browser as well. */
  readonly phone: string
  readonly bar: string
  readonly service: { readonly serviceId: string; readonly secret: string }
  readonly operator: Operator
  readonly issuer: Issuer
  readonly fcm: FakeFcm
  readonly autopilot: Autopilot | undefined
  readonly stop: () => Promise<void>
}

const SERVICE_ID = 'bar-le-central'

/** Starts everything and returns when it works. Throws a plain sentence when it can't, leaving nothing behind. */
export async function startWorld(options: WorldOptions): Promise<World> {
  const started: { stop: () => unknown }[] = []
  const stop = async () => {
    for (const part of started.splice(0).reverse()) await part.stop()
  }
  try {
    const { folder, confirmation = 'compare' } = options
    const product = `http://localhost:${options.port}`
    const secrets = await openSecrets(folder)
    const issuer = new Issuer(secrets.issuerKeys, product)

    const fcm = createFakeFcm()
    const phone = await servePhone({ port: options.phonePort, product, fcm, issuer })
    started.push({ stop: phone.close })

    const envFile = join(folder, 'product.env')
    const settings = await settingsOf(options, secrets, { fcm, issuer, phone: phone.origin })
    await writeSecret(envFile, asEnvFile({ ...settings, ...options.settings }))
    const onDeath = options.onDeath ?? (() => {})
    const signal = options.signal ?? new AbortController().signal
    started.push(await startProduct({ port: options.port, folder, envFile, onDeath, signal }))
    signal.throwIfAborted()

    const operator = operate(product, secrets.operatorToken)
    await operator.put('/operator/trust-list', {
      // Seconds since 1970 rise from start to start.
      trustList: await issuer.trustList(Math.floor(Date.now() / 1000)),
    })
    const barOrigin = `http://127.0.0.1:${options.barPort}`
    const secret = await registerBar(operator, options, secrets, barOrigin)
    await operator.expectHealthy()

    const service = { issuer: product, serviceId: SERVICE_ID, secret }
    const transfer = confirmation === 'transfer' ? { confirmation } : {}
    const bar = await serveBar({ ...service, ...transfer, port: options.barPort })
    started.push({ stop: bar.close })

    const autopilot = options.autopilot
      ? await startAutopilot({
          product,
          fcm,
          issuer,
          file: join(folder, 'autopilot.json'),
          revoke: (tokenId) => operator.revoke(tokenId, 'the development phone lost its keys'),
          ...(options.log === undefined ? {} : { log: options.log }),
        })
      : undefined
    if (autopilot) started.push(autopilot)
    return {
      product,
      phone: asLocalhost(phone.origin),
      bar: bar.origin,
      service: { serviceId: SERVICE_ID, secret },
      operator,
      issuer,
      fcm,
      autopilot,
      stop,
    }
  } catch (fault) {
    await stop()
    throw fault
  }
}

async function settingsOf(
  options: WorldOptions,
  secrets: WorldSecrets,
  { fcm, issuer, phone }: { fcm: FakeFcm; issuer: Issuer; phone: string },
): Promise<Record<string, string>> {
  const account = {
    ...secrets.serviceAccount,
    token_uri: `${phone}/token`,
    messaging_endpoint: phone,
  }
  fcm.useServiceAccount(account)
  return {
    ISSUER: `http://localhost:${options.port}`,
    MASTER_SECRET: secrets.masterSecret,
    FCM_SERVICE_ACCOUNT: JSON.stringify(account),
    OPERATOR_TOKEN_SHA256: createHash('sha256').update(secrets.operatorToken).digest('base64url'),
    TRUST_LIST_KEYS: JSON.stringify([await issuer.pinnedKey()]),
    ENROLLMENT_GRANT: 'optional',
    ENROLLMENTS_PER_HOUR: '1000',
    CONFIRMATION: options.confirmation ?? 'compare',
    APP_URL: `${asLocalhost(phone)}/`,
    CLIENT_ADDRESS_HEADER: '',
  }
}

/** The bar as the operator registers it, when it is served at `origin`. */
export function barRecord(origin: string) {
  return {
    name: 'Bar le Central',
    url: `${origin}/`,
    origins: [origin],
    allowedScopes: SCOPES,
    defaultScopes: SCOPES,
    requiredScopes: REQUIRED_SCOPES,
    subjectType: 'pairwise',
    oidc: clientRecord(origin),
    enabled: true,
  } as const
}

/** Registers the demo service and gives its secret, which the product shows only once. */
async function registerBar(
  operator: Operator,
  { folder }: WorldOptions,
  secrets: WorldSecrets,
  origin: string,
): Promise<string> {
  const registered = await operator.put(`/operator/services/${SERVICE_ID}`, barRecord(origin))
  const known = secrets.serviceSecrets[SERVICE_ID]
  if (typeof registered.secret !== 'string' && known !== undefined) return known
  const fresh =
    registered.secret ?? (await operator.post(`/operator/services/${SERVICE_ID}/secret`, {})).secret
  await keepServiceSecret(folder, SERVICE_ID, String(fresh))
  return String(fresh)
}

/** The address by which the phone's page goes, so that a link to it finds what that page has stored. */
function asLocalhost(origin: string): string {
  return origin.replace('127.0.0.1', 'localhost')
}

/** No value holds a single quote, and nothing is expanded between two of them. */
function asEnvFile(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name}='${value}'\n`)
    .join('')
}
