/** The pages of a login: their sentences and ids, which are interface, and hostile text in every place that has one. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { htmlPage, type Page } from '../../../../src/http/page.ts'
import type { Asked } from '../../../../src/login/door.ts'
import { answerOnward } from '../../../../src/login/hosted/onward.ts'
import {
  againPage,
  appPage,
  type Carried,
  confirmPage,
  elsewherePage,
  endPage,
  postPage,
  returnPage,
  startPage,
  type Waiting,
  waitPage,
} from '../../../../src/login/hosted/pages.ts'

/** Any UTF-16 unit, half a surrogate pair too. */
const anyUnit = fc.oneof(fc.nat(0xff), fc.nat(0xffff)).map((code) => String.fromCharCode(code))

const NONCE = 'AbCdEfGhIjKlMnOpQrSt_-'
const NOW = 1_800_000_000_000
const HOSTILE = `</title></style></script></textarea><script>alert(1)</script>"'><img src=x onerror=alert(1)>&lt;&#34;\u202e\u200b`

const asked: Asked = {
  door: 'oidc',
  doorState: {},
  service: { id: 'bar', name: 'Bar le Central', url: 'https://bar.example/', logo: null },
  origin: 'https://bar.example',
  returnTo: 'https://bar.example/cb?x=1',
  socketOrigins: [],
  begunBy: 'page',
  vds: null,
  purpose: 'login',
  trustRequired: false,
  scopes: [],
  requiredScopes: [],
  minTrustLevel: 1,
  confirmation: 'compare',
  context: { browser: null, country: null },
}

const carried: Carried = { asked, ticket: '1.ticket', tokenId: 'a-number' }
const started = { sessionId: 'sess_1', attempt: 3, code: '012345', expiresAt: NOW + 42_001 }
const qr = { url: 'https://id.example/l#sess_1.', key: 'key', now: NOW }
const link = 'https://id.example/l#sess_1.proof.link'
const waiting: Waiting = { started, qr, link, socketToken: 't', now: NOW, early: false }
/** The same before anybody has scanned it: nobody knows its code. */
const scanning: Waiting = { ...waiting, started: { ...started, code: null } }
/** What the forms of a login carry that nobody has typed a number into. */
const unnamed: Carried = { ...carried, tokenId: '' }

function named(name: string): Asked {
  return { ...asked, service: { ...asked.service, name } }
}

/** Every page, with `text` wherever a text comes from outside. */
function pagesWith(text: string): readonly Page[] {
  const hostile: Carried = { asked: named(text), ticket: text, tokenId: text }
  const wait: Waiting = {
    ...{ started: { ...started, sessionId: text }, socketToken: text, now: NOW, early: false },
    ...{ qr: { ...qr, url: text, key: text }, link: text },
  }
  return [
    startPage(hostile),
    startPage(hostile, true),
    waitPage(hostile, wait),
    waitPage(hostile, { ...wait, early: true }),
    waitPage(hostile, { ...wait, started: { ...wait.started, code: null } }),
    confirmPage(hostile, 'a-number'),
    elsewherePage(hostile),
    againPage(hostile, { after: 1, failed: true }),
    againPage(hostile, { after: 1, failed: false }),
    postPage(text, `https://bar.example/cb?q=${text}`, { state: text, [text || 'x']: 'value' }),
  ]
}

async function shown(page: Page): Promise<string> {
  return (await htmlPage(page, NONCE)).text()
}

