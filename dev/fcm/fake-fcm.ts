/**
 * A faithful fake of Firebase Cloud Messaging for the development world and the tests: Google's token endpoint at `/token`, and
 * `/v1/projects/{project}/messages:send`. It refuses what Google refuses (6-operations 1.4), can be made to fail, and hands
 * messages to virtual phones. It knows nothing of the product but the promises in `policy.ts`.
 */
import { googleError, invalidArgument, quotaExceeded, unauthenticated } from './answers.ts'
import { type Delivery, Device, type DeviceOptions } from './devices.ts'
import { checkMessage, isObject, member } from './message-check.ts'
import { findViolations } from './policy.ts'
import { googleLimits, QuotaBook, type QuotaLimits } from './quotas.ts'
import {
  ConnectionReset,
  invalidToken,
  readScript,
  type Script,
  scriptedAnswer,
  wait,
} from './scripts.ts'
import { makeServiceAccount, type ServiceAccountJson } from './service-account.ts'
import { exchangeToken, type TokenScript } from './token-endpoint.ts'

/** One request to `messages:send`, and what was answered. */
export type SendRecord = {
  readonly at: number
  readonly projectId: string
  readonly token: string | undefined
  readonly status: number
  readonly message: unknown
}

export type FakeFcmOptions = {
  /** Unix seconds; the clock of the machine unless told. `advanceClock` adds to it. */
  readonly now?: () => number
  readonly quotas?: Partial<QuotaLimits>
  /** Deliveries come up to so many milliseconds late, each by its own chance: their order isn't guaranteed. */
  readonly deliverySpread?: number
}

type Members = Readonly<Record<string, unknown>>

const MOST_RECORDS = 1000

/** A new fake with no account and no device. */
export function createFakeFcm(options: FakeFcmOptions = {}): FakeFcm {
  return new FakeFcm(options)
}

export class FakeFcm {
  readonly violations: string[] = []
  readonly records: SendRecord[] = []
  readonly stats = { exchanges: 0, sends: 0, accepted: 0, delivered: 0, dropped: 0 }
  /** The token endpoint, as a test wants it. */
  readonly tokenEndpoint: { expiresIn: number; script: TokenScript } = {
    expiresIn: 3599,
    script: 'ok',
  }

  readonly #options: FakeFcmOptions
  readonly #quotas: QuotaBook
  readonly #accounts = new Map<string, ServiceAccountJson>()
  readonly #accessTokens = new Map<string, { projectId: string; expiresAt: number }>()
  readonly #devices = new Map<string, Device>()
  #clockOffset = 0

  constructor(options: FakeFcmOptions) {
    this.#options = options
    this.#quotas = new QuotaBook({ ...googleLimits, ...options.quotas })
  }

