/** A browser without script, played over `fetch`: cookies by host, redirects, forms. */

/** What a browser shows at the end of a navigation. */
export interface Shown {
  readonly url: string
  readonly status: number
  readonly body: string
  /** Every address on the way, the last one included. */
  readonly way: readonly string[]
}

const MOST_REDIRECTS = 10

let browsers = 0

export class Browser {
  /** By host without port: to a browser all ports of a host are one site's. */
  readonly #cookies = new Map<string, Map<string, string>>()
  readonly #address = `198.18.0.${++browsers}`

  /** Opens an address, as a link would. */
  open(url: string): Promise<Shown> {
    return this.#navigate(url)
  }

  /** Sends the form of `shown` whose action ends in `action`, with `typed` in its fields. */
  submit(shown: Shown, action: string, typed: Record<string, string> = {}): Promise<Shown> {
    const form = formIn(shown, action)
    return this.#navigate(form.url, { ...form.fields, ...typed })
  }

  /** Posts `fields` to an address, as a page of the app would. */
  post(url: string, fields: Record<string, string> = {}): Promise<Shown> {
    return this.#navigate(url, fields)
  }

  async #navigate(to: string, posted?: Record<string, string>): Promise<Shown> {
    const way: string[] = []
    let url = to
    let form = posted
    while (way.length <= MOST_REDIRECTS) {
      way.push(url)
      const response = await this.#request(url, form)
      const location = response.headers.get('location')
      const body = await response.text()
      if (location === null) return { url, status: response.status, body, way }
      url = new URL(location, url).href
      if (response.status < 307) form = undefined
    }
    throw new Error(`too many redirects: ${way.join(' -> ')}`)
  }

  async #request(url: string, form: Record<string, string> | undefined): Promise<Response> {
    const { hostname } = new URL(url)
    const jar = this.#cookies.get(hostname) ?? new Map<string, string>()
    this.#cookies.set(hostname, jar)
    const response = await fetch(url, {
      redirect: 'manual',
      headers: {
        cookie: [...jar].map(([name, value]) => `${name}=${value}`).join('; '),
        'x-client-address': this.#address,
      },
      ...(form === undefined ? {} : { method: 'POST', body: new URLSearchParams(form) }),
    })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      const expires = /; *expires=([^;]+)/i.exec(line)?.[1]
      const ended = /; *max-age=0(;|$)/i.test(line) || Date.parse(expires ?? '') < Date.now()
      if (ended) jar.delete(name)
      else jar.set(name, value)
    }
    return response
  }
}

function formIn({ url, body }: Shown, action: string) {
  const forms = [...body.matchAll(/<form\b([^>]*)>([\s\S]*?)<\/form>/g)]
  const found = forms.find(([, head = '']) => attribute(head, 'action').endsWith(action))
  if (found === undefined)
    throw new Error(`no form for ${action} at ${url}: ${body.slice(0, 1000)}`)
  const inputs = [...(found[2] ?? '').matchAll(/<input\b([^>]*)>/g)]
  const fields = inputs.map(([, head = '']) => [attribute(head, 'name'), attribute(head, 'value')])
  return {
    url: new URL(attribute(found[1] ?? '', 'action'), url).href,
    fields: Object.fromEntries(fields.filter(([name]) => name !== '')) as Record<string, string>,
  }
}

function attribute(head: string, name: string): string {
  const text = new RegExp(`\\b${name}="([^"]*)"`).exec(head)?.[1] ?? ''
  return text
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&amp;', '&')
}
