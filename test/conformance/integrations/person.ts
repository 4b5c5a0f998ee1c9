/** A person with a phone who goes through our login pages, by a browser of `fetch` or a real one. */
import { findPerson } from '../../../dev/persons.ts'
import { type Answer, createPhone, type Phone } from '../../../dev/phone/phone.ts'
import type { World } from '../../../dev/world.ts'
import type { Browser, Shown } from './browser.ts'

export interface Decision {
  /** All that is asked unless given; `null` declines. */
  readonly granted?: readonly string[] | null
}

/** Camille Martin, an adult from France, with a phone of her own. Without the issuer's grant her level is the lowest. */
export async function enrollPerson(world: World, { isGranted = true } = {}): Promise<Phone> {
  const phone = await createPhone({ api: world.phone, issuer: world.product })
  const { vds, grant } = await world.issuer.specimen({
    deviceKeyThumbprint: phone.thumbprint,
    person: findPerson('camille'),
  })
  const fcmToken = world.fcm.createDevice({ open: (jwe) => phone.openPrompt(jwe) })
  const order = { vds, fcmToken, deviceId: 'test', ...(isGranted ? { grant } : {}) }
  must('enrollment', await phone.enroll(order))
  return phone
}

/** From our first page, which `start` shows, back to the app. */
export async function logIn(
  browser: Browser,
  start: Shown,
  phone: Phone,
  decision: Decision = {},
): Promise<Shown> {
  if (!start.body.includes('<main id="login-start">')) {
    throw new Error(`no login page at ${start.way.join(' -> ')}: ${start.body.slice(0, 1000)}`)
  }
  const tokenId = phone.tokenId ?? ''
  const waiting = await browser.submit(start, '/login/address', { tokenId })
  await decide(phone, waiting.body, decision)
  return browser.submit(waiting, '/login/continue')
}

/** Answers the login of a waiting page on the phone, if it shows the same code. */
export async function decide(
  phone: Phone,
  page: string,
  { granted }: Decision = {},
): Promise<void> {
  const sessionId = /data-session="([^"]*)"/.exec(page)?.[1] ?? ''
  const code = [...page.matchAll(/<span>(\d{3})<\/span>/g)].map(([, digits]) => digits).join('')
  const claim = must('claim', await phone.claim(sessionId))
  if (claim.otp !== code) throw new Error(`the page shows ${code}, the phone ${claim.otp}`)
  if (granted === null) must('denial', await phone.deny(claim, 'declined'))
  else must('approval', await phone.approve(claim, { grantedScopes: granted ?? claim.scopes }))
}

function must<T>(what: string, answer: Answer<T>): T {
  if (answer.ok) return answer.body
  throw new Error(`The ${what} was refused: ${answer.code} ${JSON.stringify(answer.body)}`)
}
