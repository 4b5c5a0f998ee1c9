/** The load, in a process of its own: every browser, phone and service of a run. It measures; what follows from it is told in `run.ts`. */
import { setTimeout as wait } from 'node:timers/promises'
import { createLocalJWKSet, jwtVerify } from 'jose'
import type { Delivery } from '../dev/fcm/devices.ts'
import { Issuer, type IssuerKeys } from '../dev/issuer.ts'
import { demand, Queue } from '../dev/login-stage.ts'
import { serveParent } from './child.ts'
import { beginLogin, type Door, jsonOf, type Login, playLogin, STEPS, userinfo } from './doors.ts'
import { ask, type Request } from './http.ts'
import { closedLoop, forSeconds, type Measured, once, openLoop } from './loops.ts'
import { Crowd, type Enrolled, enroll, type Person } from './people.ts'
import { cpuOf } from './process.ts'
import { arrivals, type Summary, seededDraw, summaryOf } from './statistics.ts'
import { Visitor } from './visitor.ts'

type Service = { readonly serviceId: string; readonly secret: string }

/** A product under test: where it listens, and the process whose CPU counts. */
type Place = {
  readonly origin: string
  readonly issuer: string
  readonly pid: number
  readonly services: readonly Service[]
}

/** What one thing cost, of many: rate, CPU of the process under test and of ours in milliseconds, and times in milliseconds. */
export type Cost = {
  readonly count: number
  readonly failed: number
  readonly perSecond: number
  readonly cpu: number
  readonly ownCpu: number
  readonly times: Summary
}

const enrolled: Enrolled[] = []
const queues = new Map<string, Person['pushes']>()
const places = new Map<string, Place & { readonly crowd: Crowd }>()
const held: Visitor[] = []
const claims: NodeJS.Timeout[] = []
/** A login that was opened by its phone lives for a minute more. */
const CLAIM_AFTER = 40_000
let begun = 0

