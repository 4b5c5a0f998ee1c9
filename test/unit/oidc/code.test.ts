import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { toBase64url } from '../../../src/bytes.ts'
import { sealBox } from '../../../src/keys/sealed-box.ts'
import { sealAccessToken } from '../../../src/oidc/access-token.ts'
import { type CodeContent, isAlive, makeCode, readCode } from '../../../src/oidc/code.ts'
import { secretOf } from '../keys/secrets.ts'

const master = secretOf([1, 1])
const random28 = new Uint8Array(28).map((_, i) => i)
const sessionId = `sess_${'0123456789abcdef'.repeat(4)}`
const content: CodeContent = {
  tokenId: '11111111-2222-4333-8444-555555555555',
  enrollmentId: 'enr_1',
  grantId: 'AAAAAAAAAAAAAAAAAAAAAA',
  clientId: 'bar-le-central',
  trustLevel: 2,
  redirectUri: 'https://bar-le-central.fr/callback?a=b',
  codeChallenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
  dpopJkt: '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I',
  resource: 'https://api.example/',
  issuedAt: 1_705_312_800,
}

describe('the authorization code', () => {
  test('gives back what it was made with', async () => {
    const code = await makeCode(master, sessionId, content, random28)
    expect(await readCode(master, code)).toEqual({ sessionId, ...content })
    const bare = { ...content, codeChallenge: null, dpopJkt: null, resource: null }
    const without = await makeCode(master, sessionId, bare, random28)
    expect(await readCode(master, without)).toEqual({ sessionId, ...bare })
  })

  test('any login id and content go through', async () => {
    const hex = fc.uint8Array({ minLength: 32, maxLength: 32 })
    await fc.assert(
      fc.asyncProperty(hex, fc.string({ minLength: 1 }), async (bytes, redirectUri) => {
        const id = `sess_${Buffer.from(bytes).toString('hex')}`
        const code = await makeCode(master, id, { ...content, redirectUri }, random28)
        expect(await readCode(master, code)).toEqual({ sessionId: id, ...content, redirectUri })
      }),
    )
  })

  test('347 shows nothing of its content, and the same content twice makes two codes', async () => {
    const code = await makeCode(master, sessionId, content, random28)
    const inside = Buffer.from(code.split('.')[2] ?? '', 'base64url').toString('latin1')
    expect(inside).not.toContain('bar-le-central')
    const secretOnly = await makeCode(master, sessionId, content, random28.with(27, 99))
    const nonceOnly = await makeCode(master, sessionId, content, random28.with(0, 99))
    expect(new Set([code, secretOnly, nonceOnly]).size).toBe(3)
    // The secret is inside, and not only the nonce outside.
    expect(secretOnly.slice(0, 60)).toBe(code.slice(0, 60))
  })

  test('69 code: truncated anywhere, extended or with one letter in the other case is none', async () => {
    const code = await makeCode(master, sessionId, content, random28)
    for (let at = 0; at < code.length; at++) {
      expect(await readCode(master, code.slice(0, at))).toBeUndefined()
      const letter = code[at] ?? ''
      const other = letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase()
      if (other === letter) continue
      const changed = code.slice(0, at) + other + code.slice(at + 1)
      expect(await readCode(master, changed), `letter ${at}`).toBeUndefined()
    }
    for (const more of ['A', '.', '=', ' ', '\n', '.A', 'AAAA'])
      expect(await readCode(master, code + more), JSON.stringify(more)).toBeUndefined()
  })

  test('69 code: every flipped bit of the id is another login, and so none', async () => {
    const code = await makeCode(master, sessionId, content, random28)
    const id = Buffer.from(code.slice(0, 43), 'base64url')
    for (let bit = 0; bit < 256; bit++) {
      const flipped = id.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte))
      expect(await readCode(master, toBase64url(flipped) + code.slice(43))).toBeUndefined()
    }
  })

  test('69 code: the box of one login with the id of another is none', async () => {
    const other = `sess_${'f'.repeat(64)}`
    const one = await makeCode(master, sessionId, content, random28)
    const two = await makeCode(master, other, content, random28)
    expect(await readCode(master, one.slice(0, 43) + two.slice(43))).toBeUndefined()
    expect(await readCode(secretOf([1, 2]), one)).toBeUndefined()
  })

  test('69 code: no other thing of ours passes for a code', async () => {
    const code = await makeCode(master, sessionId, content, random28)
    const id = code.slice(0, 43)
    const plain = JSON.stringify({ ...content, secret: 'x' })
    const nonce = random28.slice(0, 12)
    const direct = await sealBox(master, 'token', plain, `direct code ${sessionId}`, nonce)
    const cookie = await sealBox(master, 'cookie', plain, `oidc code ${sessionId}`, nonce)
    const { clientId, tokenId, enrollmentId, grantId, trustLevel } = content
    const access = await sealAccessToken(
      master,
      {
        ...{ clientId, tokenId, enrollmentId, grantId, trustLevel },
        ...{ sub: 'x', scope: 'openid', claims: {}, authTime: 1, iat: 1, exp: 2 },
      },
      nonce,
    )
    for (const box of [direct, cookie, access])
      expect(await readCode(master, `${id}.${box}`)).toBeUndefined()
    const sameKind = await sealBox(master, 'token', plain, `oidc code ${sessionId}`, nonce)
    expect(await readCode(master, `${id}.${sameKind}`)).toBeDefined()
  })

  test('69 code: content of another version, older or later, is refused', async () => {
    const { grantId: _grantId, ...older } = content
    const later = { ...content, jkt: 'a-key-that-it-is-bound-to' }
    const context = `oidc code ${sessionId}`
    const id = toBase64url(Buffer.from(sessionId.slice(5), 'hex'))
    const readPlain = async (inside: object) => {
      const plain = JSON.stringify({ ...inside, secret: 'x' })
      const box = await sealBox(master, 'token', plain, context, random28.slice(0, 12))
      return readCode(master, `${id}.${box}`)
    }
    expect(await readPlain(content)).toEqual({ sessionId, ...content })
    expect(await readPlain(older)).toBeUndefined()
    expect(await readPlain(later)).toBeUndefined()
  })

  test('69 code: garbage of any kind is none and never throws', async () => {
    const id = fc.constantFrom('A'.repeat(43), `${'A'.repeat(42)}B`, 'A'.repeat(42), '')
    const near = fc.tuple(id, fc.constantFrom('.1.', '.', '..', '.9.'), fc.base64String())
    const garbage = fc.oneof(
      fc.string(),
      near.map((parts) => parts.join('')),
    )
    await fc.assert(
      fc.asyncProperty(garbage, async (text) => {
        expect(await readCode(master, text)).toBeUndefined()
      }),
    )
  })

  test('116 a code of more than 8 KiB is refused without any work', async () => {
    const decrypt = vi.spyOn(crypto.subtle, 'decrypt')
    expect(await readCode(master, `${'A'.repeat(43)}.1.${'A'.repeat(8192)}`)).toBeUndefined()
    expect(decrypt).not.toHaveBeenCalled()
    expect(await readCode(master, `${'A'.repeat(43)}.1.${'A'.repeat(4096)}`)).toBeUndefined()
    expect(decrypt).toHaveBeenCalledOnce()
    decrypt.mockRestore()
  })

  test('321 reads codes of the older secret while it is listed', async () => {
    const code = await makeCode(master, sessionId, content, random28)
    expect(await readCode(secretOf([2, 2], [1, 1]), code)).toEqual({ sessionId, ...content })
  })

  test('72 lives 60 seconds; and a dead one still reads, for its grant must die when it comes again', async () => {
    const { issuedAt } = content
    expect(isAlive(content, issuedAt)).toBe(true)
    expect(isAlive(content, issuedAt + 59)).toBe(true)
    expect(isAlive(content, issuedAt + 60)).toBe(false)
    expect(isAlive(content, issuedAt + 62)).toBe(false)
  })

  test('a fault of the caller throws', async () => {
    await expect(makeCode(master, 'sess_1', content, random28)).rejects.toThrow(RangeError)
    await expect(makeCode(master, sessionId, content, random28.slice(1))).rejects.toThrow(
      RangeError,
    )
  })
})
