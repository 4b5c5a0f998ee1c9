/** Everything that a run needs, each in a process of its own: products over stores of their own, the floor, the peer, the fake FCM, the load. */
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { exportJWK } from 'jose'
import { REQUIRED_SCOPES, SCOPES } from '../dev/bar/service.ts'
import { Issuer } from '../dev/issuer.ts'
import { operate } from '../dev/operator.ts'
import { generateKeys } from '../dev/phone/phone.ts'
import { freePorts } from '../dev/ports.ts'
import { openSecrets, type WorldSecrets } from '../dev/secrets.ts'
import { build } from './build.ts'
import { type Calls, type Child, startChild } from './child.ts'
import { REDIRECT_URI, SERVICE_ORIGIN } from './doors.ts'
import type { FcmCalls } from './fcm.ts'
import { layFloor } from './floor/rounds.ts'
import type { Cost, LoadCalls } from './load.ts'
import type { PeerCalls } from './peer.ts'
import { fill, migrate } from './people.ts'
import type { ServerCalls, ServerOrder } from './server.ts'
import { ADDRESS_HEADER } from './visitor.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
/** The products of a run share a name, so that a phone which is enrolled at one is enrolled at all. */
const ISSUER = 'http://localhost:8787'
const MEMORY = '/dev/shm'
/** One service may begin a hundred logins a second; three of them are never in the way. */
const SERVICES = ['bench-1', 'bench-2', 'bench-3']
/** Keeps the long stops of V8's old generation out of the times; a measuring aid. */
const V8_FLAGS = { MINIFLARE_WORKERD_V8_FLAGS: '--initial-old-space-size=512' }

type Service = { readonly serviceId: string; readonly secret: string }

/** A Worker that runs; `pid` is that of workerd. */
export type Served = {
  readonly origin: string
  readonly pid: number
  readonly child: Child<ServerCalls>
}

export type World = {
  readonly load: Child<LoadCalls>
  readonly fcm: Child<FcmCalls>
  readonly secrets: WorldSecrets
  readonly services: readonly Service[]
  /** What enrolling the people who log in has cost. */
  readonly enrolling: Cost
  /** A store with these people in it, from which products are made. */
  readonly base: string
  /** A new store, made of `base` and filled up to `people`. */
  readonly fillStore: (name: string, people: number) => string
  /** A new store made of `base` in memory, where the machine has such a place: for what isn't about the disk. */
  readonly storeInMemory: () => string
  /** Serves the product over `store`. Under `steady` V8 gets the flag that keeps its long stops away. */
  readonly serveProduct: (store: string, steady?: boolean) => Promise<Served>
  /** Lets the people go to a product under `name`. */
  readonly join: (name: string, served: Served) => Promise<void>
  readonly serveFloor: () => Promise<Served>
  readonly startPeer: () => Promise<{
    readonly origin: string
    readonly pid: number
    readonly child: Child<PeerCalls>
  }>
}

/** What was started, so that all of it can be stopped. */
export class Lease {
  #folder: string | undefined
  readonly #children: Child<Calls>[] = []
  #memory: string | undefined
  #ended = false

