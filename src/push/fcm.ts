/**
 * Push by FCM HTTP v1: this room owns the service account, the access token of this isolate, the shape of a message on the wire
 * and what FCM's answers mean. It doesn't own what a prompt says, who may be rung and how often (`login/`), nor where tokens
 * of devices are kept (`enrollment/`). Callers push after their answer: nothing here is worth a person's waiting.
 *
 * What an isolate remembers is plain values, never a promise: on Workers a promise belongs to the request that made it, and
 * one that waits for another's hangs.
 */
import { buildTokenRequest, readTokenAnswer, refreshTime } from './access-token.ts'
import { type FcmMessage, shortenLife } from './message.ts'
import { readSendAnswer, type SendAnswer } from './outcome.ts'
import type { ServiceAccount } from './service-account.ts'

/**
 * `accepted` isn't delivered. `dead-token`: clear it, the enrollment stays. `sender-mismatch`: mark it, the app must register again.
 * `channel-down`: no phone can be rung for now. `failed`: this push only.
 */
export type PushOutcome = 'accepted' | 'dead-token' | 'sender-mismatch' | 'channel-down' | 'failed'

/** What an operator may have to know; says nothing of the phone or the login. */
export type PushFault =
  | 'exchange_unreachable'
  | 'exchange_rejected'
  | 'unusable_key'
  | 'unauthenticated'
  | 'quota'
  | 'misconfigured_message'
  | 'misconfigured_platform'
  | 'misconfigured_project'
  | 'unknown_answer'

/** The world around a push; each member has its default, tests bring their own. `now` gives Unix seconds. */
export type PushWorld = {
  readonly now: () => number
  readonly sleep: (milliseconds: number) => Promise<void>
  /** Limit of one HTTP exchange, its body included. */
  readonly tryMilliseconds: number
  readonly report: (fault: PushFault) => void
}

const realWorld: PushWorld = {
  now: () => Date.now() / 1000,
  sleep: (milliseconds) => new Promise((wake) => setTimeout(wake, milliseconds)),
  tryMilliseconds: 4000,
  report: () => {},
}

const MOST_SENDS = 2
const LONGEST_BODY = 65_536
/** A login of 60 s can't wait longer for an overloaded FCM. */
const LONGEST_RETRY_AFTER = 10
/** How long the channel counts as down when FCM refuses us, in seconds. */
const REFUSED_REST = 60
/** How long a failed token exchange isn't tried again, in seconds. */
const EXCHANGE_REST = 10
/** A token so near its end may die on the way. */
const TOKEN_MARGIN = 5
const POLL_MILLISECONDS = 50

/** What this isolate knows of one service account. All times in Unix seconds. */
type Channel = {
  token: AccessTokenHeld | undefined
  /** Some request exchanges right now. A time, because a cancelled request can't say that it stopped. */
  exchangingUntil: number
  exchangeNotBefore: number
  downUntil: number
}

type AccessTokenHeld = {
  readonly text: string
  readonly refreshAt: number
  readonly expiresAt: number
}

const channels = new Map<string, Channel>()

/**
 * Sends `message` and says what became of it; never throws. At most two sends: the second after 1.5 to 3 s when FCM or the way to it
 * fails, or at once with a fresh access token after a 401. While the breaker of this isolate is open nothing is sent.
 */
export async function sendPush(
  account: ServiceAccount,
  message: FcmMessage,
  world: Partial<PushWorld> = {},
): Promise<PushOutcome> {
  const { now, sleep, tryMilliseconds, report } = { ...realWorld, ...world }
  const complete: PushWorld = { now, sleep, tryMilliseconds, report }
  const channel = channelOf(account)
  let refreshed = false
  for (let sends = 1; ; sends++) {
    if (now() < channel.downUntil) return 'channel-down'
    const token = await accessToken(account, channel, complete)
    if (token === undefined) return 'channel-down'
    const answer = await sendOnce(account, token, shortenLife(message, now()), complete)
    switch (answer.kind) {
      case 'accepted':
      case 'dead-token':
      case 'sender-mismatch':
        return answer.kind
      case 'unauthenticated':
        // Another request may have fetched a new token meanwhile: that one stays.
        if (channel.token?.text === token) channel.token = undefined
        if (refreshed) {
          report('unauthenticated')
          return bringDown(channel, now() + REFUSED_REST)
        }
        if (sends >= MOST_SENDS) return 'failed'
        refreshed = true
        break
      case 'quota':
        report('quota')
        return bringDown(channel, now() + answer.retryAfter)
      case 'misconfigured':
        report(`misconfigured_${answer.reach}`)
        return answer.reach === 'project' ? bringDown(channel, now() + REFUSED_REST) : 'failed'
      case 'retry':
        if (sends >= MOST_SENDS || (answer.retryAfter ?? 0) > LONGEST_RETRY_AFTER) return 'failed'
        await sleep(Math.max(1500 + 1500 * jitter(), 1000 * (answer.retryAfter ?? 0)))
        if (now() >= Number(message.apns.headers['apns-expiration'])) return 'failed'
        break
      case 'unknown':
        report('unknown_answer')
        return 'failed'
    }
  }
}

/** Whether this isolate has seen the whole push channel fail and still rests. `now` in Unix seconds. */
export function isChannelDown(account: ServiceAccount, now: number): boolean {
  return now < (channels.get(channelName(account))?.downUntil ?? 0)
}

/**
 * Whether `text` may be a device token: 1 to 4096 printable ASCII characters without space (5-security 301). It only ever travels
 * inside a JSON body; a path in it is refused all the same.
 */
