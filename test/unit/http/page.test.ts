import fc from 'fast-check'
import { html } from 'hono/html'
import { describe, expect, it } from 'vitest'
import { codeFigures, formTarget, htmlPage, type Page } from '../../../src/http/page.ts'
import { secured } from '../../../src/http/security.ts'

/** Any UTF-16 unit, half a surrogate pair too. */
const anyUnit = fc.oneof(fc.nat(0xff), fc.nat(0xffff)).map((code) => String.fromCharCode(code))

const NONCE = 'AbCdEfGhIjKlMnOpQrSt_-'
const HOSTILE = `</title></style></script><script>alert(1)</script>"'><img src=x onerror=alert(1)>&lt;`

function show(page: Partial<Page> = {}, issuer?: string) {
  const whole = { id: 'login-start', title: 'Sign in', content: html`<h1>Hello</h1>`, ...page }
  return htmlPage(whole, NONCE, issuer === undefined ? {} : { issuer })
}

async function policyOf(page: Partial<Page> = {}, issuer?: string) {
  const text = (await show(page, issuer)).headers.get('Content-Security-Policy') ?? ''
  return Object.fromEntries(
    text.split('; ').map((directive) => [directive.split(' ')[0], directive.split(' ').slice(1)]),
  )
}

describe('htmlPage', () => {
  it('is one whole document around its content', async () => {
    const answer = await show({ status: 400, content: html`<h1>Hello</h1><p>World</p>` })
    const text = await answer.text()
    expect(answer.status).toBe(400)
    expect(text).toMatch(/^<!doctype html>\n<html lang="en">\n/)
    expect(text).toContain('<meta name="viewport" content="width=device-width, initial-scale=1">')
    expect(text).toContain('<title>Sign in</title>')
    expect(text).toMatch(/<main id="login-start">\s*<h1>Hello<\/h1><p>World<\/p>\s*<\/main>/)
    expect(text).not.toContain('<script')
    expect(text.match(/<style/g)).toHaveLength(1)
    expect((await show()).status).toBe(200)
  })

  it('waits for content that is still in the making', async () => {
    const content = html`<h1>${Promise.resolve('<Later>')}</h1>`
    expect(await (await show({ content })).text()).toContain('<h1>&lt;Later&gt;</h1>')
  })

  it('333 has every header of a page, the common ones included', async () => {
    const answer = secured(await show({ script: '1' }, 'https://id.example.com'), 'request-1')
    expect(Object.fromEntries(answer.headers)).toEqual({
      'cache-control': 'no-store',
      'content-security-policy':
        "default-src 'none'; " +
        `style-src 'nonce-${NONCE}'; script-src 'nonce-${NONCE}'; ` +
        "connect-src 'self' wss://id.example.com; form-action 'self'; base-uri 'none'; " +
        "frame-ancestors 'none'",
      'content-type': 'text/html; charset=utf-8',
      'cross-origin-opener-policy': 'same-origin',
      'referrer-policy': 'no-referrer',
      'strict-transport-security': 'max-age=63072000; includeSubDomains',
      'x-content-type-options': 'nosniff',
      'x-request-id': 'request-1',
    })
  })

  it('333 a page without script may run and connect to nothing', async () => {
    const policy = await policyOf({}, 'https://id.example.com')
    expect(Object.keys(policy)).not.toContain('script-src')
    expect(Object.keys(policy)).not.toContain('connect-src')
    expect(policy['default-src']).toEqual(["'none'"])
  })

  it.each([
    ['https://id.example.com', ["'self'", 'wss://id.example.com']],
    ['https://id.example.com:8443/tenant', ["'self'", 'wss://id.example.com:8443']],
    ['http://127.0.0.1:8787', ["'self'", 'ws://127.0.0.1:8787']],
    [undefined, ["'self'"]],
  ])('333 the script of %s may connect to %j', async (issuer, sources) => {
    expect((await policyOf({ script: '1' }, issuer))['connect-src']).toEqual(sources)
  })

  it('333 forms may end at the addresses named, and nothing can widen the policy', async () => {
    const formAction = [
      'https://shop.example',
      'http://127.0.0.1:51234',
      'com.example.app:',
      ...["'unsafe-inline'", '*', 'https://*.example', 'https:', "https://a; script-src 'self'"],
      ...[
        'https://a.example/path',
        'https://a.example b',
        'https://a.example,x',
        '',
        'a',
        "'self'",
      ],
      ...['https://a\r\nX: y', 'javascript:', 'data:', 'HTTPS://a.example', 'https://é.example'],
    ]
    const policy = await policyOf({ formAction })
    expect(policy['form-action']).toEqual([
      "'self'",
      'https://shop.example',
      'http://127.0.0.1:51234',
      'com.example.app:',
      'https:',
    ])
    expect(Object.keys(policy)).toEqual(Object.keys(await policyOf()))
  })

  it('333 no entry, whatever it is, adds a directive or a header', async () => {
    const plain = Object.keys(await policyOf())
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: anyUnit }), async (entry) => {
        const policy = await policyOf({ formAction: [entry, `https://${entry}`, `${entry}:`] })
        expect(Object.keys(policy)).toEqual(plain)
        expect(policy['form-action']?.join(' ')).not.toMatch(/[*;,]|'(?!self')[a-z]/)
      }),
    )
  })

  it('334 336 sets several cookies, and no header replaces the ones of a page', async () => {
    const answer = secured(
      await show({
        headers: [
          ['Set-Cookie', 'a=1'],
          ['Set-Cookie', 'b=2'],
          ['Retry-After', '5'],
          ['Content-Security-Policy', "default-src '*'"],
          ['cache-control', 'public'],
          ['Content-Type', 'text/plain'],
        ],
      }),
      'request-1',
    )
    expect(answer.headers.getSetCookie()).toEqual(['a=1', 'b=2'])
    expect(answer.headers.get('Retry-After')).toBe('5')
    expect(answer.headers.get('Content-Security-Policy')).not.toContain('*')
    expect(answer.headers.get('Cache-Control')).toBe('no-store')
    expect(answer.headers.get('Content-Type')).toBe('text/html; charset=utf-8')
  })

  it('036 282 hostile text stays text wherever it stands', async () => {
    const content = html`<h1>${HOSTILE}</h1><input type="hidden" name="state" value="${HOSTILE}"><a href='${HOSTILE}'>x</a>`
    const text = await (await show({ id: HOSTILE, title: HOSTILE, content })).text()
    const escaped = HOSTILE.replaceAll('&', '&amp;')
      .replaceAll('<', '&lt;')
      .replaceAll('>', '&gt;')
      .replaceAll('"', '&quot;')
      .replaceAll("'", '&#39;')
    expect(text.split(escaped)).toHaveLength(6)
    expect(text.match(/<(script|img|\/script)/g)).toBeNull()
    expect(text.match(/<\/(title|style)>/g)).toEqual(['</title>', '</style>'])
  })

  it('282 no text at all adds an element', async () => {
    const elements = async (text: string) => {
      const content = html`<p title="${text}">${text}</p>`
      const whole = await (await show({ title: text, content })).text()
      return whole.replaceAll(/"[^"]*"/g, '""').match(/<[^>]*>/g)
    }
    const expected = await elements('x')
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: anyUnit }), async (text) => {
        expect(await elements(`${text}<b onload=1>"${text}'>`)).toEqual(expected)
      }),
    )
  })

  it('a script stays inside its element and means the same', async () => {
    const script = `export const said = '</script><!-- </SCRIPT' + \`</script\` + (1 < 2)`
    const text = await (await show({ script })).text()
    const source = /<script type="module" nonce="[^"]+">([\s\S]*?)<\/script>/.exec(text)?.[1] ?? ''
    expect(text.match(/<\/script|<!--/gi)).toEqual(['</script'])
    const { said } = await import(`data:text/javascript,${encodeURIComponent(source)}`)
    expect(said).toBe('</script><!-- </SCRIPT</scripttrue')
  })

  it('333 style and script carry the nonce of the policy', async () => {
    const text = await (await show({ script: '1' })).text()
    expect(text.split(`nonce="${NONCE}"`)).toHaveLength(3)
    expect(text).not.toMatch(/\sstyle=|\son[a-z]+=/)
  })

  it.each(['', 'short', `${NONCE}'`, `${NONCE}; x`, `${NONCE}\r\n`, `${NONCE}"`, `${NONCE}===`])(
    '333 %j is no nonce',
    async (nonce) => {
      const page = { id: 'a', title: 'a', content: html`a` }
      await expect(htmlPage(page, nonce)).rejects.toThrow(TypeError)
    },
  )

  it('341 names no other place to load from', async () => {
    const text = await (await show({ script: '1' })).text()
    expect(text).not.toMatch(/https?:|src=|@import|url\(|<link|<base/)
  })
})

