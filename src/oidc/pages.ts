/** The pages that this door shows itself. Sentences and ids are interface (4-oidc section 4). */
import { html } from 'hono/html'
import { formTarget, type Page } from '../http/page.ts'
import { PATHS } from './paths.ts'

const ERRORS = {
  'error-client': 'This service is not known here.',
  'error-redirect-uri': 'The address to return to is not registered for this service.',
  'error-request': 'This sign-in request is not valid.',
  'error-request-uri': 'This sign-in request has expired or was already used.',
  'error-logout': 'We could not return you to the service.',
} as const

/** Of those that are nobody's fault at the service. */
const TITLES: Partial<Readonly<Record<ErrorPage, string>>> = {
  'error-request-uri': 'Please start again',
  'error-logout': 'Sign out',
}

/** The page of an error that must not travel to the service. Nothing of the request is in it (5-security 337). */
export type ErrorPage = keyof typeof ERRORS

export function errorPage(id: ErrorPage): Page {
  const title = TITLES[id] ?? "This site isn't set up correctly"
  const content = html`<h1>${title}</h1>
      <p>${ERRORS[id]}</p>`
  return { id, status: 400, title, content }
}

/** Asks before anything ends. `confirmation` is what the form brings back; `service` the only name that is told. */
export function logoutConfirmPage(
  confirmation: string,
  service: string | undefined,
  returnTo: string | undefined,
): Page {
  const target = returnTo === undefined ? undefined : formTarget(returnTo)
  return {
    id: 'logout-confirm',
    title: 'Do you want to sign out?',
    formAction: target === undefined ? [] : [target],
    content: html`
      <h1>Do you want to sign out?</h1>
      ${service === undefined ? '' : html`<p>You came from <strong>${service}</strong>.</p>`}
      <form method="post" action="${PATHS.endSession}">
        <input type="hidden" name="confirmation" value="${confirmation}">
        <button>Sign out</button>
      </form>`,
  }
}

/** The end. No script leads on from here. */
export function logoutDonePage(): Page {
  const title = 'You are signed out.'
  return { id: 'logout-done', title, content: html`<h1>${title}</h1>` }
}
