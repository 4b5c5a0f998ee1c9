import type { Answer, Claim, Phone } from '../../../dev/phone/phone.ts'
import type { History, Seen } from './history.ts'

/** A service that begins logins by its back end or from its page. */
export interface Service {
  readonly serviceId: string
  readonly authorization: string
  readonly origin: string
}

export type Plan = 'approve' | 'deny' | 'approve twice' | 'approve against deny' | 'page'

const PATIENCE_MS = 25_000
const PAUSE_MS = 40

/** One login from start to outcome by clients who retry whatever a crash took from them. */
export async function logIn(
  api: string,
  service: Service,
  phone: Phone,
  plan: Plan,
): Promise<History> {
  const started = await begin(api, service, phone.tokenId ?? '', plan)
  const history: History = { sessionId: started.sessionId, plan, answers: [], events: [] }
  const browser = watch(api, service, started, history)
  const claim = await persist(history, 'claim', () => phone.claim(started.sessionId), claimContent)
  if (claim?.ok) await decide(history, phone, claim.body, plan)
  const final = await browser
  if (plan === 'page' && final?.code !== undefined) {
    await redeem(api, service, started.sessionId, final.code, history)
  }
  return history
}

/** A start that gets no answer is simply another login: nobody was promised anything. */
async function begin(api: string, service: Service, tokenId: string, plan: Plan) {
  const headers: Record<string, string> = { 'Content-Type': 'application/json' }
  if (plan === 'page') headers.Origin = service.origin
  else headers.Authorization = service.authorization
  const body = JSON.stringify({ serviceId: service.serviceId, tokenId })
  const answer = await until(async () => {
    const response = await fetch(`${api}/auth/initiate`, { method: 'POST', headers, body })
    return response.ok ? await response.json() : undefined
  })
  if (answer === undefined) throw new Error('no login could be started')
  return answer as { readonly sessionId: string; readonly wsToken: string }
}

async function decide(history: History, phone: Phone, claim: Claim, plan: Plan): Promise<void> {
  const approve = () =>
    persist(history, 'approve', () => phone.approve(claim, { grantedScopes: claim.scopes }))
  const deny = () => persist(history, 'deny', () => phone.deny(claim, 'declined'))
  switch (plan) {
    case 'approve':
    case 'page':
      await approve()
      return
    case 'deny':
      await deny()
      return
    case 'approve twice':
      await Promise.all([approve(), approve()])
      return
    case 'approve against deny':
      await Promise.all([approve(), deny()])
      return
  }
}

/** Asks again until there is an answer that isn't the crash's, and records every answer. */
async function persist<T>(
  history: History,
  act: Seen['act'],
  ask: () => Promise<Answer<T>>,
  contentOf: (body: T) => string = () => '',
): Promise<Answer<T> | undefined> {
  return until(async () => {
    const answer = await ask()
    if (!answer.ok && (answer.status === 0 || answer.status === 503)) return undefined
    history.answers.push({
      act,
      status: answer.status,
      code: answer.ok ? undefined : answer.code,
      content: answer.ok ? contentOf(answer.body) : '',
    })
    return answer
  })
}

function claimContent({ nonce, otp, expiresAt }: Claim): string {
  return JSON.stringify({ nonce, otp, expiresAt })
}

async function redeem(
  api: string,
  service: Service,
  sessionId: string,
  code: string,
  history: History,
): Promise<void> {
  const headers = { 'Content-Type': 'application/json', Authorization: service.authorization }
  const body = JSON.stringify({ sessionId, code })
  const once = async () => {
    const response = await fetch(`${api}/auth/result`, { method: 'POST', headers, body })
    if (response.status === 503) return undefined
    history.answers.push({ act: 'redeem', status: response.status, code: undefined, content: '' })
    return response
  }
  // Twice, whatever happens in between: a code buys one token.
  await until(once)
  await until(once)
}

/** Keeps a socket open until the login ends, connecting again after every loss. Gives the final event. */
async function watch(
  api: string,
  service: Service,
  login: { readonly sessionId: string; readonly wsToken: string },
  history: History,
): Promise<Record<string, string> | undefined> {
  const url = `${api.replace('http', 'ws')}/ws/session/${login.sessionId}`
  return until(
    () =>
      new Promise<Record<string, string> | undefined>((resolve) => {
        // Node's WebSocket takes headers; a page's browser would send the Origin by itself.
        const options = {
          protocols: ['idtoken.v1', login.wsToken],
          headers: { Origin: service.origin },
        }
        const socket = new WebSocket(url, options as unknown as string[])
        let final: Record<string, string> | undefined
        socket.onmessage = ({ data }) => {
          const event: Record<string, string> = JSON.parse(String(data))
          history.events.push(event)
          if (['approved', 'rejected', 'expired'].includes(event.type ?? '')) final = event
        }
        socket.onclose = () => resolve(final)
        socket.onerror = () => socket.close()
      }),
  )
}

/** Runs `attempt` until it gives something or patience ends; a network failure is no answer. */
async function until<T>(attempt: () => Promise<T | undefined>): Promise<T | undefined> {
  const deadline = Date.now() + PATIENCE_MS
  while (Date.now() < deadline) {
    const value = await attempt().catch(() => undefined)
    if (value !== undefined) return value
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
  }
  return undefined
}
