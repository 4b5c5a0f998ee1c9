/**
 * A browser as these tests need one: a cookie jar with the rules that matter here, redirects inside the provider, forms as a
 * page without script sends them, and the one page that posts itself. It stops where it would leave for a relying party.
 */

/** A page that the provider shows. */
export interface Page {
  readonly at: 'page'
  readonly url: string
  readonly status: number
  /** Id of `main`. */
  readonly id: string
  /** The words of the page, markup and entities resolved. */
  readonly text: string
  readonly html: string
  readonly headers: Headers
}

/** The browser stands before a relying party's address. */
export interface Landing {
  readonly at: 'party'
  readonly method: 'GET' | 'POST'
  /** The whole address, query included. */
  readonly url: string
  /** What came in the query, or in the form of a POST. */
  readonly parameters: Readonly<Record<string, string>>
}

export type Arrival = Page | Landing

interface Cookie {
  readonly value: string
  readonly sameSite: string
}

/** What a browser says by itself about where a request comes from. */
interface Initiator {
  readonly site: 'none' | 'same-origin' | 'cross-site'
  /** The `Origin` of a POST. */
  readonly origin?: string
}

const FROM_A_LINK: Initiator = { site: 'cross-site' }
/** Pages without referrer post with `Origin: null`. */
const FROM_A_PAGE_OF_THE_PROVIDER: Initiator = { site: 'same-origin', origin: 'null' }
const MOST_REDIRECTS = 5

let browsers = Math.floor(Math.random() * 0x10000)

export class Browser {
  readonly #provider: string
  readonly #cookies = new Map<string, Cookie>()
  /** An address of its own, as the platform would tell it: starts are limited by address. */
  readonly #address: string

  /** `provider` is the origin inside which redirects are followed. */
  constructor(provider: string) {
    this.#provider = provider
    browsers += 1
    this.#address = `198.18.${(browsers >> 8) & 0xff}.${browsers & 0xff}`
  }

  /** Follows a link of a relying party. */
  open(url: string | URL): Promise<Arrival> {
    return this.#go(String(url), FROM_A_LINK)
  }

  /** A page of another site posts a form to the provider. */
  postFrom(site: string, url: string, form: Readonly<Record<string, string>>): Promise<Arrival> {
    return this.#go(url, { site: 'cross-site', origin: site }, form)
  }

  /** Presses the button of the form with that action; `typed` fills its fields. */
  submit(
    page: Page,
    action: string,
    typed: Readonly<Record<string, string>> = {},
  ): Promise<Arrival> {
    const fields = { ...formIn(page, action), ...typed }
    const url = new URL(action, page.url).href
    return this.#go(url, FROM_A_PAGE_OF_THE_PROVIDER, fields, formTargets(page))
  }

