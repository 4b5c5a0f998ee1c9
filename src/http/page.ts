/**
 * The one layout of our hosted pages: a whole document with its style inside, a content security policy with a nonce, and
 * nothing loaded from anywhere (5-security 333, 341). What a page says is the business of the room that shows it.
 */
import { html, raw } from 'hono/html'

/** Markup in which every text has been escaped: what the `html` template of `hono/html` makes. */
export type Html = ReturnType<typeof html>

export interface Page {
  /** HTTP status, 200 unless said. */
  readonly status?: number
  /** Id of the `main` element. Tests and relying parties' scripts look for it (4-oidc section 4). */
  readonly id: string
  readonly title: string
  /** What stands inside `main`, beginning with an `h1`. Style attributes and inline handlers do nothing under the policy. */
  readonly content: Html
  /** Source of the page's one inline module; our own text, never a caller's. */
  readonly script?: string
  /** Where forms of this page may end up besides here, after redirects too: what `formTarget` gives. */
  readonly formAction?: readonly string[] | 'anywhere'
  /** Further headers, such as several `Set-Cookie`. They can't replace the ones that make a page a page. */
  readonly headers?: readonly (readonly [name: string, value: string])[]
}

export interface PageOptions {
  /** The issuer, whose sockets the page's script may open. */
  readonly issuer?: string
}

/**
 * The answer that shows `page`. `nonce` is base64 or base64url text of at least 128 random bits, new for each answer. Entries
 * of `formAction` that aren't an origin or a scheme are left out, so the policy is never wider than asked.
 */
