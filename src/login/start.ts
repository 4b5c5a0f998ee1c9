/** How a login begins, whichever door it came through: one object, the person's inbox, and a push after the answer. */
import { sha256, toBase64url } from '../bytes.ts'
import type { Enrollment } from '../enrollment/store.ts'
import { buildMessage, type FcmMessage, type Prompt, sealPrompt } from '../push/message.ts'
import type { NewLogin } from './budget.ts'
import type { Asked } from './door.ts'
import type { Addressee, Started } from './session.ts'

/** What starting a login reaches for; the composition hands it in. Times are Unix milliseconds. */
export interface StartHouse {
  readonly issuer: string
  readonly now: () => number
  readonly signPush: (claims: Readonly<Record<string, unknown>>) => Promise<string>
  readonly createSession: (asked: Asked, addressee: Addressee | null) => Promise<Started>
  readonly registerStart: (tokenId: string, login: NewLogin) => Promise<boolean>
  readonly isChannelDown: () => boolean
  readonly send: (
    message: FcmMessage,
  ) => Promise<'accepted' | 'dead-token' | 'sender-mismatch' | 'channel-down' | 'failed'>
  readonly forgetPushToken: (tokenId: string, fcmToken: string) => Promise<void>
  readonly tellPushFailed: (sessionId: string) => Promise<void>
}

/** Whom a login is for. Without an enrollment it is a decoy: the same from outside, and nobody can approve it. */
export interface Person {
  readonly tokenId: string
  readonly enrollment: Enrollment | undefined
}

/** What is left to do once the answer is on the way. */
export type Afterwards = () => Promise<void>

/**
 * Begins a login. When this returns, the login and its entry in the inbox are stored; an unknown tokenId costs the same
 * steps. The push, which only an enrolled phone gets, happens in `afterwards`, which the caller runs once its answer is
 * on the way (5-security 3.3). Without a person nobody is rung: it is for whoever scans it.
 */
export async function startLogin(
  house: StartHouse,
  asked: Asked,
  person: Person | null,
): Promise<{ readonly started: Started; readonly afterwards: Afterwards }> {
  if (person === null) {
    return { started: await house.createSession(asked, null), afterwards: async () => {} }
  }
  const started = await house.createSession(asked, addresseeOf(person))
  return { started, afterwards: await announce(house, asked, person, started) }
}

/** Whom a login of `person` is addressed to. */
export function addresseeOf({ tokenId, enrollment }: Person): Addressee {
  return { tokenId, thumbprint: enrollment?.deviceKey.thumbprint ?? null }
}

/** Enters the attempt `started` into the person's inbox. */
export async function announce(
  house: StartHouse,
  asked: Asked,
  { tokenId, enrollment }: Person,
  started: Started,
): Promise<Afterwards> {
  const { sessionId, expiresAt } = started
  const mayPush = await house.registerStart(tokenId, {
    sessionId,
    deadline: expiresAt,
    begunBy: asked.begunBy,
    pushable: !house.isChannelDown(),
  })
  return async () => {
    const told = await pushTo(house, asked, started, enrollment, mayPush)
    if (told) await house.tellPushFailed(sessionId)
  }
}

/**
 * Pushes if the inbox allows it, and says whether the browser is to be told that no push arrived: a back end learns of
 * its own login; everyone else, decoys too, only while the whole channel is down (5-security 4.22).
 */
async function pushTo(
  house: StartHouse,
  asked: Asked,
  started: Started,
  enrollment: Enrollment | undefined,
  mayPush: boolean,
): Promise<boolean> {
  if (house.isChannelDown()) return true
  const authenticated = asked.begunBy === 'back-end'
  if (enrollment?.fcmToken == null) return authenticated
  if (!mayPush) return false

  const outcome = await house.send(await messageFor(house, asked, started, enrollment))
  switch (outcome) {
    case 'accepted':
      return false
    case 'dead-token':
    case 'sender-mismatch':
      await house.forgetPushToken(enrollment.tokenId, enrollment.fcmToken)
      return authenticated
    // That this push found the channel down is known of an enrolled phone only; from now on everybody is told.
    case 'channel-down':
    case 'failed':
      return authenticated
  }
}

async function messageFor(
  house: StartHouse,
  asked: Asked,
  { sessionId, nonce, code, expiresAt }: Started,
  enrollment: Enrollment,
): Promise<FcmMessage> {
  const now = Math.floor(house.now() / 1000)
  const deadline = Math.floor(expiresAt / 1000)
  const prompt: Prompt = {
    sessionId,
    nonce,
    otp: asked.confirmation === 'compare' && code !== null ? code : undefined,
    service: { id: asked.service.id, name: asked.service.name, domain: new URL(asked.origin).host },
    scopes: asked.scopes,
    browser: asked.context.browser,
    country: asked.context.country,
    iat: now,
    exp: deadline,
  }
  const { encryptionKey, deviceKey } = enrollment
  const sealed =
    encryptionKey === null
      ? undefined
      : await sealPrompt(prompt, {
          deviceThumbprint: deviceKey.thumbprint,
          encryptionKey,
          issuer: house.issuer,
          sign: house.signPush,
        })
  return buildMessage({
    fcmToken: enrollment.fcmToken ?? '',
    jwe: sealed?.ok ? sealed.value : undefined,
    now,
    deadline,
    login: toBase64url(await sha256(sessionId)),
  })
}
