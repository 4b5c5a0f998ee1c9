import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isVerifierOf, keepsPromise } from '../../../src/oidc/pkce.ts'

/** RFC 7636 appendix B. */
const VERIFIER = 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk'
const CHALLENGE = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'

function challengeOf(verifier: string): string {
  return createHash('sha256').update(verifier).digest('base64url')
}

describe('PKCE', () => {
  test('the example of RFC 7636 appendix B', async () => {
    expect(await isVerifierOf(VERIFIER, CHALLENGE)).toBe(true)
  })

  test('53 another verifier is refused, and the right one is still good afterwards', async () => {
    expect(await isVerifierOf(VERIFIER.replace('d', 'e'), CHALLENGE)).toBe(false)
    expect(await isVerifierOf(VERIFIER.toUpperCase(), CHALLENGE)).toBe(false)
    // `plain` is not offered: the challenge is not its own verifier.
    expect(await isVerifierOf(CHALLENGE, CHALLENGE)).toBe(false)
    expect(await isVerifierOf(VERIFIER, CHALLENGE)).toBe(true)
  })

  test.each([
    ['42 characters', 'a'.repeat(42)],
    ['129 characters', 'a'.repeat(129)],
    ['an illegal character', `${'a'.repeat(42)}+`],
    ['padding', `${'a'.repeat(43)}=`],
    ['a blank', `${'a'.repeat(43)} `],
    ['a newline at the end', `${'a'.repeat(43)}\n`],
    ['a letter beyond ASCII', `${'a'.repeat(43)}é`],
    ['nothing', ''],
  ])(
    '55 a verifier with %s is refused even when the challenge is its hash',
    async (_name, text) => {
      expect(await isVerifierOf(text, challengeOf(text))).toBe(false)
    },
  )

  test('55 every verifier of 43 to 128 unreserved characters works', async () => {
    const unreserved = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~'
    const verifier = fc.string({
      unit: fc.constantFrom(...unreserved),
      minLength: 43,
      maxLength: 128,
    })
    await fc.assert(
      fc.asyncProperty(verifier, async (text) => {
        expect(await isVerifierOf(text, challengeOf(text))).toBe(true)
      }),
    )
  })

  test('52 a missing verifier is no pass', async () => {
    expect(await keepsPromise(CHALLENGE, undefined)).toBe(false)
    expect(await keepsPromise(CHALLENGE, '')).toBe(false)
    expect(await keepsPromise(CHALLENGE, VERIFIER)).toBe(true)
  })

  test('52 a verifier for a code that was asked without challenge is refused (RFC 9700 2.1.1)', async () => {
    expect(await keepsPromise(null, undefined)).toBe(true)
    expect(await keepsPromise(null, VERIFIER)).toBe(false)
    expect(await keepsPromise(null, '')).toBe(false)
  })
})
