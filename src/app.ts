/**
 * The only composition: configuration in, capabilities mounted. Rooms get what they reach for from here and know nothing
 * of each other's wiring. Deleting a capability is deleting its folder and its line in `createApp`.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { Hono } from 'hono'
import { type Audit, auditOf } from './audit/store.ts'
import { type Config, readConfig } from './config.ts'
import { directDoor } from './direct/door.ts'
import { directRoutes } from './direct/routes.ts'
import { enrollmentRoutes } from './enrollment/routes.ts'
import { clearFcmToken, type Enrollment } from './enrollment/store.ts'
import { problem } from './http/problem.ts'
import { secured } from './http/security.ts'
import { type KeyRing, SigningKeyUnusable } from './keys/key-ring.ts'
import { jwksRoutes } from './keys/routes.ts'
import { createKeyRing } from './keys/store.ts'
import { type HostedHouse, hostedRoutes, loginShower } from './login/hosted/routes.ts'
import type { InboxHouse } from './login/inbox.ts'
import { inboxName, type LoginHouse, sessionIdOf, sessionStub } from './login/object.ts'
import { loginRoutes } from './login/routes.ts'
import type { StartHouse } from './login/start.ts'
import { isStanding, standingOf } from './login/store.ts'
import { webOrigins } from './oidc/cors.ts'
import { oidcDoor } from './oidc/door.ts'
import { tellClients } from './oidc/logout/tell.ts'
import { keepSession, type OidcHouse, oidcRoutes } from './oidc/routes.ts'
import { oidcStore } from './oidc/store.ts'
import { operatorRoutes } from './operator/routes.ts'
import { isChannelDown, sendPush } from './push/fcm.ts'
import { buildMessage } from './push/message.ts'
import { ok, type Result } from './result.ts'
import { trustListRoutes } from './seal/routes.ts'
import { type TrustLists, trustListsOf } from './seal/store.ts'
import { serviceRoutes } from './services/routes.ts'
import { findVds, isRegisteredOrigin, type ServiceMemory, serviceMemory } from './services/store.ts'

/** Everything one isolate needs, built once from its environment. */
export interface House {
  readonly config: Config
  readonly env: Env
  readonly audit: Audit
  readonly keys: KeyRing
  readonly trust: TrustLists
  readonly services: ServiceMemory
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
  const doors = {
    direct: directDoor({ issuer, master, signToken: keys.signToken, now: seconds, random }),
    oidc: oidcDoor({ issuer, master, now: seconds, random }),
  }
  return ok({
    config,
    env,
    audit,
    keys,
    trust,
    services: serviceMemory(env.DB, seconds),
    login: {
      issuer,
      master,
      audit,
      doors,
      now: millis,
      random,
      inboxOf,
      stillStands: async ({ addressee, asked, enrollmentId }) => {
        const tokenId = addressee?.tokenId ?? ''
        const standing = await standingOf(env.DB, trust, tokenId, asked.service.id)
        return isStanding(standing, enrollmentId, seconds(), asked.vds)
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
  const redeem = async (sessionId: string, serviceId: string, code: string) => {
    const redeemed = await sessionOf(sessionId)?.redeem(serviceId, code)
    return redeemed?.ok ? redeemed.value : undefined
  }
  const vdsOf = (serviceId: string) => findVds(env.DB, serviceId, seconds())
  const base = { config, db: env.DB, audit, trust, now: seconds, random }
  const start = startHouse(house)
  const hosted = hostedHouse(house, start)
  const oidc = oidcHouse(house, hosted, redeem)
  const { startLimit } = hosted

  const app = new Hono()
  app.route(
    '/',
    jwksRoutes(() => keys),
  )
  app.route('/', trustListRoutes(env.DB))
  app.route('/', enrollmentRoutes({ ...base, tellReplaced: (old) => tellReplaced(house, old) }))
  app.route('/', loginRoutes({ ...base, sessionOf, inboxOf, socketLimit: env.SOCKET_LIMIT }))
  app.route('/', hostedRoutes(hosted))
  app.route('/', serviceRoutes({ findVds: vdsOf }))
  app.route(
    '/',
    directRoutes({
      ...{ ...base, millis, start, redeem, startLimit },
      serviceLimit: env.SERVICE_LIMIT,
      serviceVdsKey: keys.serviceVdsKey,
      findVds: vdsOf,
    }),
  )
  app.route('/', oidcRoutes(oidc))
  app.route(
    '/',
    operatorRoutes({
      ...base,
      keys,
      cancelLogins: async (tokenId) => (await inboxOf(tokenId)).revoke(),
      endSessions: async (tokenId) => {
        const sessions = await oidc.store.takeSessionsOf(tokenId)
        return () => oidc.tellClients(sessions)
      },
      forgetService: house.services.forget,
    }),
  )
  app.notFound(() => problem('not_found'))
  app.onError(failed)
  return app
}

function hostedHouse(
  { config, env, trust, services, login }: House,
  start: StartHouse,
): HostedHouse {
  const { master } = config
  return {
    config,
    db: env.DB,
    trust,
    start,
    doors: login.doors,
    recallService: services.recall,
    sessionOf: (sessionId) => sessionStub(env.LOGIN_SESSION, sessionId),
    newSessionId: () => sessionIdOf(env.LOGIN_SESSION.newUniqueId()),
    keep: (_door, keepsake, cookies) => keepSession(master, keepsake, cookies, seconds()),
    now: millis,
    random,
    startLimit: env.START_LIMIT,
  }
}

function oidcHouse(house: House, hosted: HostedHouse, redeem: OidcHouse['redeem']): OidcHouse {
  const { config, env, audit, keys, services } = house
  const { issuer, master } = config
  return {
    ...{ config, issuer, master, redeem, random },
    now: seconds,
    store: oidcStore(env.DB, house.trust),
    recallService: services.recall,
    origins: webOrigins((origin) => isRegisteredOrigin(env.DB, origin)),
    failureLimit: env.CLIENT_LIMIT,
    startLimit: env.START_LIMIT,
    signIdToken: keys.signIdToken,
    signAccessToken: keys.signAccessToken,
    readyToSign: keys.tokenJwks,
    readIdToken: keys.readIdToken,
    readAccessToken: keys.readAccessToken,
    newSessionId: hosted.newSessionId,
    showLogin: loginShower(hosted),
    resume: async (asked, granted, browser, sessionId) => {
      const { tokenId } = granted
      const object = hosted.sessionOf(sessionId ?? hosted.newSessionId())
      if (object === undefined) return null
      const where = { browser, requestedAt: millis() }
      return object.resume(asked, { tokenId, thumbprint: null }, where, granted)
    },
    noteRefusal: (where, reason, service) =>
      audit.line({ event: 'refused', where, reason, service }),
    noteReplay: (what, { clientId, grantId }) =>
      audit.record({ event: 'replayed', service: clientId, grant: grantId, what }),
    noteExchange: ({ clientId, grantId }, from, resource) =>
      audit.record({ event: 'token_exchanged', service: clientId, grant: grantId, from, resource }),
    noteRevocation: ({ clientId, grantId }) =>
      audit.record({ event: 'grant_ended', service: clientId, grant: grantId }),
    tellClients: (sessions) =>
      tellClients(
        {
          ...{ issuer, master, random },
          now: seconds,
          recallService: services.recall,
          signLogoutToken: keys.signLogoutToken,
          note: (service, outcome) => audit.line({ event: 'service_told', service, outcome }),
        },
        sessions,
      ),
  }
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
/** Cookies of other hosts of the same site come along with ours; a person must not be locked out by them. */
const LONGEST_COOKIES = 64 * 1024

/** Whether the head of `request` holds a line that only a hostile client sends (5-security 19). */
function isOversized({ url, headers }: Request): boolean {
  if (url.length > LONGEST_LINE) return true
  return [...headers].some(
    ([name, line]) => line.length > (name === 'cookie' ? LONGEST_COOKIES : LONGEST_LINE),
  )
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