export function validFcmToken(text: string): boolean {
  return /^[\x21-\x7e]{1,4096}$/.test(text) && !/\.\.[/\\]/.test(text)
}

function channelName(account: ServiceAccount): string {
  return [
    account.messagingEndpoint,
    account.projectId,
    account.clientEmail,
    account.privateKeyId,
  ].join(' ')
}

function channelOf(account: ServiceAccount): Channel {
  const name = channelName(account)
  const known = channels.get(name)
  if (known) return known
  const fresh = { token: undefined, exchangingUntil: 0, exchangeNotBefore: 0, downUntil: 0 }
  channels.set(name, fresh)
  return fresh
}

function bringDown(channel: Channel, until: number): 'channel-down' {
  channel.downUntil = Math.max(channel.downUntil, until)
  return 'channel-down'
}

/**
 * The access token to send with, or `undefined` when there is none to be had. One request of the isolate refreshes, the others go on
 * with the old token; without one they look again and again for what the first one gets.
 */
async function accessToken(
  account: ServiceAccount,
  channel: Channel,
  world: PushWorld,
): Promise<string | undefined> {
  const looks = Math.ceil((world.tryMilliseconds + 1000) / POLL_MILLISECONDS)
  for (let look = 0; look < looks; look++) {
    const now = world.now()
    const held = channel.token
    const usable = held !== undefined && now < held.expiresAt - TOKEN_MARGIN ? held.text : undefined
    const exchanging = now < channel.exchangingUntil
    const resting = now < channel.exchangeNotBefore
    if (usable !== undefined && (now < (held?.refreshAt ?? 0) || exchanging || resting))
      return usable
    if (!exchanging) {
      if (resting) return undefined
      await refresh(account, channel, world)
      if (channel.token !== undefined) return channel.token.text
      bringDown(channel, channel.exchangeNotBefore)
      return undefined
    }
    await world.sleep(POLL_MILLISECONDS)
  }
  return undefined
}

/** Exchanges once; on failure the old token stays while it lives. */
async function refresh(account: ServiceAccount, channel: Channel, world: PushWorld): Promise<void> {
  const issuedAt = world.now()
  channel.exchangingUntil = issuedAt + world.tryMilliseconds / 1000 + 1
  const fresh = await exchange(account, issuedAt, world)
  channel.exchangingUntil = 0
  if (typeof fresh !== 'string') {
    channel.token = fresh
    return
  }
  world.report(fresh)
  channel.exchangeNotBefore = world.now() + EXCHANGE_REST * (1 + jitter() / 2)
  if (channel.token !== undefined && world.now() >= channel.token.expiresAt - TOKEN_MARGIN) {
    channel.token = undefined
  }
}

async function exchange(
  account: ServiceAccount,
  now: number,
  world: PushWorld,
): Promise<AccessTokenHeld | PushFault> {
  const request = await buildTokenRequest(account, now)
  if (!request.ok) return request.reason
  const headers = { 'content-type': 'application/x-www-form-urlencoded' }
  const answer = await post(request.value.url, headers, request.value.body, world)
  if (!answer) return 'exchange_unreachable'
  const read = readTokenAnswer(answer.status, answer.body, now)
  if (!read.ok) return read.reason === 'rejected' ? 'exchange_rejected' : 'exchange_unreachable'
  const { token, expiresAt } = read.value
  return { text: token, refreshAt: refreshTime(now, expiresAt, jitter()), expiresAt }
}

async function sendOnce(
  account: ServiceAccount,
  token: string,
  message: FcmMessage,
  world: PushWorld,
): Promise<SendAnswer> {
  const url = `${account.messagingEndpoint}/v1/projects/${account.projectId}/messages:send`
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  const answer = await post(url, headers, JSON.stringify({ message }), world)
  if (!answer) return { kind: 'retry' }
  return readSendAnswer(answer.status, answer.headers, answer.body, world.now())
}

/**
 * One POST inside the limit of time; `undefined` when no head of an answer came. Of the body comes what arrived in time, 64 KiB
 * at most. Redirects aren't followed: they would carry our credential to another host.
 */
async function post(
  url: string,
  headers: Record<string, string>,
  body: string,
  world: PushWorld,
): Promise<{ status: number; headers: Headers; body: string } | undefined> {
  const limit = new AbortController()
  const timer = setTimeout(() => limit.abort(), world.tryMilliseconds)
  try {
    const init = {
      method: 'POST',
      headers,
      body,
      redirect: 'manual',
      signal: limit.signal,
    } as const
    const response = await fetch(url, init)
    return { status: response.status, headers: response.headers, body: await readCapped(response) }
  } catch {
    return undefined
  } finally {
    clearTimeout(timer)
  }
}

async function readCapped(response: Response): Promise<string> {
  if (!response.body) return ''
  const reader = response.body.getReader()
  const decoder = new TextDecoder()
  let text = ''
  try {
    for (let size = 0; size < LONGEST_BODY; ) {
      const { done, value } = await reader.read()
      if (done) break
      size += value.length
      text += decoder.decode(value, { stream: true })
    }
  } catch {
    // Cut off. The status is known, and a second send would be a second push: what arrived has to do.
  }
  reader.cancel().catch(() => {})
  return text
}

/** 0 to 1, evenly. */
function jitter(): number {
  const [drawn = 0] = crypto.getRandomValues(new Uint32Array(1))
  return drawn / 2 ** 32
}
