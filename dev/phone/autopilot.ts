/**
 * A phone that needs no hands: it belongs to the demo person and approves every login that rings it, sharing all that is asked. Its
 * keys live in a file, so that it is still the enrolled phone after a restart.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { exportJWK, type JWK } from 'jose'
import type { FakeFcm } from '../fcm/fake-fcm.ts'
import type { Issuer } from '../issuer.ts'
import { DEMO_TOKEN_ID, findPerson } from '../persons.ts'
import { readSecret, writeSecret } from '../secrets.ts'
import { createPhone, type Enrolled, generateKeys, type Phone, type PhoneKeys } from './phone.ts'

export type AutopilotOptions = {
  /** The issuer URL of the product. */
  readonly product: string
  readonly fcm: FakeFcm
  readonly issuer: Issuer
  /** Where its state is kept. */
  readonly file: string
  /** Ends the enrollment of a tokenId, as an operator would for a lost phone. */
  readonly revoke: (tokenId: string) => Promise<void>
  readonly log?: (line: string) => void
}

export type Autopilot = { readonly tokenId: string; readonly stop: () => void }

type Kept = {
  readonly signing: JWK
  readonly agreement: JWK
  readonly enrolled: Enrolled
  readonly fcmToken: string
}

/** How often the phone looks for logins that rang nowhere, in milliseconds. */
const LOOK_EVERY = 2000
/** How long a quick person looks at a prompt, in milliseconds. */
const REACTION = 900

/** Enrolls the demo person, unless that was done before, and answers until stopped. */
export async function startAutopilot(options: AutopilotOptions): Promise<Autopilot> {
  const { fcm, log = () => {} } = options
  const { phone, fcmToken } = (await wake(options)) ?? (await enroll(options))
  const seen = new Set<string>()
  const tell = (fault: unknown) => log(`autopilot: ${fault}`)
  const unsubscribe = fcm.subscribe(fcmToken, ({ data }) => {
    answerPush(phone, data, seen).then(log, tell)
  })
  // A phone that lies open is not bound to be rung: pushes are few a day, and a developer signs in more often.
  const timer = setInterval(() => look(phone, seen, log).catch(tell), LOOK_EVERY)
  const stop = () => {
    clearInterval(timer)
    unsubscribe()
  }
  return { tokenId: DEMO_TOKEN_ID, stop }
}

/** Answers what waits and was not pushed. */
async function look(phone: Phone, seen: Set<string>, log: (line: string) => void): Promise<void> {
  const pending = await phone.pending()
  if (!pending.ok) return
  for (const { sessionId, expiresAt } of pending.body) {
    if (isNew(seen, sessionId, Math.floor(Date.parse(expiresAt) / 1000))) {
      log(await answer(phone, sessionId))
    }
  }
}

/** Whether this attempt was not met yet; a new code for the same login comes with a new deadline. */
function isNew(seen: Set<string>, sessionId: string, deadline: number): boolean {
  const attempt = `${sessionId} ${deadline}`
  if (seen.has(attempt)) return false
  seen.add(attempt)
  return true
}

async function answerPush(
  phone: Phone,
  data: Readonly<Record<string, string>>,
  seen: Set<string>,
): Promise<string> {
  const opened = await phone.openPush(data)
  if (opened.kind !== 'prompt') return `autopilot: push ${opened.kind}`
  const { sessionId, exp } = opened.prompt
  if (!isNew(seen, sessionId, Number(exp))) return 'autopilot: the same login again'
  return answer(phone, sessionId)
}

async function answer(phone: Phone, sessionId: string): Promise<string> {
  const claim = await phone.claim(sessionId)
  if (!claim.ok) return `autopilot: claim answered ${claim.code}`
  const { service, scopes, otp } = claim.body
  if (otp === undefined)
    return `autopilot: ${service.name} wants a typed code; nobody here can read it`
  await wait(REACTION)
  const approved = await phone.approve(claim.body, { grantedScopes: scopes })
  return approved.ok
    ? `autopilot: approved ${service.name} (${scopes.join(', ')})`
    : `autopilot: approval answered ${approved.code}`
}

/** The phone of an earlier run, if the product still knows it. */
async function wake(
  options: AutopilotOptions,
): Promise<{ phone: Phone; fcmToken: string } | undefined> {
  const kept = await readSecret<Kept>(options.file)
  if (kept === undefined) return undefined
  const { enrolled, fcmToken } = kept
  const keys = {
    signing: await pairOf(kept.signing, 'ECDSA'),
    agreement: await pairOf(kept.agreement, 'ECDH'),
  }
  const { product: api } = options
  const phone = await createPhone({ api, issuer: api, state: { keys, enrolled } })
  if (!(await phone.pending()).ok) return undefined
  options.fcm.registerDevice(fcmToken, { open: (jwe) => phone.openPrompt(jwe) })
  return { phone, fcmToken }
}

async function enroll(options: AutopilotOptions): Promise<{ phone: Phone; fcmToken: string }> {
  const { product: api, fcm, issuer, file } = options
  const keys = await generateKeys(true)
  const phone = await createPhone({ api, issuer: api, state: { keys, enrolled: undefined } })
  const fcmToken = fcm.createDevice({ open: (jwe) => phone.openPrompt(jwe) })
  const order = {
    deviceKeyThumbprint: phone.thumbprint,
    person: findPerson('camille'),
    tokenId: DEMO_TOKEN_ID,
  }
  const tryOnce = async () => {
    const { vds, grant } = await issuer.specimen(order)
    return phone.enroll({ vds, grant, fcmToken, deviceId: 'autopilot' })
  }
  let answer = await tryOnce()
  if (!answer.ok && answer.code === 'already_enrolled') {
    // The product remembers a phone that we have lost. The new seal must be younger than the revocation, in whole seconds.
    await options.revoke(DEMO_TOKEN_ID)
    await wait(1100)
    answer = await tryOnce()
  }
  const { enrolled } = phone.state()
  if (!answer.ok || enrolled === undefined) {
    throw new Error(
      `The demo person could not be enrolled: ${answer.ok ? 'no answer' : answer.code}.`,
    )
  }
  await writeSecret(file, { ...(await exportKeys(keys)), enrolled, fcmToken } satisfies Kept)
  return { phone, fcmToken }
}

async function exportKeys({ signing, agreement }: PhoneKeys) {
  return {
    signing: await exportJWK(signing.privateKey),
    agreement: await exportJWK(agreement.privateKey),
  }
}

async function pairOf(jwk: JWK, name: 'ECDSA' | 'ECDH'): Promise<CryptoKeyPair> {
  const algorithm = { name, namedCurve: 'P-256' }
  const { d: _d, kty = '', crv = '', x = '', y = '' } = jwk
  const members = { kty, crv, x, y }
  const [privateUse, publicUse]: [KeyUsage, KeyUsage[]] =
    name === 'ECDSA' ? ['sign', ['verify']] : ['deriveBits', []]
  const { subtle } = crypto
  return {
    privateKey: await subtle.importKey('jwk', { ...members, d: jwk.d ?? '' }, algorithm, true, [
      privateUse,
    ]),
    publicKey: await subtle.importKey('jwk', members, algorithm, true, publicUse),
  }
}