  /** The fake's time, Unix seconds. */
  now(): number {
    return (this.#options.now?.() ?? Date.now() / 1000) + this.#clockOffset
  }

  advanceClock(seconds: number): void {
    this.#clockOffset += seconds
  }

  /** Makes an account whose JSON belongs into `FCM_SERVICE_ACCOUNT`; `origin` is where this fake listens. */
  async createServiceAccount(where: {
    origin: string
    projectId?: string
  }): Promise<ServiceAccountJson> {
    const account = await makeServiceAccount(where.origin, where.projectId ?? 'idtoken-dev')
    this.useServiceAccount(account)
    return account
  }

  /** Takes an account made before, so that a restarted world keeps its configuration. */
  useServiceAccount(account: ServiceAccountJson): void {
    this.#accounts.set(account.private_key_id, account)
  }

  /** From now on no access token given out so far is good. */
  revokeAccessTokens(): void {
    this.#accessTokens.clear()
  }

  /** A device with a fresh token, as an app gets it. */
  createDevice(options: DeviceOptions = {}): string {
    const token = `${crypto.randomUUID().slice(0, 22)}:APA91b${crypto.randomUUID()}`
    this.registerDevice(token, options)
    return token
  }

  /** Makes `token` known, or known again; a device keeps its inbox and listeners. */
  registerDevice(token: string, options: DeviceOptions = {}): void {
    const device = this.#device(token)
    device.options = { ...device.options, ...options }
    device.registered = true
  }

  /** The app was removed: sends answer UNREGISTERED. */
  unregisterDevice(token: string): void {
    this.#device(token).registered = false
  }

  /** What FCM does with sends to `token`: one script for all, or one each, the last for all that follow. */
  setScript(token: string, script: Script | readonly Script[]): void {
    this.#device(token).setScripts(typeof script === 'string' ? [script] : script)
  }

  /** Calls `listener` for each message from now on; the answer stops it. */
  subscribe(token: string, listener: (delivery: Delivery) => void): () => void {
    const { listeners } = this.#device(token)
    listeners.add(listener)
    return () => void listeners.delete(listener)
  }

  /** All that was delivered to `token`. */
  messages(token: string): readonly Delivery[] {
    return [...(this.#devices.get(token)?.inbox ?? [])]
  }

  /** Answers a request to Google. Throws `ConnectionReset` when a script asks for a cut connection. */
  async handle(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url)
    if (pathname === '/token') return this.#exchange(request)
    const projectId = /^\/v1\/projects\/([^/]+)\/messages:send$/.exec(pathname)?.[1]
    if (projectId !== undefined) return this.#send(request, decodeURIComponent(projectId))
    return new Response('<!DOCTYPE html><title>Error 404 (Not Found)</title>', {
      status: 404,
      headers: { 'content-type': 'text/html; charset=UTF-8' },
    })
  }

  async #exchange(request: Request): Promise<Response> {
    this.stats.exchanges++
    const [name, amount] = readScript(this.tokenEndpoint.script)
    if (name === 'down') return new Response('', { status: 503 })
    if (name === 'garbage') return new Response('<html>', { status: 200 })
    if (name === 'rejecting') return Response.json({ error: 'invalid_grant' }, { status: 400 })
    if (name === 'hang') await wait(30_000, request.signal)
    if (name === 'slow') await wait(amount ?? 0, request.signal)
    return exchangeToken(request, {
      accounts: this.#accounts,
      now: this.now(),
      expiresIn: this.tokenEndpoint.expiresIn,
      keep: (token, grant) => void this.#accessTokens.set(token, grant),
    })
  }

  async #send(request: Request, projectId: string): Promise<Response> {
    this.stats.sends++
    const body = await readJson(request)
    const message = isObject(body) ? body.message : undefined
    const token = isObject(message) && typeof message.token === 'string' ? message.token : undefined
    const note = (status: number) => {
      this.records.push({ at: this.now(), projectId, token, status, message })
      if (this.records.length > MOST_RECORDS) this.records.shift()
    }
    try {
      const answer =
        this.#refuseEnvelope(request, projectId, body) ??
        (await this.#take(request, projectId, body))
      note(answer.status)
      return answer
    } catch (fault) {
      if (fault instanceof ConnectionReset) note(0)
      throw fault
    }
  }

  #refuseEnvelope(request: Request, projectId: string, body: unknown): Response | undefined {
    if (request.method !== 'POST')
      return googleError(405, 'Method not allowed.', { headers: { allow: 'POST' } })
    const bearer = /^Bearer (.+)$/.exec(request.headers.get('authorization') ?? '')?.[1]
    if (bearer === undefined) return unauthenticated('Bearer realm="https://accounts.google.com/"')
    const grant = this.#accessTokens.get(bearer)
    if (!grant || grant.expiresAt <= this.now()) {
      return unauthenticated('Bearer realm="https://accounts.google.com/", error="invalid_token"')
    }
    if (![...this.#accounts.values()].some((account) => account.project_id === projectId)) {
      return googleError(404, `Project "${projectId}" not found.`)
    }
    if (grant.projectId !== projectId) {
      return googleError(403, "Permission 'cloudmessaging.messages.create' denied on resource.")
    }
    const retryAfter = this.#quotas.countProject(projectId, this.now())
    if (retryAfter !== undefined) return quotaExceeded(`project:${projectId}`, retryAfter)
    if (
      !/^application\/json\b/.test(request.headers.get('content-type') ?? '') ||
      !isObject(body)
    ) {
      return invalidArgument([{ field: '', description: 'Invalid JSON payload received.' }])
    }
    const unknown = Object.keys(body).filter(
      (name) => !/^(message|validate_only|validateOnly)$/.test(name),
    )
    return unknown.length === 0
      ? undefined
      : invalidArgument(
          unknown.map((name) => ({
            field: '',
            description: `Unknown name "${name}": Cannot find field.`,
          })),
        )
  }

  async #take(request: Request, projectId: string, body: unknown): Promise<Response> {
    const { message, ...rest } = isObject(body) ? body : {}
    const faults = checkMessage(message, this.now())
    if (faults.length > 0 || !isObject(message)) return invalidArgument(faults)
    const dryRun = member(rest, 'validate_only') === true
    const token = typeof message.token === 'string' ? message.token : undefined
    const device = token === undefined ? undefined : this.#devices.get(token)
    if (token !== undefined && !device) return invalidToken()
    const script = device?.nextScript() ?? 'ok'
    if (!dryRun)
      this.violations.push(...(await findViolations(message, this.now(), device?.options.open)))
    const scripted = await scriptedAnswer(script, token ?? '', request.signal)
    if (scripted) return scripted
    if (device && !device.registered)
      return (await scriptedAnswer('unregistered', '', request.signal)) ?? invalidToken()
    if ((device?.options.projectId ?? projectId) !== projectId) {
      return googleError(403, 'SenderId mismatch', { errorCode: 'SENDER_ID_MISMATCH' })
    }
    if (dryRun) return Response.json({ name: `projects/${projectId}/messages/fake_message_id` })
    const retryAfter = device && this.#overDeviceQuota(device, message)
    if (retryAfter !== undefined) return quotaExceeded(`device:${token}`, retryAfter)
    this.stats.accepted++
    const messageId = `0:${Math.floor(this.now() * 1000)}%${crypto.randomUUID().slice(0, 8)}`
    if (device) this.#deliver(device, messageId, message, script)
    return Response.json({ name: `projects/${projectId}/messages/${messageId}` })
  }

  #overDeviceQuota(device: Device, message: Members): number | undefined {
    const android = isObject(message.android) ? message.android : {}
    const collapsible = member(android, 'collapse_key') !== undefined
    return this.#quotas.countDevice(device.token, collapsible, this.now())
  }

  #deliver(device: Device, messageId: string, message: Members, script: Script): void {
    const arrivals = device.arrivals(messageId, message, script, this.now())
    if (arrivals.length === 0) this.stats.dropped++
    for (const delivery of arrivals) {
      const hand = () => {
        this.stats.delivered++
        device.receive(delivery)
      }
      const { deliverySpread } = this.#options
      if (deliverySpread === undefined) hand()
      else setTimeout(hand, Math.random() * deliverySpread)
    }
  }

  #device(token: string): Device {
    const device = this.#devices.get(token) ?? new Device(token)
    this.#devices.set(token, device)
    return device
  }
}

async function readJson(request: Request): Promise<unknown> {
  try {
    return await request.json()
  } catch {
    return undefined
  }
}
