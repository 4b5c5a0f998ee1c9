/** A browser without script, in a few lines: one origin, its cookies, and the forms on its pages. */

/** A page, or where the browser is sent instead of one. */
export type Page = {
  readonly status: number
  /** Id of `main`. */
  readonly id: string | undefined
  readonly text: string
  readonly location: string | undefined
}

export class PlainBrowser {
  readonly #origin: string
  readonly #cookies = new Map<string, string>()

  constructor(origin: string) {
    this.#origin = origin
  }

  open(address: string): Promise<Page> {
    return this.#send(address)
  }

  /** Fills the form for `action` on `page` and presses its button. Throws when the page has no such form. */
  submit(page: Page, action: string, typed: Readonly<Record<string, string>> = {}): Promise<Page> {
    const body = new URLSearchParams({ ...fieldsOf(page, action), ...typed })
    return this.#send(`${this.#origin}${action}`, { method: 'POST', body })
  }

  async #send(address: string, init: RequestInit = {}): Promise<Page> {
    if (new URL(address).origin !== this.#origin) throw new Error(`This leads off to ${address}.`)
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(address, { ...init, headers: { cookie }, redirect: 'manual' })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (/;\s*Max-Age=0(;|$)/i.test(line)) this.#cookies.delete(name)
      else this.#cookies.set(name, value)
    }
    const text = await response.text()
    const id = /<main id="([^"]*)"/.exec(text)?.[1]
    const location = response.headers.get('location') ?? undefined
    return { status: response.status, id, text, location }
  }
}

function fieldsOf({ id, text }: Page, action: string): Record<string, string> {
  const forms = text.matchAll(/<form method="post" action="([^"]*)"[^>]*>([\s\S]*?)<\/form>/g)
  const form = [...forms].find(([, target]) => target === action)?.[2]
  if (form === undefined) throw new Error(`The page ${id} has no form for ${action}.`)
  return Object.fromEntries(
    [...form.matchAll(/<input\b[^>]*>/g)].map(([input]) => [
      plain(/\bname="([^"]*)"/.exec(input)?.[1]),
      plain(/\bvalue="([^"]*)"/.exec(input)?.[1]),
    ]),
  )
}

function plain(text = ''): string {
  const characters: Readonly<Record<string, string>> = {
    quot: '"',
    '#39': "'",
    lt: '<',
    gt: '>',
    amp: '&',
  }
  return text.replace(/&(quot|#39|lt|gt|amp);/g, (_, name: string) => characters[name] ?? '')
}
