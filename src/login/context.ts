import type { BrowserContext } from './door.ts'

/** Browser families in the order in which they are looked for: several call themselves by another's name as well. */
const BROWSERS: readonly (readonly [name: string, mark: RegExp])[] = [
  ['Edge', /\bEdg(?:e|A|iOS)?\//],
  ['Opera', /\bOPR\//],
  ['Samsung Internet', /\bSamsungBrowser\//],
  ['Firefox', /\b(?:Firefox|FxiOS)\//],
  ['Chrome', /\b(?:Chrome|CriOS)\//],
  ['Safari', /\bVersion\/[\d.]+ .*Safari\//],
]

const SYSTEMS: readonly (readonly [name: string, mark: RegExp])[] = [
  ['Android', /\bAndroid\b/],
  ['iPhone', /\biPhone\b/],
  ['iPad', /\biPad\b/],
  ['Windows', /\bWindows NT\b/],
  ['macOS', /\bMac OS X\b/],
  ['ChromeOS', /\bCrOS\b/],
  ['Linux', /\bLinux\b/],
]

/**
 * What the phone may be told of the browser that began: a family and system of these lists and a country of two letters.
 * A header that fits none of them says nothing (5-security 190).
 */
export function readContext(userAgent: string | null, country: unknown): BrowserContext {
  const agent = (userAgent ?? '').slice(0, 512)
  const browser = BROWSERS.find(([, mark]) => mark.test(agent))?.[0]
  const system = SYSTEMS.find(([, mark]) => mark.test(agent))?.[0]
  return {
    browser: browser && system ? `${browser} on ${system}` : null,
    country: typeof country === 'string' && /^[A-Z]{2}$/.test(country) ? country : null,
  }
}
