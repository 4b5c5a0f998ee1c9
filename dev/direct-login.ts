/** One login by the direct door: the bar's back end begins it, the browser follows its socket and gets the token. */
import { type Begun, beginLogin } from './bar/service.ts'
import {
  approve,
  type Claims,
  checkToken,
  claim,
  demand,
  detailsOf,
  openPush,
  Queue,
  type Stage,
} from './login-stage.ts'

type SocketEvent = Readonly<Record<string, string>> & { readonly type: string }

/** Logs in and gives what the bar learnt. Throws a sentence at the first thing that isn't as it must be. */
export async function directLogin(stage: Stage): Promise<Claims> {
  const { step } = stage
  const begun = await step('initiate', () => initiate(stage))
  const { socket, expect } = openSocket(stage, begun)
  try {
    const code = await step('socket', async () => {
      const { autoPassword } = await expect('otp_ready')
      demand(autoPassword === begun.autoPassword, 'page and back end were told different codes')
      return String(autoPassword)
    })
    const sessionId = await step('push', () => openPush(stage))
    const claimed = await step(
      'claim',
      async () => {
        const opened = await claim(stage, sessionId, code)
        await expect('claimed')
        return opened
      },
      detailsOf,
    )
    const approved = await step('approve', async () => {
      await approve(stage, claimed, code)
      return expect('approved')
    })
    const answer = { token: String(approved.jwt), nonce: begun.random }
    return await step(
      'check',
      () => checkToken(stage, answer),
      (claims) => ({ claims }),
    )
  } finally {
    socket.close()
  }
}

async function initiate({ world, phone, confirmation }: Stage): Promise<Begun> {
  const { product, service } = world
  const transfer = confirmation === 'transfer' ? confirmation : undefined
  const bar = { issuer: product, ...service, confirmation: transfer }
  const begun = await beginLogin(bar, phone.tokenId ?? '')
  if (!begun.ok) throw new Error(`The start of the login was refused: ${begun.fault.code}.`)
  return begun.value
}

/** The browser's socket; `expect` gives the next event and demands that it is of that type. */
export function openSocket({ world }: Stage, { sessionId, wsToken }: Begun) {
  const url = `${world.product.replace(/^http/, 'ws')}/ws/session/${sessionId}`
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
