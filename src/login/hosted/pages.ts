/**
 * The pages of a hosted login. Each has one sentence and one element id, which are interface (4-oidc section 4,
 * 6-operations section 2). Everything works by form; the script only shortens the way.
 */
import { html } from 'hono/html'
import { codeFigures, formTarget, type Html, type Page } from '../../http/page.ts'
import type { Asked } from '../door.ts'
import type { Started } from '../session.ts'
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
      <form method="post" action="/login/address">
        ${hidden({ ticket, after: '0' })}
        <label for="token-id">Your IDToken number</label>
        <p class="hint" id="where">Your phone shows it on the first screen of its IDToken app.</p>
        <input id="token-id" name="tokenId" value="${tokenId}" autocomplete="username" autocapitalize="off"
          spellcheck="false" maxlength="80" required
          aria-describedby="${fault ? 'fault where' : 'where'}" ${fault ? html`aria-invalid="true"` : ''}>
        ${fault ? html`<p id="fault" role="alert">Copy the number from your phone: 32 letters and digits, with or without dashes.</p>` : ''}
        <button>Send to my phone</button>
      </form>
      ${cancelForm(ticket)}`,
  }
}

/**
 * The wait for the phone: the code, and the button for a browser without script. `socketToken` opens the socket of the
 * login; `now` in Unix milliseconds. `early`: the person continued before the phone had answered.
 */
export function waitPage(
  { asked, ticket, tokenId }: Carried,
  started: Pick<Started, 'sessionId' | 'attempt' | 'code' | 'expiresAt'>,
  socketToken: string,
  now: number,
  early = false,
): Page {
  const { sessionId, attempt, code, expiresAt } = started
  const after = String(attempt)
  const left = Math.max(0, Math.ceil((expiresAt - now) / 1000))
  const transfer = asked.confirmation === 'transfer'
  return {
    id: 'login-pushing',
    title: 'Check your phone',
    formAction: targetOf(asked),
    script: SCRIPT,
    content: html`
      <div id="login" data-session="${sessionId}" data-token="${socketToken}" data-left="${left}">
        <h1 id="heading">Check your phone</h1>
        <p>Sign in to <strong>${asked.service.name}</strong></p>
        ${domainOf(asked)}
        ${early ? html`<p role="alert" id="login-early">Your phone has not answered yet.</p>` : ''}
        <p>${
          transfer
            ? 'Type this code into your phone:'
            : 'Approve on your phone only if it shows this code:'
        }</p>
        <div id="login-code">${codeFigures(code)}</div>
        <p id="timer" role="timer" aria-live="off">This code is good for <span id="left">${left}</span> seconds.</p>
        <p class="hint" id="no-push">Nothing on your phone? Open its IDToken app.</p>
        <p id="status" role="status"></p>
        <p id="warning" role="status" class="visually-hidden"></p>
      </div>
      <form method="post" action="/login/continue" id="continue">
        ${hidden({ ticket, tokenId })}
        <button>I have approved, continue</button>
      </form>
      <form method="post" action="/login/address" id="again">
        ${hidden({ ticket, tokenId, after })}
        <button class="secondary">Get a new code</button>
      </form>
      ${otherNumberForm(ticket)}
      ${cancelForm(ticket)}`,
  }
}

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
      <form method="post" action="/login/address">
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

/** Leads to the first page again: a mistyped number must not cost the person the login. */
function otherNumberForm(ticket: string): Html {
  return html`
    <form method="post" action="/login/address" id="other-number">
      ${hidden({ ticket, tokenId: '' })}
      <button class="secondary">Use another number</button>
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
