/** The moving QR of a login on our own pages: its markup, and the script that draws it and draws it anew. */
import { html } from 'hono/html'
import type { Html } from '../../http/page.ts'
import type { MovingQr } from '../scan-proof.ts'

/**
 * What `SCAN_SCRIPT` works on. Without script there is the link alone, which stands beside the QR also with it: whoever
 * pauses the QR goes on by the link (WCAG 2.2, criterion 2.2.2). `link` is what `linkOf` gives, `until` the attempt's
 * deadline in Unix milliseconds. Whoever hides `#scan`, because a phone has claimed the login, ends the script as well.
 */
export function scanPart(qr: MovingQr, link: string, until: number): Html {
  return html`
    <div id="scan" data-qr-url="${qr.url}" data-qr-key="${qr.key}" data-qr-now="${qr.now}" data-qr-until="${until}">
      <div id="qr" hidden>
        <div id="qr-moving">
          <p>Scan this with the IDToken app on your phone:</p>
          ${emptyQr('qr', 'QR code for the IDToken app on your phone')}
        </div>
        <button type="button" class="secondary" id="qr-pause">Pause the QR code</button>
      </div>
      <p><a id="qr-link" href="${link}">On this phone? Open the app</a></p>
    </div>`
}

/** A QR that a script is yet to draw, into the path `{id}-path` of the picture `{id}-code`. */
export function emptyQr(id: string, title: string): Html {
  return html`<svg id="${id}-code" width="240" height="240" role="img" shape-rendering="crispEdges">
            <title>${title}</title>
            <rect width="100%" height="100%" fill="#fff"/>
            <path id="${id}-path" fill="#000"/>
          </svg>`
}

/**
 * Draws the QR every two seconds (2-protocol section 4). Text for a module script, alone or behind the page's own; it
 * leaves no names behind. The module of `qr-library.ts` is loaded by `import()`, so that a page that can't get it still
 * has everything but the QR. The pattern changes at once, by one attribute: nothing fades or slides.
 */
export const SCAN_SCRIPT = `
import('/login/qr.js').then(async ({ qrPath }) => {
  const part = (id) => document.getElementById(id)
  const scan = part('scan')
  const { qrUrl, qrKey, qrNow, qrUntil } = scan.dataset
  // The server read its clock right before the first byte of this page came. The clock of this machine may be wrong.
  const [page] = performance.getEntriesByType('navigation')
  const began = Number(qrNow) - (page?.responseStart || performance.now())
  const clock = () => began + performance.now()
  const raw = Uint8Array.from(
    atob(qrKey.replaceAll('-', '+').replaceAll('_', '/')),
    (letter) => letter.charCodeAt(0),
  )
  const hmac = { name: 'HMAC', hash: 'SHA-256' }
  const key = await crypto.subtle.importKey('raw', raw, hmac, false, ['sign'])
  const proofOf = async (step) => {
    const mac = await crypto.subtle.sign('HMAC', key, new TextEncoder().encode(String(step)))
    const half = btoa(String.fromCharCode(...new Uint8Array(mac, 0, 16)))
    return half.slice(0, 22).replaceAll('+', '-').replaceAll('/', '_')
  }
  let paused = false
  let turn = 0
  let timer
  const draw = async () => {
    clearTimeout(timer)
    const mine = ++turn
    const now = clock()
    if (now >= Number(qrUntil)) scan.hidden = true
    if (scan.hidden) return
    if (!paused) {
      const { size, path } = qrPath(qrUrl + (await proofOf(Math.floor(now / 2000))))
      // Somebody has pressed the button in the meantime, and another turn has begun.
      if (mine !== turn) return
      part('qr-code').setAttribute('viewBox', '0 0 ' + size + ' ' + size)
      part('qr-path').setAttribute('d', path)
    }
    part('qr-moving').hidden = paused
    part('qr').hidden = false
    timer = setTimeout(draw, Math.min(2000 - (clock() % 2000), Math.max(0, Number(qrUntil) - clock())))
  }
  part('qr-pause').onclick = () => {
    paused = !paused
    part('qr-pause').textContent = paused ? 'Show the QR code again' : 'Pause the QR code'
    draw()
  }
  draw()
})
`