const calls = {
  /** Listens to what the fake FCM delivers. */
  listen: async (phones: string) => {
    const { body } = await fetch(phones)
    if (body === null) throw new Error('The fake FCM has nothing to say.')
    // It ends with the run, in whatever order the programs are stopped; a login that waits for a push then says so.
    dispatch(body).catch(() => {})
  },

  /** Enrolls a phone for each of `tokens`. */
  enroll: async (order: {
    readonly origin: string
    readonly issuer: string
    readonly keys: IssuerKeys
    readonly tokens: readonly string[]
    readonly pid: number
  }) => {
    const { origin, issuer, tokens, pid, keys } = order
    const acts = new Issuer(keys, issuer)
    const next = once(tokens, async (token) => {
      enrolled.push(await enroll(origin, { url: issuer, acts }, token))
    })
    return costOf(await closedLoop(pid, 8, next))
  },

  /** Brings everybody to the product `name`. */
  join: async ({ name, ...place }: Place & { readonly name: string }) => {
    const crowd = await Crowd.at(place, enrolled, queueOf)
    places.set(name, { ...place, crowd })
  },

  /** One login at `name` whose token is checked as a service would. */
  rehearse: async ({ name, door }: { readonly name: string; readonly door: Door }) => {
    const place = placeOf(name)
    const login = beginAt(place)
    if (login === undefined) throw new Error('There is nobody to log in.')
    await playLogin(door, login)
    place.crowd.giveBack(login.person)
    const { text } = await ask(`${place.origin}/.well-known/jwks.json`)
    const { payload } = await jwtVerify(login.idToken, createLocalJWKSet(JSON.parse(text)), {
      algorithms: ['ES256'],
      issuer: place.issuer,
      audience: login.target.serviceId,
    })
    demand(payload.age_over_18 === true, 'the token does not say what was shared')
  },

  /** Logins at `name`, one after the other by each of `hands`. */
  logins: async (order: {
    readonly name: string
    readonly door: Door
    readonly hands: number
    readonly seconds?: number
    readonly count?: number
  }) => {
    const { name, door, hands, seconds, count } = order
    const place = placeOf(name)
    let left = count ?? Number.POSITIVE_INFINITY
    const next = () => {
      if (--left < 0) return undefined
      const login = beginAt(place)
      return (
        login && (() => playLogin(door, login).finally(() => place.crowd.giveBack(login.person)))
      )
    }
    const work = seconds === undefined ? next : forSeconds(seconds, next)
    return costOf(await closedLoop(place.pid, hands, work))
  },

  /** `count` logins at `name`, all of them through one step before any goes on to the next. Userinfo comes last. */
  stages: async (order: {
    readonly name: string
    readonly door: Door
    readonly hands: number
    readonly count: number
  }) => {
    const { name, door, hands, count } = order
    const place = placeOf(name)
    const logins = Array.from({ length: count }, () => beginAt(place)).filter(
      (one) => one !== undefined,
    )
    const costs: Record<string, Cost> = {}
    const steps = STEPS[door].map(({ name, run }) => ({ name, run }))
    if (door === 'oidc') steps.push({ name: 'userinfo', run: userinfo })
    for (const { name: step, run } of steps) {
      costs[step] = costOf(await closedLoop(place.pid, hands, once(logins, run)))
    }
    for (const { visitor, person } of logins) {
      visitor.leave()
      place.crowd.giveBack(person)
    }
    return costs
  },

  /** Visitors of `name` who come when they come, `perSecond` on average. */
  visits: async (order: {
    readonly name: string
    readonly door: Door
    readonly perSecond: number
    readonly seconds: number
    readonly seed: number
  }) => {
    const { name, door, perSecond, seconds, seed } = order
    const place = placeOf(name)
    const times = arrivals(perSecond, seconds, seededDraw(seed))
    const { failed, latencies } = await openLoop(
      times,
      STEPS[door],
      () => beginAt(place),
      ({ visitor, person }) => {
        visitor.leave()
        place.crowd.giveBack(person)
      },
    )
    return { failed, latencies }
  },

  /** The same request again and again. */
  requests: async (order: {
    readonly url: string
    readonly request?: Request
    readonly pid: number
    readonly hands: number
    readonly seconds: number
  }) => {
    const { url, request, pid, hands, seconds } = order
    const job = async () => {
      const { status, text } = await ask(url, request)
      demand(status === 200, `${url} answered ${status} ${text.slice(0, 200)}`)
    }
    return costOf(
      await closedLoop(
        pid,
        hands,
        forSeconds(seconds, () => job),
      ),
    )
  },

  /** Rounds of `paths`, each round standing for one login. */
  floor: async (order: {
    readonly origin: string
    readonly paths: readonly string[]
    readonly pid: number
    readonly hands: number
    readonly seconds: number
  }) => {
    const { origin, paths, pid, hands, seconds } = order
    const round = async () => {
      for (const path of paths) {
        const { status } = await ask(`${origin}${path}`)
        demand(status === 200, `${path} answered ${status}`)
      }
    }
    return costOf(
      await closedLoop(
        pid,
        hands,
        forSeconds(seconds, () => round),
      ),
    )
  },

  /** Each of `paths` once. */
  paths: async (order: {
    readonly origin: string
    readonly paths: readonly string[]
    readonly pid: number
    readonly hands: number
  }) => {
    const { origin, paths, pid, hands } = order
    const next = once(paths, async (path) => {
      const { status } = await ask(`${origin}${path}`)
      demand(status === 200, `${path} answered ${status}`)
    })
    return costOf(await closedLoop(pid, hands, next))
  },

  /** Each of `requests` once; each answer must be an object with `member`. Gives the values of that member. */
  each: async (order: {
    readonly url: string
    readonly requests: readonly Request[]
    readonly member: string
    readonly pid: number
    readonly hands: number
  }) => {
    const { url, requests, member, pid, hands } = order
    const values: string[] = []
    const next = once(requests, async (request) => {
      const value = jsonOf(await ask(url, request), url)[member]
      demand(value !== undefined, `${url} gave no ${member}`)
      values.push(String(value))
    })
    return { cost: costOf(await closedLoop(pid, hands, next)), values }
  },

  /**
   * Begins `count` more logins at `name`, at most `perSecond` of them, and keeps their sockets open. Each phone opens its logins when
   * two thirds of the minute have passed, which gives them another. Gives how many sockets are open in the end.
   */
  hold: async (order: {
    readonly name: string
    readonly count: number
    readonly hands: number
    readonly perSecond: number
    /** When to give up. */
    readonly seconds: number
  }) => {
    const { name, count, hands, perSecond, seconds: limit } = order
    const place = placeOf(name)
    const people = place.crowd.everyone
    const begin = performance.now()
    const job = async (i: number) => {
      if (performance.now() - begin > limit * 1000) return
      await wait(Math.max(0, begin + (i / perSecond) * 1000 - performance.now()))
      const person = people[(held.length + i) % people.length]
      if (person === undefined) throw new Error('There is nobody with a phone.')
      const visitor = new Visitor(place.origin, place.issuer)
      const { sessionId, wsToken } = await initiate(place, person.tokenId)
      await visitor.follow(sessionId, wsToken)
      held.push(visitor)
      claims.push(setTimeout(() => void person.phone.claim(sessionId), CLAIM_AFTER))
    }
    const { failed } = await closedLoop(
      place.pid,
      hands,
      once(
        Array.from({ length: count }, (_, i) => i),
        job,
      ),
    )
    const seconds = (performance.now() - begin) / 1000
    return { held: held.filter(({ isOpen }) => isOpen).length, failed, seconds }
  },

  /** Closes the sockets that are held. */
  release: () => {
    for (const timer of claims.splice(0)) clearTimeout(timer)
    for (const visitor of held.splice(0)) visitor.leave()
  },

  /** What the phones themselves do for a login, in milliseconds of this process: two signatures, and a push to be opened. */
  phoneWork: async ({ name, rounds }: { readonly name: string; readonly rounds: number }) => {
    const place = placeOf(name)
    const login = beginAt(place)
    if (login === undefined) throw new Error('There is nobody with a phone.')
    const { phone } = login.person
    const sign = () => phone.statement('idtoken-claim+jwt', { tokenId: phone.tokenId ?? '' })
    place.crowd.giveBack(login.person)
    return { signature: await cpuOfEach(rounds, sign) }
  },
}