  async #go(
    address: string,
    initiator: Initiator,
    form?: Readonly<Record<string, string>>,
    targets?: readonly string[],
  ): Promise<Arrival> {
    let url = address
    let body = form
    for (let hop = 0; hop <= MOST_REDIRECTS; hop++) {
      const response = await this.#send(url, initiator, body)
      const location = response.headers.get('Location')
      if (response.status < 300 || response.status > 399 || location === null) {
        const page = await pageOf(url, response)
        return this.#postsItself(page) ?? page
      }
      await response.body?.cancel()
      url = new URL(location, url).href
      const { origin } = new URL(url)
      // Chromium holds redirects after a form to the policy of the page with the form (CSP level 3 section 6.4.2).
      if (targets !== undefined && !targets.includes(origin)) {
        throw new Error(`form-action does not allow ${origin}`)
      }
      if (response.status !== 307 && response.status !== 308) body = undefined
      if (origin !== this.#provider) return landing(url, body)
    }
    throw new Error('too many redirects')
  }

  async #send(
    url: string,
    { site, origin }: Initiator,
    form: Readonly<Record<string, string>> | undefined,
  ): Promise<Response> {
    const method = form === undefined ? 'GET' : 'POST'
    // `SameSite=Lax`: no cookie goes with what another site posts.
    const cookies = [...this.#cookies]
      .filter(([, { sameSite }]) => site !== 'cross-site' || isSent(sameSite, method))
      .map(([name, { value }]) => `${name}=${value}`)
    const response = await fetch(url, {
      method,
      redirect: 'manual',
      headers: {
        Accept: 'text/html,application/xhtml+xml,*/*;q=0.8',
        'X-Client-Address': this.#address,
        'Sec-Fetch-Dest': 'document',
        'Sec-Fetch-Mode': 'navigate',
        'Sec-Fetch-Site': site,
        ...(cookies.length > 0 ? { Cookie: cookies.join('; ') } : {}),
        ...(form === undefined
          ? {}
          : {
              'Content-Type': 'application/x-www-form-urlencoded',
              Origin: origin ?? 'null',
            }),
      },
      ...(form === undefined ? {} : { body: new URLSearchParams(form).toString() }),
    })
    for (const line of response.headers.getSetCookie()) this.#keep(line)
    return response
  }

  #keep(line: string): void {
    const [pair = '', ...attributes] = line.split(';').map((part) => part.trim())
    const cut = pair.indexOf('=')
    const name = pair.slice(0, cut)
    const named = new Map(
      attributes.map((attribute): [string, string] => {
        const [key = '', value = ''] = attribute.split('=')
        return [key.toLowerCase(), value]
      }),
    )
    const isHostCookie = named.has('secure') && named.get('path') === '/' && !named.has('domain')
    if (name.startsWith('__Host-') && !isHostCookie) throw new Error(`a browser refuses ${line}`)
    if (named.get('max-age') === '0') this.#cookies.delete(name)
    else
      this.#cookies.set(name, {
        value: pair.slice(cut + 1),
        sameSite: (named.get('samesite') ?? 'lax').toLowerCase(),
      })
  }

  /** The page of `response_mode=form_post` sends its form by a script that its policy must allow. */
  #postsItself(page: Page): Landing | undefined {
    const script = /<script[^>]*\bnonce="([^"]+)"[^>]*>([\s\S]*?)<\/script>/.exec(page.html)
    if (script === null || !/\.submit\(\)/.test(script[2] ?? '')) return undefined
    const [, action = ''] = /<form method="post" action="([^"]*)"/.exec(page.html) ?? []
    const url = new URL(unescaped(action), page.url)
    if (url.origin === this.#provider) return undefined
    const policy = page.headers.get('Content-Security-Policy') ?? ''
    if (!policy.includes(`script-src 'nonce-${script[1]}'`)) throw new Error('script not allowed')
    if (!formTargets(page).includes(url.origin)) throw new Error('form-action does not allow it')
    return landing(url.href, formIn(page, unescaped(action)))
  }
}

/** The fields of the form with that action, as they stand. */
export function formIn(page: Page, action: string): Record<string, string> {
  const forms = [
    ...page.html.matchAll(/<form method="post" action="([^"]*)"[^>]*>([\s\S]*?)<\/form>/g),
  ]
  const found = forms.find(([, to]) => unescaped(to ?? '') === action)
  if (found === undefined) throw new Error(`no form for ${action} on the page ${page.id}`)
  const inputs = [...(found[2] ?? '').matchAll(/<input\b([^>]*)>/g)].map(
    ([, text = '']): [string, string] => [
      unescaped(/\bname="([^"]*)"/.exec(text)?.[1] ?? ''),
      unescaped(/\bvalue="([^"]*)"/.exec(text)?.[1] ?? ''),
    ],
  )
  return Object.fromEntries(inputs)
}

async function pageOf(url: string, response: Response): Promise<Page> {
  const { status, headers } = response
  const html = await response.text()
  const body = html.replace(/<(style|script|title)\b[\s\S]*?<\/\1>/g, ' ')
  const text = unescaped(body.replace(/<[^>]+>/g, ' ')).replace(/\s+/g, ' ')
  const id = /<main id="([^"]*)"/.exec(html)?.[1] ?? ''
  return { at: 'page', url, status, id, text, html, headers }
}

function landing(url: string, form: Readonly<Record<string, string>> | undefined): Landing {
  const query = Object.fromEntries(new URL(url).searchParams)
  return form === undefined
    ? { at: 'party', method: 'GET', url, parameters: query }
    : { at: 'party', method: 'POST', url, parameters: form }
}

/** The origins that the page's policy lets its forms go to. */
function formTargets(page: Page): readonly string[] {
  const policy = page.headers.get('Content-Security-Policy') ?? ''
  const [, list = ''] = /(?:^|; )form-action ([^;]*)/.exec(policy) ?? []
  return list.split(' ').map((one) => (one === "'self'" ? new URL(page.url).origin : one))
}

function isSent(sameSite: string, method: string): boolean {
  return sameSite === 'none' || (sameSite === 'lax' && method === 'GET')
}

function unescaped(text: string): string {
  return text
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&amp;', '&')
}
