/**
 * The only composition: configuration in, capabilities mounted. Rooms get what they reach for from here and know nothing
 * of each other's wiring. Deleting a capability is deleting its folder and its line in `createApp`.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { Hono } from 'hono'
import { type Audit, auditOf } from './audit/store.ts'
import { type Config, readConfig } from './config.ts'
import { finishDirect } from './direct/door.ts'
import { directRoutes } from './direct/routes.ts'
import { enrollmentRoutes } from './enrollment/routes.ts'
import { clearFcmToken, type Enrollment } from './enrollment/store.ts'
import { problem } from './http/problem.ts'
import { secured } from './http/security.ts'
import { type KeyRing, SigningKeyUnusable } from './keys/key-ring.ts'
import { jwksRoutes } from './keys/routes.ts'
import { createKeyRing } from './keys/store.ts'
import type { InboxHouse } from './login/inbox.ts'
import { inboxName, type LoginHouse, sessionStub } from './login/object.ts'
import { loginRoutes } from './login/routes.ts'
import type { StartHouse } from './login/start.ts'
import { isStanding, standingOf } from './login/store.ts'
import { operatorRoutes } from './operator/routes.ts'
import { isChannelDown, sendPush } from './push/fcm.ts'
import { buildMessage } from './push/message.ts'
import { ok, type Result } from './result.ts'
import { trustListRoutes } from './seal/routes.ts'
import { type TrustLists, trustListsOf } from './seal/store.ts'

/** Everything one isolate needs, built once from its environment. */
export interface House {
  readonly config: Config
  readonly env: Env
  readonly audit: Audit
  readonly keys: KeyRing
  readonly trust: TrustLists
  readonly login: LoginHouse
  readonly inbox: InboxHouse
}

const millis = () => Date.now()
const seconds = () => Math.floor(Date.now() / 1000)
const random = (length: number) => crypto.getRandomValues(new Uint8Array(length))

/** The house for `env`, or the sentence that tells the operator what is wrong with the configuration. */
export function buildHouse(env: Env): Result<House, string> {
  const read = readConfig({ ...env })
  if (!read.ok) return read
  const config = read.value
  const { issuer, master } = config
  const audit = auditOf(env.DB, master, millis, () => requestIds.getStore())
  const keys = createKeyRing({ db: env.DB, master, issuer, now: seconds })
  const trust = trustListsOf(env.DB, config.trustListKeys)
  const inboxOf = async (tokenId: string) =>
    env.PHONE_INBOX.getByName(await inboxName(master, tokenId))
  const direct = finishDirect({ issuer, master, signToken: keys.signToken, now: seconds, random })
  return ok({
    config,
    env,
    audit,
    keys,
    trust,
    login: {
      issuer,
      master,
      audit,
      doors: { direct },
      now: millis,
      random,
      inboxOf,
      stillStands: async ({ addressee, asked, enrollmentId }) => {
        const standing = await standingOf(env.DB, addressee.tokenId, asked.service.id)
        return isStanding(standing, enrollmentId, seconds())
      },
    },
    inbox: { now: millis, sessionOf: (sessionId) => sessionStub(env.LOGIN_SESSION, sessionId) },
  })
}

