import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { sealBox } from '../../../../src/keys/sealed-box.ts'
import { openTicket, sealTicket, type Ticket } from '../../../../src/login/hosted/ticket.ts'
import { secretOf } from '../../keys/secrets.ts'

const master = secretOf([1, 1])
const NONCE = new Uint8Array(12).fill(7)
const ticket: Ticket = {
  sessionId: `sess_${'0'.repeat(64)}`,
  asked: {
    door: 'oidc',
    doorState: { state: 'é\r\n"<', sid: null },
    service: { id: 'bar', name: 'Bär <b>', url: 'https://bar.example/', logo: null },
    origin: 'https://bar.example',
    returnTo: 'https://bar.example/cb',
    socketOrigins: [],
    begunBy: 'page',
    vds: null,
    purpose: 'login',
    trustRequired: false,
    scopes: ['identity:name'],
    requiredScopes: [],
    minTrustLevel: 3,
    confirmation: 'transfer',
    context: { browser: 'Firefox on Windows', country: 'FR' },
  },
  hint: null,
  requestedAt: 1_800_000_000_000,
}

describe('the ticket', () => {
  test('048 ticket: the browser it was sealed for reads it, and nothing of it can be read by others', async () => {
    const text = await sealTicket(master, ticket, 'browser', NONCE)
    expect(await openTicket(master, text, 'browser')).toEqual(ticket)
    expect(text).toMatch(/^1\.[A-Za-z0-9_-]+$/)
    for (const other of ['', 'Browser', 'browser ', 'other']) {
      expect(await openTicket(master, text, other)).toBeUndefined()
    }
  })

  test('048 ticket: touched anywhere, it is none', async () => {
    const text = await sealTicket(master, ticket, 'browser', NONCE)
    for (let at = 0; at < text.length; at++) {
      const flipped = `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`
      expect(await openTicket(master, flipped, 'browser')).toBeUndefined()
    }
    for (const cut of [text.slice(1), text.slice(0, -1), `${text}A`, ` ${text}`, `${text}\n`]) {
      expect(await openTicket(master, cut, 'browser')).toBeUndefined()
    }
  })

  test('321 ticket: one of an older secret is good while that secret is listed', async () => {
    const text = await sealTicket(master, ticket, 'browser', NONCE)
    expect(await openTicket(secretOf([2, 2], [1, 1]), text, 'browser')).toEqual(ticket)
    expect(await openTicket(secretOf([2, 2]), text, 'browser')).toBeUndefined()
    expect(await openTicket(secretOf([1, 3]), text, 'browser')).toBeUndefined()
  })

  test('048 ticket: another box of the same key is none', async () => {
    for (const [label, context] of [
      ['cookie', 'oidc sso __Host-sso-abcdefgh'],
      ['cookie', 'browser'],
      ['session', 'login ticket browser'],
      ['cookie', 'login ticket 2 browser'],
    ] as const) {
      const box = await sealBox(master, label, JSON.stringify(ticket), context, NONCE)
      expect(await openTicket(master, box, 'browser')).toBeUndefined()
    }
  })

  test('048 ticket: whatever is sent instead is none', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.string(), fc.base64String()), async (text) => {
        expect(await openTicket(master, text, 'browser')).toBeUndefined()
        expect(await openTicket(master, `1.${text}`, 'browser')).toBeUndefined()
      }),
    )
  })
})
