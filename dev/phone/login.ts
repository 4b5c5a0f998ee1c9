/** One login on the phone: opened, shown, answered, and remembered. */
import { type Device, type Past, remember } from './device.ts'
import { announce } from './dom.ts'
import type { Way } from './links.ts'
import type { Claim } from './phone.ts'
import { ask, playFaceCheck, tellFault, tellOutcome } from './prompt.ts'
import { isInDocument, wordsOf, wordsOfFault } from './words.ts'

/** The wrong code that ends a login (2-protocol); the server counts, the phone tells. */
const LAST_TRY = 3

/** Which of how many requests it is. */
export type Place = { readonly number: number; readonly total: number }

/** A login that the phone came by in this `way`. `opened` hears until when it is open, once the server has said so. */
export type Request = {
  readonly sessionId: string
  readonly way: Way
  readonly place: Place
  readonly opened: (login: { readonly sessionId: string; readonly expiresAt: string }) => void
}

/** Opens a login, asks the person, and does what they decide. Returns when they have seen what became of it. */
export async function answerLogin(device: Device, request: Request): Promise<void> {
  const { phone, person } = device
  const claimed = await phone.claim(request.sessionId, {}, request.way)
  if (!claimed.ok) return tellFault(claimed.code)
  const claim = claimed.body
  request.opened(claim)
  const name = claim.service.name
  let complaint: string | undefined
  for (let attempt = 1; ; attempt += 1) {
    announce(`${name} asks you to sign in.`)
    const decision = await ask(claim, { person, complaint, ...request.place })
    if (decision.kind === 'lapsed') {
      await note(device, claim, 'failed')
      return tellOutcome('bad', 'Time ran out', 'Nothing was shared. Start again in your browser.')
    }
    if (decision.kind !== 'approved') return deny(device, claim, decision.kind)
    await playFaceCheck()
    const answer = await phone.approve(claim, decision)
    if (answer.ok) {
      const shared = decision.grantedScopes
        .filter((scope) => isInDocument(scope, person))
        .map(wordsOf)
      await note(device, claim, 'approved', shared)
      const text = shared.length > 0 ? 'You shared:' : 'You shared nothing from your document.'
      const read = tellOutcome('good', 'Approved', text, shared)
      goBack(device, answer.body.returnTo)
      return read
    }
    if (answer.code !== 'invalid_otp') {
      await note(device, claim, 'failed')
      return tellFault(answer.code)
    }
    const { title, text } = wordsOfFault('invalid_otp')
    if (attempt === LAST_TRY) {
      await note(device, claim, 'failed')
      const end = 'That was the third wrong code. Start again in your browser.'
      return tellOutcome('bad', title, end)
    }
    complaint = attempt === LAST_TRY - 1 ? `${text} One try left.` : text
  }
}

/** Opens what takes the browser on in which a login by link began. Nothing but the provider's own page is opened. */
function goBack({ issuer }: Device, returnTo: string | undefined): void {
  const page = `${issuer}/login/return#`
  if (returnTo?.startsWith(page)) location.assign(returnTo)
}

async function deny(device: Device, claim: Claim, reason: 'declined' | 'not_me'): Promise<void> {
  const answer = await device.phone.deny(claim, reason)
  if (!answer.ok) return tellFault(answer.code)
  await note(device, claim, reason === 'declined' ? 'declined' : 'reported')
  return reason === 'declined'
    ? tellOutcome('neutral', 'Declined', 'Nothing was shared.')
    : tellOutcome(
        'neutral',
        'Reported',
        'Nothing was shared. For a while nobody can ring this phone by typing your number.',
      )
}

async function note(
  device: Device,
  { sessionId, service }: Claim,
  outcome: Past['outcome'],
  shared: readonly string[] = [],
): Promise<void> {
  const at = new Date().toISOString()
  await remember(device, { sessionId, service: service.name, outcome, shared, at })
}
