/** The bar's page: the door, the wait, the counter. */
import { announce, find, html, send, show } from './dom.ts'
import { type Begun, followLogin, type LoginNews } from './login.ts'
import type { MovingQr } from './qr.ts'
import { type ClockedQr, drawCode, keepDrawing, makePicture } from './qr-picture.ts'
import { register } from './register.ts'
import { greeting, wordsOfClaim, wordsOfEnd } from './words.ts'

type Pending = {
  readonly begun: Begun
  readonly tokenId: string
  readonly way: Way
  /** What a phone is to scan, where nobody typed a number. */
  readonly qr?: ClockedQr
}

type Config = {
  readonly issuer: string
  readonly serviceId: string
  readonly scopes: readonly string[]
  readonly requiredScopes: readonly string[]
  readonly confirmation: 'compare' | 'transfer'
}

type Guest = {
  readonly claims: Readonly<Record<string, unknown>>
  readonly token: Readonly<Record<string, unknown>>
}

/**
 * Who begins: our back end, or this page alone (then the socket brings a code that only our back end can redeem), or the provider, on
 * its own page (OpenID Connect). `scan`: our back end for an age check, with nobody's number.
 */
type Way = 'back-end' | 'page' | 'provider' | 'scan'

const WARN_AT = 20
/** After so many milliseconds without a sign of the phone, the page says what can be done. */
const PATIENCE = 10_000
/** Where this tab keeps the sign-in that it waits for, so that a reload goes on with it. */
const PENDING = 'pending-sign-in'
const config: Config = await (await fetch('/config')).json()

function door(tokenId = '', note = ''): void {
  sessionStorage.removeItem(PENDING)
  const form = html(`
    <form novalidate>
      <h1 tabindex="-1">Sign in with your phone</h1>
      <p class="notice"></p>
      <label for="token-id">Your IDToken number</label>
      <input id="token-id" name="tokenId" autocomplete="username" spellcheck="false" autocapitalize="off"
        placeholder="00000000-0000-0000-0000-000000000000" aria-describedby="fault" maxlength="64">
      <p class="fault" id="fault" role="alert"></p>
      <button class="primary" value="back-end">Send to my phone</button>
      <p class="asks">We ask for your <strong>first name</strong> (if you like) and whether you are <strong>over 18</strong>.</p>
      <p class="aside"><button class="link" value="page">The same without a back-end start (page only)</button></p>
      <p class="or"><span>or</span></p>
      <button value="provider">Sign in with IDToken</button>
      <p class="asks">OpenID Connect: the identity provider’s own page asks for your number, or shows a code to scan.</p>
      <p class="or"><span>or</span></p>
      <button value="scan">Verify your age</button>
      <p class="asks">Scan a code with your phone. We learn whether you are <strong>over 18</strong> and nothing else.</p>
      <p class="or"><span>first time here?</span></p>
      <button value="register">Register with IDToken</button>
      <p class="asks">Your phone checks who we are, and lists us among the services you trust. Nothing is shared.</p>
    </form>`)
  const input = find(form, HTMLInputElement, 'input')
  const complaint = find(form, HTMLElement, '#fault')
  input.value = tokenId
  find(form, HTMLElement, '.notice').textContent = note
  find(form, HTMLElement, '.notice').hidden = note === ''
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const button = (event as SubmitEvent).submitter
    const pressed = button instanceof HTMLButtonElement ? button.value : 'back-end'
    if (pressed === 'register') return void register(config.issuer, () => door())
    const way = pressed as Way
    if (way === 'scan') return void signIn('', way)
    const number = readNumber(input.value)
    if (way === 'provider') return void signIn(number ?? '', way)
    if (number === undefined) {
      complaint.textContent =
        'Copy the number from your phone: 32 letters and digits, with or without dashes.'
      input.setAttribute('aria-invalid', 'true')
      input.focus()
      return
    }
    void signIn(number, way)
  })
  show('door', form)
  announce(note)
}

async function signIn(tokenId: string, way: Way): Promise<void> {
  // What was typed here needn't be typed there.
  if (way === 'provider') {
    return location.assign(`/login/oidc${tokenId === '' ? '' : `?tokenId=${tokenId}`}`)
  }
  const begun = await begin(tokenId, way)
  if ('fault' in begun) return ended(begun.fault, tokenId, way)
  const { sessionId, wsToken, expiresAt, qr } = begun
  const pending: Pending = {
    ...{ begun: { sessionId, wsToken, expiresAt }, tokenId, way },
    ...(way === 'scan' ? { qr: { ...qr, ahead: qr.now - Date.now() } } : {}),
  }
  sessionStorage.setItem(PENDING, JSON.stringify(pending))
  wait(pending)
}

