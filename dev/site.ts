/** The files of a development page. Scripts are TypeScript: their types are stripped as they are served. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import * as nodeModule from 'node:module'

/** Packages that pages import, and where their modules lie. */
const VENDORS: Readonly<Record<string, URL>> = {
  jose: new URL('../node_modules/jose/dist/webapi/', import.meta.url),
  qr: new URL('../node_modules/qr/', import.meta.url),
  'tiny-cbor': new URL('../node_modules/@levischuck/tiny-cbor/esm/', import.meta.url),
}
const IMPORT_MAP = JSON.stringify({
  imports: {
    jose: '/vendor/jose/index.js',
    qr: '/vendor/qr/index.js',
    'qr/decode.js': '/vendor/qr/decode.js',
    '@levischuck/tiny-cbor': '/vendor/tiny-cbor/index.js',
  },
})

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

/** The file of `site` at `pathname`, or `undefined`. The word `<!--imports-->` in a page becomes the import map. */
export async function answerFile(site: Site, pathname: string): Promise<Response | undefined> {
  const name = pathname === '/' ? 'index.html' : pathname.slice(1)
  const file = vendoredFile(name) ?? (site.files.includes(name) && new URL(name, site.folder))
  if (file === false) return undefined
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

function vendoredFile(name: string): URL | undefined {
  const pattern = /^vendor\/([a-z-]+)\/((?:[a-z0-9_]+\/)*[a-z0-9_]+\.js)$/
  const [, vendor = '', module = ''] = pattern.exec(name) ?? []
  const folder = Object.hasOwn(VENDORS, vendor) ? VENDORS[vendor] : undefined
  return folder && new URL(module, folder)
}

function prepare(text: string, extension: string): string {
  if (extension === 'ts') return stripTypes(text)
  if (extension === 'html') {
    return text.replace('<!--imports-->', `<script type="importmap">${IMPORT_MAP}</script>`)
  }
  return text
}

function contentSecurityPolicy({ connect = [] }: Site): string {
  const importMap = createHash('sha256').update(IMPORT_MAP).digest('base64')
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