describe('the style', () => {
  async function style() {
    return /<style[^>]*>([\s\S]*)<\/style>/.exec(await (await show()).text())?.[1] ?? ''
  }

  it('is below 4 kB', async () => {
    expect((await style()).length).toBeLessThan(4000)
    expect((await style()).length).toBeGreaterThan(1000)
  })

  it('has text at 7:1, and lines and focus at 3:1, in both schemes', async () => {
    const schemes = [...(await style()).matchAll(/:root\{([^}]*)\}/g)].map(([, body]) =>
      Object.fromEntries(
        [...(body ?? '').matchAll(/--([a-z-]+):(#[0-9a-f]{6})/g)].map(([, name, colour]) => [
          name,
          colour,
        ]),
      ),
    )
    expect(schemes).toHaveLength(2)
    for (const scheme of schemes) {
      const ratio = (a: string, b: string) => contrast(scheme[a] ?? '', scheme[b] ?? '')
      for (const text of ['ink', 'faint', 'deed', 'alarm']) {
        expect(ratio(text, 'paper'), text).toBeGreaterThanOrEqual(7)
      }
      expect(ratio('on-deed', 'deed')).toBeGreaterThanOrEqual(7)
      expect(ratio('line', 'paper')).toBeGreaterThanOrEqual(3)
      expect(ratio('deed', 'ground')).toBeGreaterThanOrEqual(3)
    }
  })
})

