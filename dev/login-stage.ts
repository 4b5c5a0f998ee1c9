/** What every run of a login needs, whichever door it goes through: timed steps, a fresh person with a phone, the judge of tokens. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Delivery } from './fcm/devices.ts'
import { findPerson } from './persons.ts'
import { readText } from './phone/links.ts'
import { type Answer, type Claim, createPhone, type Phone } from './phone/phone.ts'
import type { World } from './world.ts'

export type Confirmation = 'compare' | 'transfer'
export type Claims = Readonly<Record<string, unknown>>

export type Step = {
  readonly step: string
  readonly ms: number
  readonly [detail: string]: unknown
}

/** Does `work` as the step `name`: times it, and reports it with `details`. */
export type Stepper = <T>(
  name: string,
  work: () => Promise<T>,
  details?: (value: T) => object,
) => Promise<T>

/** What a door's run plays with. */
export type Stage = {
  readonly world: World
  readonly confirmation: Confirmation
  /** What the bar asks, and the demo person shares. */
  readonly scopes: readonly string[]
  readonly phone: Phone
  readonly pushes: Queue<Delivery>
  readonly step: Stepper
}

/** What every token says about itself; the rest is what the person shared. */
const ABOUT_THE_TOKEN =
  'iss aud sub iat exp jti nonce auth_time acr amr scope login_handle at_hash sid'.split(' ')
const PATIENCE = 15_000

/** A phone that is enrolled for a person of the development issuer, and the token at which FCM rings it. */
export async function enroll(world: World): Promise<{ phone: Phone; fcmToken: string }> {
  const phone = await createPhone({ api: world.phone, issuer: world.product })
  const { vds, grant } = await world.issuer.specimen({
    deviceKeyThumbprint: phone.thumbprint,
    person: findPerson('camille'),
  })
  const fcmToken = world.fcm.createDevice({ open: (jwe) => phone.openPrompt(jwe) })
  must('The enrollment', await phone.enroll({ vds, grant, fcmToken, deviceId: 'demo-phone' }))
  return { phone, fcmToken }
}

/** The login that the next push announces. */
export async function openPush({ phone, pushes }: Stage): Promise<string> {
  const read = await phone.openPush((await pushes.take('push')).data)
  if (read.kind !== 'prompt') throw new Error('The phone could not open the push.')
  return read.prompt.sessionId
}

/** The phone opens the login that it was rung for; what it is told must fit the `code` that the browser shows. */
export async function claim(stage: Stage, sessionId: string, code: string): Promise<Claim> {
  const claimed = must('The claim', await stage.phone.claim(sessionId))
  compareCodes(stage, claimed, code)
  return claimed
}

/** The phone opens the login in `text`, which it has read or was opened with. */
export async function claimText({ world, phone }: Stage, text: string): Promise<Claim> {
  const read = readText(text, [`${world.product}/l#`])
  if (typeof read === 'string' || read.kind !== 'login')
    throw new Error(`This is no login: ${text}`)
  return must('The claim', await phone.claim(read.sessionId, {}, read.way))
}

/** Demands that the phone was told the `code` that the browser shows; or nothing, where the person brings it over. */
export function compareCodes({ confirmation }: Stage, claimed: Claim, code: string): void {
  if (confirmation === 'compare') demand(claimed.otp === code, 'the codes differ')
  else demand(claimed.otp === undefined, 'the phone was told the code')
}

/** The details of the step that claims. */
export function detailsOf({ service, scopes }: Claim): object {
  return { service: service.name, scopes }
}

/** The person shares all that is asked. Gives what the phone is to open then, after a login by link. */
export async function approve(
  { phone, confirmation }: Stage,
  claimed: Claim,
  code: string,
): Promise<string | undefined> {
  const otp = confirmation === 'transfer' ? code : undefined
  const decision = { grantedScopes: claimed.scopes, otp }
  return must('The approval', await phone.approve(claimed, decision)).returnTo
}

/** Who asked for a token, and for what. */
type Asking = Pick<Stage, 'scopes'> & {
  readonly world: { readonly product: string; readonly service: { readonly serviceId: string } }
}

/** Has another program judge the token, and gives what it says of the person. `accessToken`: the one that came with an id_token. */
export async function checkToken(
  { world: { product, service }, scopes }: Asking,
  { token, nonce, accessToken }: { token: string; nonce: string; accessToken?: string },
): Promise<Claims> {
  const program = fileURLToPath(new URL('check-token.mjs', import.meta.url))
  // A nonce may begin with a dash: only behind `=` is it no option.
  const args = ['--issuer', product, '--audience', service.serviceId, `--nonce=${nonce}`]
  if (accessToken !== undefined) args.push('--oidc')
  const child = spawn(process.execPath, [program, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.end([token, accessToken ?? ''].join('\n'))
  let said = ''
  child.stdout.on('data', (text) => {
    said += text
  })
  const [code] = await once(child, 'close')
  const verdict = JSON.parse(said) as { ok: boolean; fault?: string; claims: Claims }
  demand(code === 0 && verdict.ok, `the independent check refused the token: ${verdict.fault}`)
  return personIn(verdict.claims, scopes)
}

/** What `claims` say of the person: exactly what was shared by `scopes`, each of which gives the claim of its name. */
export function personIn(claims: Claims, scopes: readonly string[]): Claims {
  const shared = Object.entries(claims).filter(([name]) => !ABOUT_THE_TOKEN.includes(name))
  const names = shared.map(([name]) => name).sort()
  const expected = scopes.map((scope) => scope.replace('identity:', '')).sort()
  demand(names.join() === expected.join(), `what was shared is ${names.join(', ')}`)
  return Object.fromEntries(shared)
}

/** What arrives, in order, for one reader. */
export class Queue<T> {
  readonly #items: T[] = []
  readonly #readers: ((item: T) => void)[] = []

  put(item: T): void {
    const reader = this.#readers.shift()
    if (reader) reader(item)
    else this.#items.push(item)
  }

  /** The next item; throws when no `what` has come after a while. */
  take(what: string): Promise<T> {
    const item = this.#items.shift()
    if (item !== undefined) return Promise.resolve(item)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`No ${what} came in time.`)), PATIENCE)
      this.#readers.push((arrived) => {
        clearTimeout(timer)
        resolve(arrived)
      })
    })
  }
}

export function must<T>(what: string, answer: Answer<T>): T {
  if (answer.ok) return answer.body
  throw new Error(`${what} was refused: ${answer.code}.`)
}

/** Throws `fault` as a sentence unless it `holds`. */
export function demand(holds: boolean, fault: string): asserts holds {
  if (!holds) throw new Error(`${fault.charAt(0).toUpperCase()}${fault.slice(1)}.`)
}
