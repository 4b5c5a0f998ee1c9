import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readContext } from '../../../src/login/context.ts'

const CHROME = '(KHTML, like Gecko) Chrome/141.0.0.0'
const SAFARI = 'AppleWebKit/605.1.15 (KHTML, like Gecko)'
const agents: [expected: string | null, agent: string][] = [
  [
    'Firefox on Windows',
    'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0',
  ],
  ['Firefox on Linux', 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'],
  ['Chrome on Windows', `Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 ${CHROME} Safari/537.36`],
  [
    'Edge on Windows',
    `Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 ${CHROME} Safari/537.36 Edg/141.0.0.0`,
  ],
  [
    'Opera on macOS',
    `Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) ${CHROME} Safari/537.36 OPR/120.0`,
  ],
  [
    'Safari on iPhone',
    `Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) ${SAFARI} Version/18.0 Mobile/15E148 Safari/604.1`,
  ],
  [
    'Firefox on iPhone',
    `Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) ${SAFARI} FxiOS/140.0 Mobile/15E148 Safari/605.1.15`,
  ],
  [
    'Samsung Internet on Android',
    `Mozilla/5.0 (Linux; Android 14; SM-S918B) SamsungBrowser/25.0 ${CHROME} Mobile Safari/537.36`,
  ],
  ['Chrome on Android', `Mozilla/5.0 (Linux; Android 14; Pixel 8) ${CHROME} Mobile Safari/537.36`],
  ['Chrome on ChromeOS', `Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) ${CHROME} Safari/537.36`],
  [null, 'curl/8.5.0'],
  [null, ''],
  [null, '<script>alert(1)</script>'],
  [null, 'Firefox on Windows'],
  ['Firefox on Windows', 'Windows NT 10.0 Firefox/1.0 <img src=x onerror=alert(1)>\r\nX-Evil: 1'],
  [null, `${'A'.repeat(8192)} Windows NT 10.0 Firefox/140.0`],
]

describe('what the phone is told of the browser', () => {
  test.each(agents)('190 context: %s', (expected, agent) => {
    expect(readContext(agent, undefined)).toEqual({ browser: expected, country: null })
  })

  test('190 context: a country is two capital letters or nothing', () => {
    for (const country of ['DE', 'FR', 'TR']) {
      expect(readContext(null, country).country).toBe(country)
    }
    for (const country of ['de', 'DEU', 'D', '', 'T1', 'D\n', '<b', 49, null, undefined, {}]) {
      expect(readContext(null, country).country).toBeNull()
    }
  })

  test('190 context: no word of a header ever comes through', () => {
    const said = fc.string({ maxLength: 600 })
    const mixed = fc
      .array(fc.oneof(said, fc.constantFrom(...agents.map(([, agent]) => agent))), { maxLength: 3 })
      .map((parts) => parts.join(''))
    fc.assert(
      fc.property(mixed, said, (agent, country) => {
        const { browser, country: shown } = readContext(agent, country)
        expect(browser ?? 'Edge on Linux').toMatch(
          /^(Edge|Opera|Samsung Internet|Firefox|Chrome|Safari) on (Android|iPhone|iPad|Windows|macOS|ChromeOS|Linux)$/,
        )
        expect(shown ?? 'DE').toMatch(/^[A-Z]{2}$/)
      }),
      { numRuns: 200 },
    )
  })
})