describe('codeFigures', () => {
  it('shows three and three, and reads figure by figure', async () => {
    const text = String(await codeFigures('012945'))
    expect(text).toContain('<span>012</span><span>945</span>')
    expect(text).toContain('>0 1 2, 9 4 5</p>')
    expect(text).toMatch(/class="code" aria-hidden="true"/)
    expect(text).toContain('class="visually-hidden"')
  })
})

describe('formTarget', () => {
  it.each([
    ['https://shop.example/cb?x=1', 'https://shop.example'],
    ['https://shop.example:8443/cb', 'https://shop.example:8443'],
    ['https://shop.example:443/cb', 'https://shop.example'],
    ['https://Shop.example/cb', 'https://shop.example'],
    ['http://127.0.0.1:51234/cb', 'http://127.0.0.1:51234'],
    ['http://localhost/cb', 'http://localhost'],
    ['http://[::1]:51234/cb', 'http:'],
    ['https://münchen.example/cb', 'https://xn--mnchen-3ya.example'],
    ['com.example.app:/cb', 'com.example.app:'],
    ['com.example.app://cb', 'com.example.app:'],
    ['javascript:alert(1)', undefined],
    ['data:text/html,x', undefined],
    ['blob:https://shop.example/x', undefined],
    ['file:///etc/passwd', undefined],
    ['/cb', undefined],
    ['', undefined],
  ])('333 of %j is %j', (address, target) => {
    expect(formTarget(address)).toBe(target)
  })

  it('333 whatever it gives is used as it is', async () => {
    const label = fc.string({ unit: fc.constantFrom(...'abcxyz019-_'), minLength: 1 })
    const host = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'))
    await fc.assert(
      fc.asyncProperty(host, fc.nat(65535), async (name, port) => {
        const address = `https://${name}.example:${port}/cb?x=1#y`
        const target = formTarget(address) ?? ''
        const policy = await policyOf({ formAction: [target] })
        expect(policy['form-action']).toEqual(["'self'", target])
        expect(address.toLowerCase().startsWith(target)).toBe(true)
      }),
    )
  })
})

/** The contrast of two `#rrggbb` colours (WCAG 2.2, "contrast ratio"). */
function contrast(a: string, b: string): number {
  const [light = 0, dark = 0] = [luminance(a), luminance(b)].sort((x, y) => y - x)
  return (light + 0.05) / (dark + 0.05)
}

function luminance(colour: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5]
    .map((at) => Number.parseInt(colour.slice(at, at + 2), 16) / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
  return 0.2126 * r + 0.7152 * g + 0.0722 * b
}
