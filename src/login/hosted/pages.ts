/**
 * The pages of a hosted login. Each has one sentence and one element id, which are interface (4-oidc section 4,
 * 6-operations section 2). Everything works by form; the script only shortens the way.
 */
import { html } from 'hono/html'
import { codeFigures, formTarget, type Html, type Page } from '../../http/page.ts'
import type { CompletionContent } from '../completion.ts'
import type { Asked } from '../door.ts'
import type { MovingQr } from '../scan-proof.ts'
import type { Started } from '../session.ts'
import { emptyQr, SCAN_SCRIPT, scanPart } from './scan-script.ts'
import { SCRIPT } from './script.ts'

/** What every form of a login carries along. */
export interface Carried {
  readonly asked: Asked
  readonly ticket: string
  /** The number typed, or a hint of it; empty when there is none. */
  readonly tokenId: string
}

/** The first page: the person types a number. `fault`: what was typed is none. */
export function startPage({ asked, ticket, tokenId }: Carried, fault = false): Page {
  const sentence = `Sign in to ${asked.service.name} with your phone`
  return {
    id: 'login-start',
    title: sentence,
    formAction: targetOf(asked),
    ...(fault ? { status: 400 } : {}),
    content: html`
      <h1>${sentence}</h1>
      ${domainOf(asked)}
      <form method="post" action="/login/scan" id="by-scan">
        ${hidden({ ticket, after: '0' })}
        <button>Show a QR code</button>
        <p class="hint">Scan it with your phone, or open the app here. There is nothing to type.</p>
      </form>
      <form method="post" action="/login/address" id="by-number">
        ${hidden({ ticket, after: '0' })}
        <label for="token-id">Your IDToken number</label>
        <p class="hint" id="where">Your phone shows it on the first screen of its IDToken app.</p>
        <input id="token-id" name="tokenId" value="${tokenId}" autocomplete="username" autocapitalize="off"
          spellcheck="false" maxlength="80" required
          aria-describedby="${fault ? 'fault where' : 'where'}" ${fault ? html`aria-invalid="true"` : ''}>
        ${fault ? html`<p id="fault" role="alert">Copy the number from your phone: 32 letters and digits, with or without dashes.</p>` : ''}
        <button class="secondary">Send to my phone</button>
      </form>
      ${cancelForm(ticket)}`,
  }
}

/** What the waiting page shows of an attempt. */
export interface Waiting {
  readonly started: Pick<Started, 'sessionId' | 'attempt' | 'code' | 'expiresAt'>
  readonly qr: MovingQr
  /** The app link. */
  readonly link: string
  /** Opens the socket of the login. */
  readonly socketToken: string
  /** Unix milliseconds. */
  readonly now: number
  /** The person continued before the phone had answered. */
  readonly early: boolean
}

/**
 * The wait for the phone: the QR, the code as soon as it is known, and the button for a browser without script. After a typed
 * number the QR stays at hand beside the code; without one it comes first, and the code when a phone has scanned it.
 */
export function waitPage({ asked, ticket, tokenId }: Carried, waiting: Waiting): Page {
  const { started, qr, link, socketToken, now, early } = waiting
  const { sessionId, attempt, code, expiresAt } = started
  const after = String(attempt)
  const left = Math.max(0, Math.ceil((expiresAt - now) / 1000))
  const scan = scanPart(qr, link, expiresAt)
  const title = code === null ? 'Scan with your phone' : 'Check your phone'
  return {
    id: code === null ? 'login-scan' : 'login-pushing',
    title,
    formAction: targetOf(asked),
    script: SCRIPT + SCAN_SCRIPT,
    content: html`
      <div id="login" data-session="${sessionId}" data-token="${socketToken}" data-left="${left}">
        <h1 id="heading">${title}</h1>
        <div id="waiting">
          <p>Sign in to <strong>${asked.service.name}</strong></p>
          ${domainOf(asked)}
          ${early ? html`<p role="alert" id="login-early">Your phone has not answered yet.</p>` : ''}
          ${code === null ? scan : ''}
          <div id="with-code" ${code === null ? html`hidden` : ''}>
            <p>${
              asked.confirmation === 'transfer'
                ? 'Type this code into your phone:'
                : 'Approve on your phone only if it shows this code:'
            }</p>
            <div id="login-code">${codeFigures(code ?? '')}</div>
            ${
              asked.confirmation === 'transfer'
                ? html`<details id="digits" hidden><summary>Scan it instead of typing</summary>${emptyQr('digits', 'QR code of the six digits')}</details>`
                : ''
            }
          </div>
          <p id="timer" role="timer" aria-live="off">This ${code === null ? 'QR code' : 'code'} is good for <span id="left">${left}</span> seconds.</p>
          ${
            code === null
              ? ''
              : html`<p class="hint" id="no-push">Nothing on your phone? Open its IDToken app.</p>
          <details id="scan-instead"><summary>Scan a QR code instead</summary>${scan}</details>`
          }
          <p id="status" role="status"></p>
          <p id="warning" role="status" class="visually-hidden"></p>
        </div>
      </div>
      <div id="ways">
        <form method="post" action="/login/continue" id="continue">
          ${hidden({ ticket, tokenId })}
          <button>I have approved, continue</button>
        </form>
        <form method="post" action="${againAction(tokenId)}" id="again">
          ${hidden({ ticket, tokenId, after })}
          <button class="secondary">Get a new code</button>
        </form>
        ${otherNumberForm(ticket, code === null ? 'Type my number instead' : undefined)}
        ${cancelForm(ticket)}
      </div>
      <div id="confirm" hidden>${confirmation(asked.service.name, asked.origin, confirmForms(ticket))}</div>`,
  }
}

