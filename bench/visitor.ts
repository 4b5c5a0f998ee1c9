/** A person's browser, as light as it can be: an address of its own, cookies, the forms of our pages, and the socket of a login. */
import { Queue } from '../dev/login-stage.ts'
import { type Answer, ask } from './http.ts'

/** The header by which the product under test is told a client's address; its settings name the same. */
export const ADDRESS_HEADER = 'x-client-address'

let last = 0

/** An address that nobody has had in this run. */
export function freshAddress(): string {
  last += 1
  return `10.${(last >> 16) & 255}.${(last >> 8) & 255}.${last & 255}`
}

type SocketEvent = Readonly<Record<string, string>> & { readonly type: string }

export class Visitor {
  readonly address = freshAddress()
  readonly #origin: string
  readonly #issuer: string
  readonly #cookies = new Map<string, string>()
  readonly #events = new Queue<SocketEvent>()
  #socket: WebSocket | undefined

  /** `origin`: where the product listens; `issuer`: what its pages believe they are. */
  constructor(origin: string, issuer: string) {
    this.#origin = origin
    this.#issuer = issuer
  }

  open(path: string): Promise<Answer> {
    return this.#send(path, {})
  }

  /** Sends the form for `action` on `page`, with what was `typed` into it. */
  submit(page: string, action: string, typed: Readonly<Record<string, string>> = {}) {
    const body = new URLSearchParams({ ...fieldsOf(page, action), ...typed }).toString()
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    return this.#send(action, { method: 'POST', headers, body })
  }

  /** Opens the socket of a login and gives the code that it shows. */
  async follow(sessionId: string, wsToken: string): Promise<string> {
    const url = `${this.#origin.replace(/^http/, 'ws')}/ws/session/${sessionId}`
    const headers = {
      origin: new URL(this.#issuer).origin,
      cookie: this.#cookieLine(),
      [ADDRESS_HEADER]: this.address,
    }
    // Node's socket takes headers, which a browser would set by itself.
    const options = { protocols: ['idtoken.v1', wsToken], headers } as unknown as string[]
    const socket = new WebSocket(url, options)
    socket.addEventListener('message', ({ data }) => this.#events.put(JSON.parse(String(data))))
    socket.addEventListener('close', ({ code }) => this.#events.put({ type: `close ${code}` }))
    this.#socket = socket
    return (await this.expect('otp_ready')).autoPassword ?? ''
  }

  /** The next event of the socket, which must be a `type`. */
  async expect(type: string): Promise<SocketEvent> {
    const event = await this.#events.take(type)
    if (event.type !== type) throw new Error(`The socket said ${event.type} instead of ${type}.`)
    return event
  }

  get isOpen(): boolean {
    return this.#socket?.readyState === WebSocket.OPEN
  }

  leave(): void {
    this.#socket?.close()
  }

  async #send(path: string, request: Parameters<typeof ask>[1] & object): Promise<Answer> {
    const cookie = this.#cookies.size === 0 ? {} : { cookie: this.#cookieLine() }
    const headers = { ...request.headers, ...cookie, [ADDRESS_HEADER]: this.address }
    const answer = await ask(`${this.#origin}${path}`, { ...request, headers })
    for (const line of [answer.headers['set-cookie'] ?? []].flat()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (/;\s*Max-Age=0(;|$)/i.test(line)) this.#cookies.delete(name)
      else this.#cookies.set(name, value)
    }
    return answer
  }

  #cookieLine(): string {
    return [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  }
}

/** The fields of the form for `action`. What they hold is ours: base64url and numbers, nothing to unescape. */
function fieldsOf(page: string, action: string): Record<string, string> {
  const begin = page.indexOf(`<form method="post" action="${action}"`)
  if (begin < 0) throw new Error(`There is no form for ${action} on: ${page.slice(0, 400)}`)
  const form = page.slice(begin, page.indexOf('</form>', begin))
  return Object.fromEntries(
    [...form.matchAll(/<input\b[^>]*>/g)].map(([input]) => [
      /\bname="([^"]*)"/.exec(input)?.[1] ?? '',
      /\bvalue="([^"]*)"/.exec(input)?.[1] ?? '',
    ]),
  )
}