export async function htmlPage(
  page: Page,
  nonce: string,
  options: PageOptions = {},
): Promise<Response> {
  if (!/^[A-Za-z0-9+/_-]{22,}={0,2}$/.test(nonce)) throw new TypeError('not a nonce')
  const document = await html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${page.title}</title>
<style nonce="${nonce}">${raw(STYLE)}</style>
</head>
<body>
<main id="${page.id}">
${page.content}
</main>
${page.script === undefined ? '' : inlineModule(page.script, nonce)}
</body>
</html>
`
  const headers = new Headers()
  for (const [name, value] of page.headers ?? []) headers.append(name, value)
  headers.set('Content-Type', 'text/html; charset=utf-8')
  headers.set('Cache-Control', 'no-store')
  headers.set('Content-Security-Policy', policy(page, nonce, options.issuer))
  return new Response(document.toString(), { status: page.status ?? 200, headers })
}

/**
 * The login code (six digits) as large figures in two groups, and once more for screen readers, who get digits and not
 * a number of six figures.
 */
export function codeFigures(code: string): Html {
  const [left, right] = [code.slice(0, 3), code.slice(3)]
  return html`<p class="code" aria-hidden="true"><span>${left}</span><span>${right}</span></p>
<p class="visually-hidden">${[...left].join(' ')}, ${[...right].join(' ')}</p>`
}

/**
 * What `form-action` must name so that a form of ours may end in a redirect to `address` (Chromium follows redirects with
 * that policy): the origin of a web address, the scheme of any other. A policy can't name an IPv6 host (CSP level 3 section
 * 2.3.1), so a native client at `http://[::1]` gets `http:`. `undefined` when `address` is no address to return to.
 */
export function formTarget(address: string): string | undefined {
  const url = URL.parse(address)
  if (url === null) return undefined
  const isWeb = url.protocol === 'https:' || url.protocol === 'http:'
  const target = isWeb && !url.hostname.startsWith('[') ? url.origin : url.protocol
  return isFormTarget(target) ? target : undefined
}

function policy(page: Page, nonce: string, issuer: string | undefined): string {
  const socket = issuer === undefined ? '' : ` ${new URL(issuer).origin.replace(/^http/, 'ws')}`
  return [
    "default-src 'none'",
    `style-src 'nonce-${nonce}'`,
    // Safari before 15.4 doesn't count sockets of the same host as 'self'.
    ...(page.script === undefined
      ? []
      : [`script-src 'nonce-${nonce}'`, `connect-src 'self'${socket}`]),
    ...(page.formAction === 'anywhere'
      ? []
      : [["form-action 'self'", ...(page.formAction ?? []).filter(isFormTarget)].join(' ')]),
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}

/** An origin as browsers write it, or a scheme that names no document, script or file. Nothing in it can end a directive. */
function isFormTarget(target: string): boolean {
  const origin = /^https?:\/\/[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?(?::\d{1,5})?$/
  const scheme =
    /^(?!(?:about|blob|data|file|filesystem|javascript|vbscript|wss?):)[a-z][a-z0-9+.-]*:$/
  return origin.test(target) || scheme.test(target)
}

/** `</script` would end the element and `<!--` begin a comment in it; in a string, template or pattern `\x3c` means the same. */
function inlineModule(source: string, nonce: string): Html {
  const safe = source.replace(/<(?=\/script|!--)/gi, '\\x3c')
  return html`<script type="module" nonce="${nonce}">${raw(safe)}</script>`
}

/**
 * System font, light and dark, one column that fits 320 px. Text has a contrast of 7:1 at least; borders that are
 * transparent become visible where the system forces its own colours. Nothing moves.
 */
const STYLE = `
:root{color-scheme:light dark;--ground:#f2f4f7;--paper:#ffffff;--ink:#1a1e24;--faint:#434a54;--line:#6b727c;--deed:#0b4aa8;--on-deed:#ffffff;--alarm:#8f1616}
@media (prefers-color-scheme:dark){:root{--ground:#101216;--paper:#1b1e24;--ink:#eef1f5;--faint:#c0c7d1;--line:#8d95a1;--deed:#a9c8ff;--on-deed:#06224d;--alarm:#ffb4ab}}
*{box-sizing:border-box}
[hidden]{display:none!important}
html{font:100%/1.5 system-ui,sans-serif;-webkit-text-size-adjust:100%}
body{margin:0;min-height:100vh;padding:1rem;display:grid;grid-template-columns:minmax(0,27rem);place-content:center;background:var(--ground);color:var(--ink)}
main{padding:clamp(1rem,6vw,2.5rem);background:var(--paper);border:1px solid transparent;border-radius:1rem;overflow-wrap:anywhere}
h1{margin:0 0 1rem;font-size:1.5rem;line-height:1.25}
h2{margin:2rem 0 .5rem;font-size:1.125rem}
p,ul,form,details{margin:0 0 1rem}
form+form{margin-top:-.75rem}
form:last-child,form:last-child button:last-child{margin-bottom:0}
small,.hint{font-size:.9375rem;color:var(--faint)}
a{display:inline-block;min-height:44px;padding:.625rem 0;color:var(--deed)}
:focus-visible{outline:3px solid var(--deed);outline-offset:3px}
label,summary{display:block;font-weight:600}
summary{padding:.625rem 0;min-height:44px;cursor:pointer;display:list-item;color:var(--deed)}
input,button,.button{width:100%;min-height:44px;padding:.625rem 1rem;font:inherit;border:1px solid transparent;border-radius:.5rem}
input{margin:.25rem 0 1rem;border-color:var(--line);background:var(--paper);color:var(--ink)}
input[aria-invalid=true]{border:2px solid var(--alarm)}
button,.button{display:block;margin:0 0 .5rem;background:var(--deed);color:var(--on-deed);font-weight:600;text-align:center;text-decoration:none;cursor:pointer}
.secondary{background:none;color:var(--deed);text-decoration:underline;font-weight:400}
button:hover,.button:hover{text-decoration:underline}
button:disabled{opacity:.6;cursor:default}
.code{margin:1.5rem 0;font-size:clamp(2.5rem,14vw,4rem);line-height:1.1;font-weight:700;font-variant-numeric:tabular-nums lining-nums;letter-spacing:.06em;text-align:center;direction:ltr;-webkit-user-select:all;user-select:all}
.code span{display:inline-block;margin:0 .15em}
[role=alert]{margin:0 0 1rem;padding:.75rem 1rem;border:1px solid var(--alarm);border-inline-start-width:.375rem;border-radius:.5rem;color:var(--alarm);font-weight:600}
[role=alert]:empty{display:none}
.visually-hidden{position:absolute;width:1px;height:1px;margin:-1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
`