/**
 * A phone has approved whose person this browser has never seen, and nobody here has named: who looks at it says whether it is he.
 * With a script the waiting page becomes this one by itself.
 */
export function confirmPage({ asked, ticket }: Carried, tokenId: string): Page {
  const question = confirmation(asked.service.name, asked.origin, confirmForms(ticket))
  return { ...asking(tokenId, question), formAction: targetOf(asked) }
}

/** The same in the window that the app opened. */
export function returnConfirmPage(
  { tokenId, service, origin }: CompletionContent,
  fields: { readonly sessionId: string; readonly completion: string },
): Page {
  const answer = (confirmed: 'yes' | 'no') => ({
    action: '/login/return',
    fields: { ...fields, confirmed },
  })
  const question = confirmation(service, origin, { yes: answer('yes'), no: answer('no') })
  return { ...asking(tokenId, question), formAction: 'anywhere' }
}

function asking(tokenId: string, question: Html): Page {
  const title = `You are signing in as ••••${tokenId.slice(-4)}`
  // Not on a button: a key that is pressed as the page comes up is no answer.
  const content = html`<h1 tabindex="-1" autofocus>${title}</h1>${question}`
  return { id: 'login-confirm', title, content }
}

interface ConfirmForm {
  readonly action: string
  readonly fields: Readonly<Record<string, string>>
}

function confirmForms(ticket: string): Readonly<Record<'yes' | 'no', ConfirmForm>> {
  return {
    yes: { action: '/login/continue', fields: { ticket, confirmed: 'yes' } },
    no: { action: '/login/cancel', fields: { ticket } },
  }
}

function confirmation(
  service: string,
  origin: string,
  { yes, no }: Readonly<Record<'yes' | 'no', ConfirmForm>>,
): Html {
  return html`
    <p>A phone has approved the sign-in to <strong>${service}</strong>. Is that your IDToken number?</p>
    <p class="hint">${new URL(origin).host}</p>
    <form method="post" action="${yes.action}">
      ${hidden(yes.fields)}
      <button>Continue</button>
    </form>
    <form method="post" action="${no.action}">
      ${hidden(no.fields)}
      <button class="secondary">Not me</button>
    </form>`
}

/** The app was opened from this browser: it opens the window that goes on. */
export function elsewherePage({ asked, ticket }: Carried): Page {
  return {
    id: 'login-other-window',
    title: 'Go on in the other window',
    formAction: targetOf(asked),
    content: html`
      <h1>Go on in the other window</h1>
      <p>Your app has opened a window of this browser that takes you back to <strong>${asked.service.name}</strong>. You can close this one.</p>
      ${cancelForm(ticket)}`,
  }
}

/**
 * The window that the app opens after its approval: it posts what stands behind the `#` of its address, at once for a person
 * whose mark is among `known`, else when who looks at it says that he is it.
 */
export function returnPage(known: readonly string[]): Page {
  return {
    id: 'login-finish',
    title: 'One moment',
    script: RETURN_SCRIPT,
    // Where it leads is the service's address, an app's perhaps, which only the login knows. Nothing on this page is a caller's.
    formAction: 'anywhere',
    content: html`
      <h1 id="heading" tabindex="-1">One moment</h1>
      <p id="status" role="status">You are being taken back.</p>
      <form method="post" action="/login/return" id="finish" data-known="${known.join('.')}">
        <input type="hidden" name="sessionId"><input type="hidden" name="completion">
        <button name="confirmed" value="yes">Continue</button>
        <button name="confirmed" value="no" class="secondary">Not me</button>
      </form>`,
  }
}

const RETURN_SCRIPT = `
const form = document.getElementById('finish')
const [, sessionId, completion, shown, mark] =
  /^#([^.]*)[.](([^.]*)[.]([^.]*)[.].*)$/.exec(location.hash) ?? ['', '', '', '', '']
history.replaceState(null, '', location.pathname)
form.sessionId.value = sessionId
form.completion.value = completion
if (mark === '' || form.dataset.known.split('.').includes(mark)) {
  form.submit()
} else {
  const heading = document.getElementById('heading')
  document.querySelector('main').id = 'login-confirm'
  document.title = heading.textContent = 'You are signing in as \\u2022\\u2022\\u2022\\u2022' + shown
  document.getElementById('status').textContent = 'Your phone has approved. Is that your IDToken number?'
  heading.focus()
}
`