/** The tags of a page, without what stands between quotes. */
function tagsOf(document: string): readonly string[] {
  return (document.match(/<[^>]*>/g) ?? []).map((tag) => tag.replace(/"[^"]*"/g, '""'))
}

describe('what each page says', () => {
  const cases: [Page, string, number, string][] = [
    [startPage(carried), 'login-start', 200, 'Sign in to Bar le Central with your phone'],
    [startPage(carried, true), 'login-start', 400, 'Copy the number from your phone'],
    [waitPage(carried, waiting), 'login-pushing', 200, 'Check your phone'],
    [waitPage(carried, { ...waiting, early: true }), 'login-pushing', 200, 'has not answered yet'],
    [waitPage(unnamed, scanning), 'login-scan', 200, 'Scan with your phone'],
    [waitPage(unnamed, { ...scanning, early: true }), 'login-scan', 200, 'has not answered yet'],
    [confirmPage(carried, 'tokens-1234'), 'login-confirm', 200, 'You are signing in as ••••1234'],
    [elsewherePage(carried), 'login-other-window', 200, 'Go on in the other window'],
    [returnPage([]), 'login-finish', 200, 'You are being taken back.'],
    [returnPage(['a-mark']), 'login-finish', 200, 'data-known="a-mark"'],
    [appPage(null), 'login-app', 200, 'Open this with the IDToken app'],
    [appPage('https://app.example/'), 'login-app', 200, 'Open this with the IDToken app'],
    [againPage(carried, { after: 1, failed: false }), 'login-expired', 200, 'Time ran out'],
    [
      againPage(carried, { after: 1, failed: true }),
      'login-failed',
      200,
      'Your phone couldn&#39;t confirm it was you',
    ],
    [postPage('Bar', 'https://bar.example/', {}), 'login-return', 200, 'Back to Bar'],
    [endPage('login-completed'), 'login-completed', 409, 'This sign-in was already completed.'],
    [endPage('login-over'), 'login-over', 400, 'This sign-in has ended.'],
    [endPage('login-browser'), 'login-browser', 403, 'belongs to another browser'],
    [endPage('login-foreign'), 'login-foreign', 403, 'was begun in another browser'],
    [endPage('login-limited'), 'login-limited', 429, 'Too many requests'],
    [endPage('error-client'), 'error-client', 400, 'This service is not known here.'],
    [endPage('error-request'), 'error-request', 400, 'This sign-in request is not valid.'],
  ]
  test.each(cases)('%#: id, status and sentence', async (page, id, status, sentence) => {
    const answer = await htmlPage(page, NONCE)
    const text = await answer.text()
    expect([answer.status, page.id]).toEqual([status, id])
    expect(text).toContain(`<main id="${id}">`)
    expect(text).toContain(sentence)
    expect(text.match(/<h1/g)).toHaveLength(1)
  })

  test('the code stands in two groups, and once as digits for those who hear it', async () => {
    const text = await shown(waitPage(carried, waiting))
    expect(text).toContain('<span>012</span><span>345</span>')
    expect(text).toContain('0 1 2, 3 4 5')
    expect(text).toContain('<span id="left">43</span> seconds')
    expect(text).toContain('only if it shows this code')
    const late = { ...waiting, started: { ...started, expiresAt: NOW - 1 } }
    expect(await shown(waitPage(carried, late))).toContain('data-left="0"')
    const transfer = { ...carried, asked: { ...asked, confirmation: 'transfer' } as const }
    expect(await shown(waitPage(transfer, waiting))).toContain('Type this code into your phone')
  })

  test('pages: the start offers the QR first, then the number; neither form needs the other', async () => {
    const text = await shown(startPage(unnamed))
    const forms = [...text.matchAll(/<form method="post" action="([^"]*)"/g)].map(([, to]) => to)
    expect(forms).toEqual(['/login/scan', '/login/address', '/login/cancel'])
    expect(text).toMatch(/<button>Show a QR code<\/button>/)
    expect(text).toMatch(/<button class="secondary">Send to my phone<\/button>/)
    expect(text).not.toMatch(/<script|data-qr|\/l#/)
  })

  test('pages: before a scan the QR comes first and no code is there; afterwards the code, with the QR at hand', async () => {
    const scan = await shown(waitPage(unnamed, scanning))
    expect(scan).toContain('<div id="with-code" hidden>')
    expect(scan).toContain('This QR code is good for')
    expect(scan).not.toMatch(/id="no-push"|<details|\d{3}<\/span>/)
    expect(scan.indexOf('id="scan"')).toBeLessThan(scan.indexOf('id="with-code"'))
    const pushed = await shown(waitPage(carried, waiting))
    expect(pushed).toContain('<div id="with-code" >')
    expect(pushed).toContain('This code is good for')
    expect(pushed.indexOf('<details id="scan-instead">')).toBeGreaterThan(
      pushed.indexOf('id="with-code"'),
    )
    for (const page of [scan, pushed]) {
      expect(page.match(/id="scan"/g)).toHaveLength(1)
      expect(page).toContain(`data-qr-url="${qr.url}" data-qr-key="key" data-qr-now="${NOW}"`)
      expect(page).toContain(`<a id="qr-link" href="${link}">`)
    }
  })

  test('pages: who scanned gets a QR code again, and who typed a number a code for it', async () => {
    // The first form of the two: another number can be typed on each.
    const target = async (page: Page) =>
      /action="(\/login\/(?:scan|address))"/.exec(await shown(page))?.[1]
    const ran = { after: 1, failed: false }
    expect(await target(waitPage(unnamed, scanning))).toBe('/login/scan')
    expect(await target(againPage(unnamed, ran))).toBe('/login/scan')
    // Also when a phone has scanned it meanwhile, so that its code is known.
    expect(await target(waitPage(unnamed, waiting))).toBe('/login/scan')
    expect(await target(waitPage(carried, waiting))).toBe('/login/address')
    expect(await target(againPage(carried, ran))).toBe('/login/address')
  })

  test('360 pages: who looks at it says whether it is he, and no more than four figures tell who', async () => {
    const text = await shown(confirmPage(carried, '0123456789abcdef-1234'))
    expect(text).toContain('name="confirmed" value="yes"')
    expect(text).not.toContain('0123456789abcdef')
    const forms = [...text.matchAll(/action="([^"]*)"[\s\S]*?<button[^>]*>([^<]*)</g)]
    expect(forms.map(([, to, says]) => [to, says])).toEqual([
      ['/login/continue', 'Continue'],
      ['/login/cancel', 'Not me'],
    ])
  })

  test('pages: an address for the app leads to an app of a development world alone', async () => {
    expect(await shown(appPage(null))).not.toMatch(/<script|href/)
    expect(await shown(appPage('https://app.example/?a="b'))).toContain(
      '<a id="app" href="https://app.example/?a=&quot;b">',
    )
  })

  test('357 pages: each form says which attempt its page shows', async () => {
    const wait = await shown(waitPage(carried, waiting))
    expect(wait).toContain('name="after" value="3"')
    const again = await shown(againPage(carried, { after: 7, failed: false }))
    expect(again).toContain('name="after" value="7"')
    expect((await shown(startPage(carried))).match(/name="after" value="0"/g)).toHaveLength(2)
  })

  test('333 pages: forms may end at the request’s own address, and nowhere else', async () => {
    const targets = async (page: Page) =>
      /form-action ([^;]*)/.exec(
        (await htmlPage(page, NONCE)).headers.get('Content-Security-Policy') ?? '',
      )?.[1]
    expect(await targets(startPage(carried))).toBe("'self' https://bar.example")
    const app = { ...carried, asked: { ...asked, returnTo: 'com.example.bar:/cb' } }
    expect(await targets(waitPage(app, waiting))).toBe("'self' com.example.bar:")
    const none = { ...carried, asked: { ...asked, returnTo: null } }
    expect(await targets(againPage(none, { after: 1, failed: true }))).toBe("'self'")
    expect(await targets(postPage('Bar', 'https://rp.example:8443/cb', {}))).toBe(
      "'self' https://rp.example:8443",
    )
    expect(await targets(endPage('login-over'))).toBe("'self'")
  })

  test('337 pages: an end leads nowhere', async () => {
    const ends = ['login-completed', 'login-over', 'login-browser', 'login-limited'] as const
    for (const id of [...ends, 'login-foreign'] as const) {
      expect(await shown(endPage(id))).not.toMatch(/<(?:a|form|script)\b|href|https?:/)
    }
  })
})

describe('hostile text', () => {
  test('162 pages: markup in a name, a number, a ticket or a state is text', async () => {
    const plain = await Promise.all(pagesWith('plain').map(shown))
    const hostile = await Promise.all(pagesWith(HOSTILE).map(shown))
    for (const [i, document] of hostile.entries()) {
      expect(tagsOf(document)).toEqual(tagsOf(plain[i] ?? ''))
      expect(document).not.toContain('<script>alert')
      expect(document).not.toContain('<img')
      expect(document).toContain('&lt;script&gt;alert(1)&lt;/script&gt;')
    }
  })

  test('036 162 pages: any text leaves the page as it is, and comes out of its form the same', async () => {
    const plain = await Promise.all(pagesWith('plain').map(shown))
    const text = fc.oneof(
      fc.string({ unit: anyUnit }),
      fc.string({ unit: fc.constantFrom(...'<>"\'&;=/`a \r\n') }),
    )
    await fc.assert(
      fc.asyncProperty(text, async (any) => {
        const documents = await Promise.all(pagesWith(any).map(shown))
        for (const [i, document] of documents.entries()) {
          expect(tagsOf(document)).toEqual(tagsOf(plain[i] ?? ''))
        }
        const value = /name="state" value="([^"]*)"/.exec(documents.at(-1) ?? '')?.[1] ?? ''
        // What is no text, half a surrogate pair, can't be sent at all.
        expect(unescaped(value)).toBe(any.toWellFormed())
      }),
      { numRuns: 40 },
    )
  })

  function unescaped(text: string): string {
    const entities: Record<string, string> = {
      '&quot;': '"',
      '&#39;': "'",
      '&lt;': '<',
      '&gt;': '>',
      '&amp;': '&',
    }
    return text.replace(/&(?:quot|#39|lt|gt|amp);/g, (entity) => entities[entity] ?? entity)
  }
})

describe('the way back', () => {
  const cookies = ['__Host-a=1; Path=/', '__Host-b=2; Path=/']

  test('040 onward: a redirect is a 303 that nobody keeps, with its cookies', async () => {
    const answer = await answerOnward({ address: 'com.example:/cb?code=x' }, 'Bar', NONCE, cookies)
    expect(answer.status).toBe(303)
    expect(answer.headers.get('Location')).toBe('com.example:/cb?code=x')
    expect(answer.headers.get('Cache-Control')).toBe('no-store')
    expect(answer.headers.getSetCookie()).toEqual(cookies)
    expect(await answer.text()).toBe('')
  })

  test('onward: a form goes by itself with a script, and by a button without', async () => {
    const onward = { address: 'https://bar.example/cb', fields: { code: 'x', state: 'a"b' } }
    const answer = await answerOnward(onward, 'Bar', NONCE, cookies)
    const text = await answer.text()
    expect([answer.status, answer.headers.has('Location')]).toEqual([200, false])
    expect(answer.headers.getSetCookie()).toEqual(cookies)
    expect(text).toContain('<form method="post" action="https://bar.example/cb" id="onward">')
    expect(text).toContain('<input type="hidden" name="state" value="a&quot;b">')
    expect(text).toContain('<button>Continue</button>')
    expect(text).toContain(`<script type="module" nonce="${NONCE}">`)
    // No field of the form may take the place of the method that sends it.
    expect(answer.headers.get('Content-Security-Policy')).toContain(
      "form-action 'self' https://bar.example;",
    )
  })
})