/** The Worker's routes over one house. */
export function createApp(house: House): Hono {
  const { config, env, audit, keys, trust } = house
  const { inboxOf } = house.login
  const sessionOf = (sessionId: string) => sessionStub(env.LOGIN_SESSION, sessionId)
  const base = { config, db: env.DB, audit, trust, now: seconds, random }
  const start = startHouse(house)

  const app = new Hono()
  app.route(
    '/',
    jwksRoutes(() => keys),
  )
  app.route('/', trustListRoutes(env.DB))
  app.route('/', enrollmentRoutes({ ...base, tellReplaced: (old) => tellReplaced(house, old) }))
  app.route('/', loginRoutes({ ...base, sessionOf, inboxOf, socketLimit: env.SOCKET_LIMIT }))
  app.route(
    '/',
    directRoutes({
      ...base,
      start,
      redeem: async (sessionId, serviceId, code) => {
        const redeemed = await sessionOf(sessionId)?.redeem(serviceId, code)
        return redeemed?.ok ? redeemed.value : undefined
      },
      startLimit: env.START_LIMIT,
      serviceLimit: env.SERVICE_LIMIT,
    }),
  )
  app.route(
    '/',
    operatorRoutes({
      ...base,
      keys,
      cancelLogins: async (tokenId) => (await inboxOf(tokenId)).revoke(),
    }),
  )
  app.notFound(() => problem('not_found'))
  app.onError(failed)
  return app
}

/** A day is long enough for a phone that was off; who was replaced by a thief should hear of it. */
const NOTICE_SECONDS = 24 * 3600

async function tellReplaced({ config }: House, { fcmToken, deviceKey }: Enrollment): Promise<void> {
  if (fcmToken === null) return
  const now = seconds()
  const deadline = now + NOTICE_SECONDS
  const { thumbprint: login } = deviceKey
  await sendPush(config.fcm, buildMessage({ fcmToken, now, deadline, login, notice: 'replaced' }))
}

function startHouse({ config, env, audit, keys, login }: House): StartHouse {
  return {
    issuer: config.issuer,
    now: millis,
    signPush: keys.signPush,
    createSession: (asked, addressee) =>
      env.LOGIN_SESSION.get(env.LOGIN_SESSION.newUniqueId()).create(asked, addressee),
    registerStart: async (tokenId, entry) => (await login.inboxOf(tokenId)).start(entry),
    isChannelDown: () => isChannelDown(config.fcm, seconds()),
    send: (message) =>
      sendPush(config.fcm, message, {
        report: (reason) => void audit.line({ event: 'push_failed', reason }),
      }),
    forgetPushToken: (tokenId, fcmToken) => clearFcmToken(env.DB, tokenId, fcmToken),
    tellPushFailed: async (sessionId) => sessionStub(env.LOGIN_SESSION, sessionId)?.pushFailed(),
  }
}

/**
 * Answers one request. Whatever a route throws ends in one place: D1 or an object that doesn't answer is 503, the rest 500,
 * and neither says more (5-security 18, 302, 307).
 */
export async function serve(
  app: Hono,
  request: Request,
  env: Env,
  ctx: ExecutionContext,
): Promise<Response> {
  const requestId = crypto.randomUUID()
  const answer = isOversized(request)
    ? problem('invalid_request')
    : await requestIds.run(requestId, async () => app.fetch(request, env, ctx))
  return secured(answer, requestId)
}

/** The longest address and the longest header that we look at, in characters: nothing of ours comes near. */
const LONGEST_LINE = 16 * 1024

/** Whether the head of `request` holds a line that only a hostile client sends (5-security 19). */
function isOversized({ url, headers }: Request): boolean {
  return [url, ...headers.values()].some((line) => line.length > LONGEST_LINE)
}

/** The id under which a request is answered and logged. */
const requestIds = new AsyncLocalStorage<string>()

function failed(error: Error): Response {
  const storage = isStorageFault(error)
  console.log(
    JSON.stringify({
      at: new Date().toISOString(),
      event: 'failed',
      requestId: requestIds.getStore(),
      kind: storage ? 'storage' : error.name,
    }),
  )
  return problem(storage ? 'unavailable' : 'internal')
}

/** Whether storage is at fault: D1 prefixes what it throws with its name; an object that was reset or is overloaded says so in flags. */
function isStorageFault(error: Error): boolean {
  const flags = ['retryable', 'overloaded', 'durableObjectReset']
  if (error instanceof SigningKeyUnusable) return true
  return error.message.startsWith('D1_') || flags.some((flag) => Reflect.get(error, flag) === true)
}