/** Asks for a login: through our back end, or from here by CORS with nothing but our origin to show. */
async function begin(
  tokenId: string,
  way: Way,
): Promise<(Begun & { readonly qr: MovingQr }) | { readonly fault: string }> {
  const { issuer, serviceId, scopes, requiredScopes, confirmation } = config
  const request = () => {
    if (way === 'scan') return send('/login/scan', {})
    if (way === 'back-end') return send('/login/start', { tokenId })
    const careful = confirmation === 'transfer' ? { confirmation } : {}
    const wanted = { serviceId, tokenId, scopes, requiredScopes, ...careful }
    return send(`${issuer}/auth/initiate`, wanted)
  }
  const { ok, body } = await request()
  return ok
    ? (body as Begun & { qr: MovingQr })
    : { fault: String((body as { code?: string }).code ?? 'unreachable') }
}

function wait({ begun, tokenId, way, qr }: Pending): void {
  const view = html(`
    <div class="wait">
      <p class="aside" data-part="service">Bar le Central</p>
      <h1 tabindex="-1">Check your phone</h1>
      <div data-part="qr" hidden></div>
      <p data-part="hint"></p>
      <p class="code" data-part="code" hidden></p>
      <details data-part="digits" hidden><summary>Scan it instead of typing</summary></details>
      <p class="timer" role="timer" aria-live="off" data-part="timer"></p>
      <p class="notice" data-part="notice" hidden></p>
      <button data-part="cancel">Cancel</button>
    </div>`)
  const part = (name: string) => find(view, HTMLElement, `[data-part="${name}"]`)
  const heading = find(view, HTMLElement, 'h1')
  const stopDrawing = qr === undefined ? () => {} : showQr(part('qr'), qr)
  if (qr !== undefined) {
    heading.textContent = 'Verify your age'
    part('hint').textContent = 'Scan this with the IDToken app on your phone.'
  }
  let expiresAt = Date.parse(begun.expiresAt)
  let claimed = false
  let warned = false

  const notice = (text: string) => {
    part('notice').textContent = text
    part('notice').hidden = text === ''
    if (text !== '') announce(text)
  }
  const tick = () => {
    const left = Math.max(0, Math.ceil((expiresAt - Date.now()) / 1000))
    part('timer').textContent = claimed ? '' : `${left} seconds left`
    if (left <= WARN_AT && !warned && !claimed) {
      warned = true
      announce(`${left} seconds left.`)
    }
  }
  const clock = setInterval(tick, 250)
  const hint = setTimeout(() => {
    if (!claimed && qr === undefined && part('notice').hidden) {
      notice('Nothing on your phone yet? Open its app and press “Check for logins”.')
    }
  }, PATIENCE)
  const leave = () => {
    clearInterval(clock)
    clearTimeout(hint)
    stopDrawing()
    stop()
  }
  const hear = (news: LoginNews) => {
    if (news.kind === 'offline') return notice('Reconnecting…')
    if (part('notice').textContent === 'Reconnecting…') notice('')
    switch (news.kind) {
      case 'code':
        expiresAt = Date.parse(news.expiresAt)
        showCode(part('code'), news.code)
        part('hint').textContent =
          config.confirmation === 'transfer'
            ? 'Type this code into your phone:'
            : 'Approve only if your phone shows this code:'
        if (config.confirmation === 'transfer') showDigits(part('digits'), news.code)
        announce(`Your code is ${[...news.code].join(' ')}`)
        break
      case 'claimed':
        claimed = true
        notice('')
        view.dataset.claimed = ''
        // One phone is enough: nobody else may scan it now.
        stopDrawing()
        part('qr').hidden = true
        if (qr !== undefined && part('code').hidden) part('hint').textContent = ''
        heading.textContent = 'Continue on your phone'
        announce('Phone connected. Continue on your phone.')
        break
      case 'push_failed':
        notice('We couldn’t reach your phone. Open its app and press “Check for logins”.')
        break
      case 'approved':
        leave()
        void arrive(begun.sessionId, news, tokenId, way)
        break
      case 'end':
        leave()
        ended(news.reason, tokenId, way)
    }
    tick()
  }
  const stop = followLogin(config.issuer, begun, hear)
  part('cancel').addEventListener('click', () => {
    leave()
    // The wire has no way to take a login back that a back end began.
    door(tokenId, 'Your phone may still ask for up to a minute. Decline there.')
  })
  tick()
  show('waiting', view)
}

/** Shows the QR and keeps it moving. The answer stops it. */
function showQr(place: HTMLElement, qr: ClockedQr): () => void {
  const picture = makePicture('QR code for the IDToken app on your phone')
  place.append(picture)
  place.hidden = false
  return keepDrawing(picture, qr)
}

