import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readText, textOfFragment } from '../../../dev/phone/links.ts'

const ISSUER = 'https://id.example.com'
const HOMES = [`${ISSUER}/l#`, 'http://localhost:8788/#']
const sessionId = `sess_${'0123456789abcdef'.repeat(4)}`
const proof = 'AbCdEfGhIjKlMnOpQr-_09'
/** All of Base45, with a blank at its end and what looks like an escape. */
const vds = 'HC1:0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:%20 '

describe('what a phone reads', () => {
  test.each(HOMES)('a login behind %s: by camera, or by link when the text says so', (home) => {
    expect(readText(`${home}${sessionId}.${proof}`, HOMES)).toEqual({
      ...{ kind: 'login', sessionId, way: { via: 'camera', proof } },
    })
    expect(readText(`\n${home}${sessionId}.${proof}.link\n`, HOMES)).toEqual({
      ...{ kind: 'login', sessionId, way: { via: 'link', proof } },
    })
  })

  test('192 what opened the phone is never taken for a look at a screen', () => {
    expect(readText(`${sessionId}.${proof}`, HOMES, true)).toBe('camera_only')
    expect(readText(`${sessionId}.${proof}.link`, HOMES, true)).toMatchObject({
      way: { via: 'link' },
    })
  })

  test('a Service VDS, alone or with the login that waits for it, to its last blank', () => {
    expect(readText(vds, HOMES)).toEqual({ kind: 'service', vds, sessionId: undefined })
    expect(readText(`${ISSUER}/l#${sessionId}.${vds}\n`, HOMES)).toEqual({
      ...{ kind: 'service', vds, sessionId },
    })
  })

  test.each([
    ['', 'not_ours'],
    ['hello', 'not_ours'],
    ['https://id.example.com/', 'not_ours'],
    [`https://id.example.org/l#${sessionId}.${proof}`, 'other_provider'],
    [`https://id.example.com.evil.example/l#${sessionId}.${proof}`, 'other_provider'],
    [`${ISSUER}/l#${sessionId}.${proof}x`, 'not_ours'],
    [`${ISSUER}/l#${sessionId}`, 'not_ours'],
  ])('%j is %s', (text, fault) => {
    expect(readText(text, HOMES)).toBe(fault)
  })

  test('no text makes it throw', () => {
    fc.assert(
      fc.property(fc.string(), fc.boolean(), (text, opened) => {
        const read = readText(text, HOMES, opened)
        expect(typeof read === 'string' || read.kind !== undefined).toBe(true)
        textOfFragment(`#${text}`)
      }),
    )
  })

  test('a Service VDS comes whole through a link that escapes it, and through an address that is the text', () => {
    const text = `${sessionId}.${vds}`
    const { hash } = new URL(`${ISSUER}/l#${encodeURIComponent(text)}`)
    expect(textOfFragment(hash)).toBe(text)
    const plain = text.replace('%20 ', '%2B')
    expect(textOfFragment(new URL(`${ISSUER}/l#${plain}`).hash)).toBe(plain)
  })
})
