/** "Register with IDToken" (seed 002, step 2): the page shows who the bar is, and waits until a phone's owner trusts it. */
import { announce, find, html, send, show } from './dom.ts'
import { type Begun, followLogin, type LoginNews } from './login.ts'
import { drawCode, makePicture } from './qr-picture.ts'
import { wordsOfEnd } from './words.ts'

type Registration = Begun & { readonly qr: { readonly url: string } }

const WAITING = 'Waiting until you trust this service on your IDToken app.'

/** Shows the registration until it has ended, and its end; `leave` is where the person goes on from there. */
export async function register(provider: string, leave: () => void): Promise<void> {
  const { ok, body } = await send('/register/start', {})
  if (!ok) return ended(String((body as { code?: string }).code ?? 'unreachable'), provider, leave)
  const registration = body as Registration
  const view = html(`
    <div class="wait">
      <p class="aside">Bar le Central</p>
      <h1 tabindex="-1">Register with IDToken</h1>
      <p>Scan this code with your IDToken app. It says who we are, signed by the identity provider.</p>
      <div data-part="qr"></div>
      <p><a target="_blank" rel="noopener">On this phone? Open the app</a></p>
      <p class="aside" data-part="state"></p>
      <button data-part="cancel">Cancel</button>
    </div>`)
  const part = (name: string) => find(view, HTMLElement, `[data-part="${name}"]`)
  const picture = makePicture('Service VDS of Bar le Central as a QR code')
  drawCode(picture, registration.qr.url)
  part('qr').append(picture)
  find(view, HTMLAnchorElement, 'a').href = linkOf(registration.qr.url)
  const hear = (news: LoginNews) => {
    if (news.kind === 'trusted') complete(leave)
    else if (news.kind === 'end') ended(news.reason, provider, leave)
    else part('state').textContent = news.kind === 'offline' ? 'Reconnecting…' : WAITING
  }
  const stop = followLogin(provider, registration, hear)
  part('cancel').addEventListener('click', () => {
    stop()
    leave()
  })
  show('registering', view)
}

/** The text of a QR as an address: a Service VDS holds blanks and percent signs, which mean something else there. */
function linkOf(text: string): string {
  const fragment = text.indexOf('#') + 1
  return text.slice(0, fragment) + encodeURIComponent(text.slice(fragment))
}

function complete(leave: () => void): void {
  const view = html(`
    <div class="ended">
      <h1 tabindex="-1">Registration complete</h1>
      <p>You can now log in with IDToken.</p>
      <button class="primary">Go to the door</button>
    </div>`)
  find(view, HTMLElement, 'button').addEventListener('click', leave)
  show('registered', view)
  announce('Registration complete. You can now log in with IDToken.')
}

function ended(reason: string, provider: string, leave: () => void): void {
  const [title, text] = wordsOfEnd(reason)
  const view = html(`
    <div class="ended">
      <h1 tabindex="-1"></h1>
      <p></p>
      <button class="primary" data-part="again">Try again</button>
      <button data-part="back">Back</button>
    </div>`)
  find(view, HTMLElement, 'h1').textContent = title
  find(view, HTMLElement, 'p').textContent = text
  find(view, HTMLElement, '[data-part="again"]').addEventListener(
    'click',
    () => void register(provider, leave),
  )
  find(view, HTMLElement, '[data-part="back"]').addEventListener('click', leave)
  view.dataset.reason = reason
  show('ended', view)
  announce(`${title}. ${text}`)
}
