/** One whole login by the back-end door, with a fresh person and phone, step by step, each step timed. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { type Begun, beginLogin } from './bar/service.ts'
import type { Delivery } from './fcm/devices.ts'
import { findPerson } from './persons.ts'
import { type Answer, createPhone, type Phone } from './phone/phone.ts'
import type { World } from './world.ts'

export type Step = {
  readonly step: string
  readonly ms: number
  readonly [detail: string]: unknown
}

export type Run = {
  readonly claims: Readonly<Record<string, unknown>>
  readonly ms: Record<string, number>
}

type SocketEvent = Readonly<Record<string, string>> & { readonly type: string }

/** What every token says about itself; the rest is what the person shared. */
const ABOUT_THE_TOKEN = 'iss aud sub iat exp jti nonce auth_time acr amr scope'.split(' ')
const PATIENCE = 15_000

/**
 * Logs in at the demo service and gives what it learnt. Throws a sentence at the first thing that isn't as it must be; `report`
 * hears of each step.
 */
export async function runLogin(
  world: World,
  confirmation: 'compare' | 'transfer',
  report: (step: Step) => void,
): Promise<Run> {
  const ms: Record<string, number> = {}
  const step = async <T>(
    name: string,
    work: () => Promise<T>,
    details: (value: T) => object = () => ({}),
  ): Promise<T> => {
    const begin = performance.now()
    const value = await work()
    const took = Math.round(performance.now() - begin)
    ms[name] = took
    report({ step: name, ms: took, ...details(value) })
    return value
  }

  const { phone, fcmToken } = await step(
    'enroll',
    () => enroll(world),
    ({ phone }) => ({
      tokenId: phone.tokenId,
    }),
  )
  const pushes = new Queue<Delivery>()
  const unsubscribe = world.fcm.subscribe(fcmToken, (delivery) => pushes.put(delivery))
  let socket: WebSocket | undefined
  try {
    const begun = await step('initiate', () => initiate(world, phone, confirmation))
    const opened = await step('socket', async () => {
      const browser = openSocket(world, begun)
      socket = browser.socket
      const ready = await browser.expect('otp_ready')
      demand(
        ready.autoPassword === begun.autoPassword,
        'page and back end were told different codes',
      )
      return { ...browser, code: String(ready.autoPassword) }
    })
    const sessionId = await step('push', async () => {
      const read = await phone.openPush((await pushes.take('a push')).data)
      if (read.kind !== 'prompt') throw new Error('The phone could not open the push.')
      return read.prompt.sessionId
    })
    const claim = await step(
      'claim',
      async () => {
        const claimed = must('The claim', await phone.claim(sessionId))
        await opened.expect('claimed')
        if (confirmation === 'compare') demand(claimed.otp === opened.code, 'the codes differ')
        else demand(claimed.otp === undefined, 'the phone was told the code')
        return claimed
      },
      ({ service, scopes }) => ({ service: service.name, scopes }),
    )
    const approved = await step('approve', async () => {
      const otp = confirmation === 'transfer' ? opened.code : undefined
      const decision = { grantedScopes: claim.scopes, otp }
      must('The approval', await phone.approve(claim, decision))
      return opened.expect('approved')
    })
    const claims = await step(
      'check',
      () => checkToken(world, approved, begun.random),
      (shared) => ({
        claims: shared,
      }),
    )
    const { enroll: _enroll, ...login } = ms
    ms.login = Object.values(login).reduce((sum, one) => sum + one, 0)
    demand(world.fcm.violations.length === 0, `the push broke a promise: ${world.fcm.violations}`)
    return { claims, ms }
  } finally {
    unsubscribe()
    socket?.close()
  }
}

async function enroll(world: World): Promise<{ phone: Phone; fcmToken: string }> {
  const phone = await createPhone({ api: world.phone, issuer: world.product })
  const { vds, grant } = await world.issuer.specimen({
    deviceKeyThumbprint: phone.thumbprint,
    person: findPerson('camille'),
  })
  const fcmToken = world.fcm.createDevice({ open: (jwe) => phone.openPrompt(jwe) })
  must('The enrollment', await phone.enroll({ vds, grant, fcmToken, deviceId: 'demo-phone' }))
  return { phone, fcmToken }
}

async function initiate(
  { product, service }: World,
  phone: Phone,
  confirmation: 'compare' | 'transfer',
): Promise<Begun> {
  const transfer = confirmation === 'transfer' ? confirmation : undefined
  const bar = { issuer: product, ...service, confirmation: transfer }
  const begun = await beginLogin(bar, phone.tokenId ?? '')
  if (!begun.ok) throw new Error(`The start of the login was refused: ${begun.fault.code}.`)
  return begun.value
}

/** The browser's socket; `expect` gives the next event and demands that it is of that type. */
function openSocket({ product }: World, { sessionId, wsToken }: Begun) {
  const url = `${product.replace(/^http/, 'ws')}/ws/session/${sessionId}`
  const socket = new WebSocket(url, ['idtoken.v1', wsToken])
  const events = new Queue<SocketEvent>()
  socket.addEventListener('message', ({ data }) => events.put(JSON.parse(String(data))))
  socket.addEventListener('close', ({ code }) => events.put({ type: `close ${code}` }))
  const expect = async (type: string): Promise<SocketEvent> => {
    const event = await events.take(type)
    demand(event.type === type, `the browser was told ${event.type} instead of ${type}`)
    return event
  }
  return { socket, expect }
}

/** Has another program judge the token, and gives what it says of the person. */
async function checkToken(
  { product, service }: World,
  approved: SocketEvent,
  random: string,
): Promise<Record<string, unknown>> {
  const program = fileURLToPath(new URL('check-token.mjs', import.meta.url))
  const args = ['--issuer', product, '--audience', service.serviceId, '--nonce', random]
  const child = spawn(process.execPath, [program, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.end(String(approved.jwt))
  let said = ''
  child.stdout.on('data', (text) => {
    said += text
  })
  const [code] = await once(child, 'close')
  const verdict = JSON.parse(said) as {
    ok: boolean
    fault?: string
    claims: Record<string, unknown>
  }
  demand(code === 0 && verdict.ok, `the independent check refused the token: ${verdict.fault}`)
  const shared = Object.entries(verdict.claims).filter(([name]) => !ABOUT_THE_TOKEN.includes(name))
  const names = shared.map(([name]) => name).sort()
  demand(names.join() === 'age_over_18,given_name', `the token shares ${names.join(', ')}`)
  return Object.fromEntries(shared)
}

/** What arrives, in order, for one reader. */
class Queue<T> {
  readonly #items: T[] = []
  readonly #readers: ((item: T) => void)[] = []

  put(item: T): void {
    const reader = this.#readers.shift()
    if (reader) reader(item)
    else this.#items.push(item)
  }

  /** The next item; throws when `what` hasn't come after a while. */
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

function must<T>(what: string, answer: Answer<T>): T {
  if (answer.ok) return answer.body
  throw new Error(`${what} was refused: ${answer.code}.`)
}

function demand(holds: boolean, fault: string): void {
  if (!holds) throw new Error(`${fault.charAt(0).toUpperCase()}${fault.slice(1)}.`)
}