/** The code as a QR that stands, for phones that read it off the screen. */
function showDigits(place: HTMLElement, code: string): void {
  const picture = makePicture('QR code of the six digits')
  drawCode(picture, code)
  for (const earlier of place.querySelectorAll('svg')) earlier.remove()
  place.append(picture)
  place.hidden = false
}

function showCode(element: HTMLElement, code: string): void {
  element.hidden = false
  element.setAttribute('aria-label', [...code].join(' '))
  element.replaceChildren(
    ...[code.slice(0, 3), code.slice(3)].map((half) => {
      const span = document.createElement('span')
      span.textContent = half
      return span
    }),
  )
}

/** Hands what the socket brought to our back end, which alone decides whether a guest has come. */
async function arrive(
  sessionId: string,
  { jwt, code }: { readonly jwt?: string; readonly code?: string },
  tokenId: string,
  way: Way,
): Promise<void> {
  const { ok, body } = jwt
    ? await send('/login/finish', { sessionId, jwt })
    : await send('/login/redeem', { sessionId, code })
  if (ok) counter(body as Guest)
  else ended(String((body as { code?: string }).code ?? 'unreachable'), tokenId, way)
}

function ended(reason: string, tokenId: string, way: Way): void {
  sessionStorage.removeItem(PENDING)
  const [title, text] = wordsOfEnd(reason)
  const view = html(`
    <div class="ended">
      <h1 tabindex="-1"></h1>
      <p></p>
      <button class="primary" data-part="again">Try again</button>
      <button data-part="other"></button>
    </div>`)
  find(view, HTMLElement, 'h1').textContent = title
  find(view, HTMLElement, 'p').textContent = text
  find(view, HTMLElement, '[data-part="other"]').textContent =
    way === 'scan' ? 'Back' : 'Use another number'
  find(view, HTMLElement, '[data-part="again"]').addEventListener(
    'click',
    () => void signIn(tokenId, way),
  )
  find(view, HTMLElement, '[data-part="other"]').addEventListener('click', () => door(tokenId))
  view.dataset.reason = reason
  show('ended', view)
  announce(`${title}. ${text}`)
}

function counter({ claims, token }: Guest): void {
  sessionStorage.removeItem(PENDING)
  const [title, text] = greeting(claims)
  const view = html(`
    <div class="counter">
      <p class="aside">Identity verified</p>
      <h1 tabindex="-1"></h1>
      <p></p>
      <table>
        <caption>All we learnt about you</caption>
        <thead class="visually-hidden"><tr><th>What</th><th>Value</th></tr></thead>
        <tbody></tbody>
      </table>
      <details><summary>About the token itself</summary><dl></dl></details>
      <button data-part="out">Sign out</button>
    </div>`)
  find(view, HTMLElement, 'h1').textContent = title
  find(view, HTMLElement, 'h1 + p').textContent = text
  const rows = find(view, HTMLTableSectionElement, 'tbody')
  for (const [name, value] of Object.entries(claims)) {
    const row = rows.insertRow()
    const [label, shown] = wordsOfClaim(name, value)
    const head = document.createElement('th')
    head.scope = 'row'
    head.append(label, Object.assign(document.createElement('code'), { textContent: name }))
    row.append(head)
    row.insertCell().textContent = shown
  }
  const list = find(view, HTMLElement, 'dl')
  for (const [name, value] of Object.entries(token)) {
    list.append(
      Object.assign(document.createElement('dt'), { textContent: name }),
      Object.assign(document.createElement('dd'), { textContent: String(value) }),
    )
  }
  find(view, HTMLElement, '[data-part="out"]').addEventListener('click', async () => {
    const { farewell } = (await send('/logout', {})).body as { farewell?: string | null }
    if (farewell) location.assign(farewell)
    else door()
  })
  show('counter', view)
  announce(`${title}. ${text}`)
}

/** A tokenId as people type it: spaces, capitals and missing dashes are forgiven. */
function readNumber(text: string): string | undefined {
  const digits = text.toLowerCase().replace(/[^0-9a-z]/g, '')
  if (!/^[0-9a-f]{32}$/.test(digits)) return undefined
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

const guest: Guest | null = await (await fetch('/me')).json()
const pending = sessionStorage.getItem(PENDING)
const query = new URLSearchParams(location.search)
const end = query.get('end')
// A reload doesn't tell the end of a sign-in twice.
if (end !== null) history.replaceState(null, '', '/')
if (guest) counter(guest)
else if (end !== null) ended(end, '', 'provider')
else if (pending) wait(JSON.parse(pending) as Pending)
else door(query.get('tokenId') ?? '')
