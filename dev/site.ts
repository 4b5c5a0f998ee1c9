/** The files of a development page. Scripts are TypeScript: their types are stripped as they are served. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import * as nodeModule from 'node:module'

const JOSE = new URL('../node_modules/jose/dist/webapi/', import.meta.url)
const JOSE_IMPORTS = '{"imports":{"jose":"/vendor/jose/index.js"}}'

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
  ts: 'text/javascript; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
}

export type Site = {
  readonly folder: URL
  /** Paths that exist, without the slash before them; `''` is `index.html`. */
  readonly files: readonly string[]
  /** What the pages may connect to besides their own origin. */
  readonly connect?: readonly string[]
}

/** The two names of this machine. */
export type LoopbackName = 'localhost' | '127.0.0.1'

/**
 * Sends a page that was opened by the other name of this machine to `hostname`: to a browser the two are different sites, and only one of
 * them is registered and holds what the page has stored.
 */
export function toOneAddress(request: Request, hostname: LoopbackName): Response | undefined {
  const url = new URL(request.url)
  const other: LoopbackName = hostname === 'localhost' ? '127.0.0.1' : 'localhost'
  if (url.hostname !== other || url.pathname !== '/') return undefined
  url.hostname = hostname
  return new Response(null, { status: 302, headers: { location: url.href } })
}

/** The file of `site` at `pathname`, or `undefined`. The word `<!--imports-->` in a page becomes the import map of jose. */
export async function answerFile(site: Site, pathname: string): Promise<Response | undefined> {
  const name = pathname === '/' ? 'index.html' : pathname.slice(1)
  const vendored = /^vendor\/jose\/((?:[a-z0-9_]+\/)*[a-z0-9_]+\.js)$/.exec(name)?.[1]
  if (vendored === undefined && !site.files.includes(name)) return undefined
  const file = vendored === undefined ? new URL(name, site.folder) : new URL(vendored, JOSE)
  const text = await readFile(file, 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const extension = name.slice(name.lastIndexOf('.') + 1)
  return new Response(prepare(text, extension), {
    headers: {
      'content-type': TYPES[extension] ?? 'application/octet-stream',
      'cache-control': 'no-cache',
      'content-security-policy': contentSecurityPolicy(site),
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
    },
  })
}

function prepare(text: string, extension: string): string {
  if (extension === 'ts') return stripTypes(text)
  if (extension === 'html') {
    return text.replace('<!--imports-->', `<script type="importmap">${JOSE_IMPORTS}</script>`)
  }
  return text
}

function contentSecurityPolicy({ connect = [] }: Site): string {
  const importMap = createHash('sha256').update(JOSE_IMPORTS).digest('base64')
  return [
    "default-src 'none'",
    `script-src 'self' 'sha256-${importMap}'`,
    "style-src 'self'",
    "img-src 'self' data:",
    `connect-src ${["'self'", ...connect].join(' ')}`,
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ].join('; ')
}

/** Node says on each first use that the function is experimental; that is no news for whoever runs the page. */
function stripTypes(source: string): string {
  const { emitWarning } = process
  process.emitWarning = () => {}
  try {
    return nodeModule.stripTypeScriptTypes(source)
  } finally {
    process.emitWarning = emitWarning
  }
}
