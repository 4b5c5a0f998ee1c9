import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  CHALLENGE_SECONDS,
  isChallengeGood,
  makeChallenge,
} from '../../../src/enrollment/challenge.ts'
import { secretOf } from '../keys/secrets.ts'

const ISSUER = 'https://id.example.com'
const NOW = 1_795_000_000
const master = secretOf([1, 1])
const random = new Uint8Array(16).fill(7)
const challenge = await makeChallenge(master, ISSUER, NOW + CHALLENGE_SECONDS, random)

test('138 challenge: good to its last second and not a second longer', async () => {
  expect(await isChallengeGood(master, ISSUER, challenge, NOW)).toBe(true)
  expect(await isChallengeGood(master, ISSUER, challenge, NOW + 120)).toBe(true)
  expect(await isChallengeGood(master, ISSUER, challenge, NOW + 121)).toBe(false)
})

test('138 challenge: of another deployment, by issuer or by secret', async () => {
  expect(await isChallengeGood(master, 'https://id.example.net', challenge, NOW)).toBe(false)
  expect(await isChallengeGood(secretOf([1, 2]), ISSUER, challenge, NOW)).toBe(false)
  // The parts are not simply run together: what leaves the issuer doesn't move into the body.
  const shifted = await makeChallenge(master, `${ISSUER}1`, NOW, random)
  const [expiresAt, ...rest] = shifted.split('.')
  expect(await isChallengeGood(master, ISSUER, [`1${expiresAt}`, ...rest].join('.'), NOW)).toBe(
    false,
  )
})

test('138 challenge: it outlives a change of the master secret', async () => {
  expect(await isChallengeGood(secretOf([2, 9], [1, 1]), ISSUER, challenge, NOW)).toBe(true)
})

test('138 challenge: every altered character is noticed', async () => {
  for (let i = 0; i < challenge.length; i++) {
    const other = challenge[i] === '1' ? '2' : '1'
    const altered = challenge.slice(0, i) + other + challenge.slice(i + 1)
    expect(await isChallengeGood(master, ISSUER, altered, NOW), `at ${i}`).toBe(false)
  }
})

test('138 challenge: two are never alike', async () => {
  const other = await makeChallenge(master, ISSUER, NOW + 120, new Uint8Array(16).fill(8))
  expect(other).not.toBe(challenge)
})

test('138 challenge: any text is an answer, and no', async () => {
  const [expiresAt = '', nonce = '', mac = ''] = challenge.split('.')
  const texts = [
    '',
    '.',
    '..',
    '...',
    `${challenge}.`,
    `${expiresAt}.${nonce}`,
    `..${mac}`,
    `Infinity.${nonce}.${mac}`,
  ]
  for (const text of texts) expect(await isChallengeGood(master, ISSUER, text, NOW)).toBe(false)
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.string(),
        fc.string().map((tail) => `${NOW}.${nonce}.${tail}`),
      ),
      async (text) => {
        expect(await isChallengeGood(master, ISSUER, text, NOW)).toBe(false)
      },
    ),
  )
})