/**
 * What the address of a QR or of an app link shows where no app has taken it. `app`: where the app of a development world
 * listens; `null` where phones know our addresses themselves.
 */
export function appPage(app: string | null): Page {
  return {
    id: 'login-app',
    title: 'Open this with the IDToken app',
    ...(app === null ? {} : { script: APP_SCRIPT }),
    content: html`
      <h1>Open this with the IDToken app</h1>
      <p>This address is for the IDToken app on a phone. Install it, make your IDToken, then scan the code or press the link again.</p>
      ${app === null ? '' : html`<p><a id="app" href="${app}">Open the app</a></p>`}`,
  }
}

const APP_SCRIPT = `
const link = document.getElementById('app')
link.href += location.hash
`

/** The attempt ran out, or the phone got the code wrong three times; the request goes on. */
export function againPage(
  { asked, ticket, tokenId }: Carried,
  { after, failed }: { readonly after: number; readonly failed: boolean },
): Page {
  const title = failed ? "Your phone couldn't confirm it was you" : 'Time ran out'
  return {
    id: failed ? 'login-failed' : 'login-expired',
    title,
    formAction: targetOf(asked),
    content: html`
      <h1>${title}</h1>
      <p>Nothing is lost: you can still sign in to <strong>${asked.service.name}</strong>.</p>
      <form method="post" action="${againAction(tokenId)}">
        ${hidden({ ticket, tokenId, after: String(after) })}
        <button autofocus>${failed ? 'Try again' : 'Get a new code'}</button>
      </form>
      ${otherNumberForm(ticket)}
      ${cancelForm(ticket)}`,
  }
}

/** The browser posts `fields` to the service: by itself with a script, by a button without. */
export function postPage(
  service: string,
  address: string,
  fields: Readonly<Record<string, string>>,
): Page {
  const target = formTarget(address)
  return {
    id: 'login-return',
    formAction: target === undefined ? [] : [target],
    title: `Back to ${service}`,
    script: "document.getElementById('onward').submit()",
    content: html`
      <h1>Back to ${service}</h1>
      <form method="post" action="${address}" id="onward">
        ${hidden(fields)}
        <button>Continue</button>
      </form>`,
  }
}

/** Ends of a login that lead nowhere else. */
const ENDS = {
  'login-completed': [409, 'This sign-in was already completed.', 'Go back to the service.'],
  'login-over': [
    400,
    'This sign-in has ended.',
    'A sign-in is open for ten minutes. Start again at the service.',
  ],
  'login-browser': [
    403,
    'This sign-in belongs to another browser.',
    'Start again at the service, and allow cookies for this site.',
  ],
  'login-foreign': [
    403,
    'This sign-in was begun in another browser.',
    'Go back to that browser, or start again at the service here.',
  ],
  'login-limited': [429, 'Too many requests', 'Wait a minute, then try again.'],
  'error-client': [400, "This site isn't set up correctly", 'This service is not known here.'],
  'error-request': [400, 'This sign-in request is not valid.', 'Start again at the service.'],
} as const satisfies Readonly<Record<string, readonly [number, string, string]>>

/** The page of an end. It names no address that came with the request (5-security 337). */
export function endPage(id: keyof typeof ENDS): Page {
  const [status, title, sentence] = ENDS[id]
  return { id, status, title, content: html`<h1>${title}</h1><p>${sentence}</p>` }
}

function targetOf({ returnTo }: Asked): readonly string[] {
  const target = returnTo === null ? undefined : formTarget(returnTo)
  return target === undefined ? [] : [target]
}

function domainOf({ origin }: Asked): Html {
  return html`<p class="hint">${new URL(origin).host}</p>`
}

/** Who typed no number the last time gets a QR code again, also when a phone has scanned it and the code is known. */
function againAction(tokenId: string): string {
  return tokenId === '' ? '/login/scan' : '/login/address'
}

/** Leads to the first page again: a mistyped number must not cost the person the login. */
function otherNumberForm(ticket: string, words = 'Use another number'): Html {
  return html`
    <form method="post" action="/login/address" id="other-number">
      ${hidden({ ticket, tokenId: '' })}
      <button class="secondary">${words}</button>
    </form>`
}

function cancelForm(ticket: string): Html {
  return html`
    <form method="post" action="/login/cancel" id="cancel">
      ${hidden({ ticket })}
      <button class="secondary">Cancel</button>
    </form>`
}

function hidden(fields: Readonly<Record<string, string>>) {
  return Object.entries(fields).map(
    ([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`,
  )
}
