/** The fake FCM in a process of its own. It hands on what it delivers to the process that plays the phones. */
import { createFakeFcm } from '../dev/fcm/fake-fcm.ts'
import { serveFakeFcm } from '../dev/fcm/server.ts'
import type { ServiceAccountJson } from '../dev/fcm/service-account.ts'
import { type Server, serve } from '../dev/serve.ts'
import { serveParent } from './child.ts'

const fake = createFakeFcm()
const servers: Server[] = []

/** Deliveries that nobody has fetched yet, one JSON object a line. */
let undelivered: string[] = []
let wake = () => {}

const calls = {
  /** Listens: for the product at `origin`, for the phones at `phones`. */
  start: async (account: ServiceAccountJson) => {
    const product = await serveFakeFcm(fake, 0)
    const phones = await serve(async () => stream(), 0)
    servers.push(product, phones)
    const { origin } = product
    const located = { ...account, token_uri: `${origin}/token`, messaging_endpoint: origin }
    fake.useServiceAccount(located)
    return { account: located, phones: phones.origin }
  },
  /** Makes `tokens` known. */
  register: (tokens: readonly string[]) => {
    for (const token of tokens) {
      fake.registerDevice(token)
      fake.subscribe(token, ({ data }) => {
        undelivered.push(`${JSON.stringify({ token, data })}\n`)
        wake()
      })
    }
  },
  state: () => ({ ...fake.stats, violations: fake.violations.slice(0, 5) }),
}

export type FcmCalls = typeof calls

/** Every delivery from now on, for one reader. */
function stream(): Response {
  const encoder = new TextEncoder()
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(encoder.encode('\n')),
    pull: async (controller) => {
      if (undelivered.length === 0) {
        await new Promise<void>((arrived) => {
          wake = arrived
        })
      }
      controller.enqueue(encoder.encode(undelivered.join('')))
      undelivered = []
    },
  })
  return new Response(body)
}

serveParent(calls, () => Promise.all(servers.map(({ close }) => close())))