  /** A folder on the disk, made at the first need. */
  get folder(): string {
    if (this.#folder !== undefined) return this.#folder
    const shelf = join(ROOT, '.local')
    mkdirSync(shelf, { recursive: true, mode: 0o700 })
    this.#folder = mkdtempSync(join(shelf, 'bench-'))
    return this.#folder
  }

  /** A folder in memory, or on the disk where there is no such thing. */
  memory(): string {
    const place = existsSync(MEMORY) ? MEMORY : this.folder
    this.#memory ??= mkdtempSync(join(place, 'idtoken-bench-'))
    return this.#memory
  }

  start<Its extends Calls>(program: string, environment: Readonly<Record<string, string>> = {}) {
    if (this.#ended) throw new Error('The run is over.')
    const child = startChild<Its>(program, environment)
    this.#children.push(child)
    return child
  }

  /** Stops what runs, all at once so that nobody complains of the others, and takes the folders away. */
  async end(): Promise<void> {
    this.#ended = true
    await Promise.all(this.#children.splice(0).map((child) => child.stop()))
    const folders = [this.#folder, this.#memory].filter((folder) => folder !== undefined)
    for (const folder of folders) {
      rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
    }
  }
}

/** Builds the Worker, enrolls `phones` people, and makes ready. */
export async function openWorld(
  lease: Lease,
  phones: number,
  note: (line: string) => void,
): Promise<World> {
  const { folder } = lease
  note('building the Worker and the floor')
  const product = build(join(ROOT, 'wrangler.toml'), join(folder, 'product'), 'index.js')
  const floorConfig = join(ROOT, 'bench', 'floor', 'wrangler.toml')
  const floor = build(floorConfig, join(folder, 'floor'), 'worker.js')
  const secrets = await openSecrets(folder)
  const issuer = new Issuer(secrets.issuerKeys, ISSUER)

  const fcm = lease.start<FcmCalls>('fcm.ts')
  const load = lease.start<LoadCalls>('load.ts')
  const { account, phones: phonesOrigin } = await fcm.call('start', secrets.serviceAccount)
  await load.call('listen', phonesOrigin)
  const variables = {
    ISSUER,
    MASTER_SECRET: secrets.masterSecret,
    FCM_SERVICE_ACCOUNT: JSON.stringify(account),
    OPERATOR_TOKEN_SHA256: createHash('sha256').update(secrets.operatorToken).digest('base64url'),
    TRUST_LIST_KEYS: JSON.stringify([await issuer.pinnedKey()]),
    CLIENT_ADDRESS_HEADER: ADDRESS_HEADER,
  }
  const serve = async (
    order: Pick<ServerOrder, 'config' | 'bundle' | 'store' | 'limits'>,
    settings: Readonly<Record<string, string>>,
    steady: boolean,
  ): Promise<Served> => {
    const [port = 0] = await freePorts(1)
    const child = lease.start<ServerCalls>('server.ts', steady ? V8_FLAGS : {})
    const { pid } = await child.call('start', { ...order, port, variables: settings })
    return { origin: `http://127.0.0.1:${port}`, pid, child }
  }
  const serveProduct = (store: string, steady = true) => {
    const config = join(ROOT, 'wrangler.toml')
    return serve({ config, bundle: product, store, limits: 'memory' }, variables, steady)
  }

  const base = join(folder, 'base')
  const first = await serveProduct(base)
  migrate(base)
  const services = await furnish(first.origin, secrets, issuer)
  note(`enrolling ${phones} people with phones`)
  const tokens = Array.from({ length: phones }, (_, i) => `bench-${i}:APA91b${crypto.randomUUID()}`)
  await fcm.call('register', tokens)
  const { origin, pid } = first
  const order = { origin, issuer: ISSUER, keys: secrets.issuerKeys, tokens, pid }
  const enrolling = await load.call('enroll', order)
  await first.child.stop()

  const { publicKey } = (await generateKeys(true)).agreement
  const { kty, crv, x, y } = await exportJWK(publicKey)
  return {
    ...{ load, fcm, secrets, services, enrolling, base, serveProduct },
    fillStore: (name, people) => {
      const store = join(folder, name)
      cpSync(base, store, { recursive: true })
      fill(store, people, { kty, crv, x, y })
      return store
    },
    storeInMemory: () => {
      const store = join(lease.memory(), 'store')
      cpSync(base, store, { recursive: true })
      return store
    },
    join: (name, served) =>
      load.call('join', { name, origin: served.origin, issuer: ISSUER, pid: served.pid, services }),
    serveFloor: async () => {
      const store = join(folder, 'floor-store')
      const order = { config: floorConfig, bundle: floor, store, limits: 'miniflare' } as const
      const served = await serve(order, {}, true)
      layFloor(store)
      return served
    },
    startPeer: async () => {
      const child = lease.start<PeerCalls>('peer.ts')
      const known = { clientId: 'bench', secret: secrets.operatorToken, redirectUri: REDIRECT_URI }
      return { ...(await child.call('start', known)), child }
    },
  }
}

/** What an operator does first: trust list and services. */
async function furnish(
  origin: string,
  secrets: WorldSecrets,
  issuer: Issuer,
): Promise<readonly Service[]> {
  const operator = operate(origin, secrets.operatorToken)
  const sequence = Math.floor(Date.now() / 1000)
  await operator.put('/operator/trust-list', { trustList: await issuer.trustList(sequence) })
  const services: Service[] = []
  for (const serviceId of SERVICES) {
    const { secret } = await operator.put(`/operator/services/${serviceId}`, {
      name: 'Bar le Central',
      url: `${SERVICE_ORIGIN}/`,
      origins: [SERVICE_ORIGIN],
      allowedScopes: SCOPES,
      defaultScopes: SCOPES,
      requiredScopes: REQUIRED_SCOPES,
      subjectType: 'pairwise',
      oidc: { redirect_uris: [REDIRECT_URI] },
    })
    services.push({ serviceId, secret: String(secret) })
  }
  await operator.expectHealthy()
  return services
}