export type LoadCalls = typeof calls

async function dispatch(body: ReadableStream<Uint8Array>): Promise<void> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const part of body) {
    const lines = (rest + decoder.decode(part, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines.filter(Boolean)) {
      const { token, data } = JSON.parse(line) as Delivery
      queues.get(token)?.put({ data })
    }
  }
}

function queueOf(token: string): Person['pushes'] {
  const queue = queues.get(token) ?? new Queue<Pick<Delivery, 'data'>>()
  queues.set(token, queue)
  return queue
}

function placeOf(name: string) {
  const place = places.get(name)
  if (place === undefined) throw new Error(`Nobody has gone to ${name}.`)
  return place
}

/** A login of whoever is free. The services take turns: one alone may begin a hundred logins a second. */
function beginAt(place: Place & { readonly crowd: Crowd }): Login | undefined {
  const person = place.crowd.take()
  return person && beginLogin(targetOf(place), person)
}

function targetOf({ origin, issuer, services }: Place) {
  begun += 1
  const service = services[begun % services.length]
  if (service === undefined) throw new Error('There is no service.')
  return { origin, issuer, ...service }
}

/** A back end begins a login for a person who is a row only. */
async function initiate(place: Place, tokenId: string) {
  const target = targetOf(place)
  const answer = await ask(`${place.origin}/auth/initiate`, {
    method: 'POST',
    headers: {
      authorization: `Basic ${btoa(`${target.serviceId}:${target.secret}`)}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({ serviceId: target.serviceId, tokenId }),
  })
  const { sessionId, wsToken } = jsonOf(answer, 'initiate')
  return { sessionId: String(sessionId), wsToken: String(wsToken) }
}

function costOf({ count, failed, milliseconds, cpu, ownCpu, latencies }: Measured): Cost {
  return {
    count,
    failed,
    perSecond: (count / milliseconds) * 1000,
    cpu: cpu / count,
    ownCpu: ownCpu / count,
    times: summaryOf(latencies),
  }
}

async function cpuOfEach(rounds: number, work: () => Promise<unknown>): Promise<number> {
  for (let i = 0; i < rounds / 10; i++) await work()
  const before = cpuOf(process.pid)
  for (let i = 0; i < rounds; i++) await work()
  return (cpuOf(process.pid) - before) / rounds
}

serveParent(calls)
