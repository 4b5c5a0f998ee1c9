import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readSendAnswer } from '../../../src/push/outcome.ts'

const now = 1_800_000_000
const fcmType = 'type.googleapis.com/google.firebase.fcm.v1.FcmError'

function errorBody(status: string, errorCode?: string, field?: string): string {
  const details: object[] = errorCode === undefined ? [] : [{ '@type': fcmType, errorCode }]
  if (field !== undefined) {
    details.push({
      '@type': 'type.googleapis.com/google.rpc.BadRequest',
      fieldViolations: [{ field }],
    })
  }
  return JSON.stringify({ error: { code: 0, message: 'x', status, details } })
}

function read(status: number, body: string, headers: Record<string, string> = {}) {
  return readSendAnswer(status, new Headers(headers), body, now)
}

describe('what FCM answers (6-operations 1.3)', () => {
  test.each([
    [
      '290',
      400,
      errorBody('INVALID_ARGUMENT', 'INVALID_ARGUMENT', 'message.token'),
      { kind: 'dead-token' },
    ],
    ['290', 400, errorBody('INVALID_ARGUMENT', undefined, 'message.token'), { kind: 'dead-token' }],
    [
      '290',
      400,
      errorBody('INVALID_ARGUMENT', 'INVALID_ARGUMENT', 'message.android.ttl'),
      { kind: 'misconfigured', reach: 'message' },
    ],
    [
      '290',
      400,
      errorBody('INVALID_ARGUMENT', 'INVALID_ARGUMENT'),
      { kind: 'misconfigured', reach: 'message' },
    ],
    ['291', 401, errorBody('UNAUTHENTICATED'), { kind: 'unauthenticated' }],
    [
      '',
      401,
      errorBody('UNAUTHENTICATED', 'THIRD_PARTY_AUTH_ERROR'),
      { kind: 'misconfigured', reach: 'platform' },
    ],
    ['292', 403, errorBody('PERMISSION_DENIED', 'SENDER_ID_MISMATCH'), { kind: 'sender-mismatch' }],
    ['', 403, errorBody('PERMISSION_DENIED'), { kind: 'misconfigured', reach: 'project' }],
    ['', 404, errorBody('NOT_FOUND', 'UNREGISTERED'), { kind: 'dead-token' }],
    ['', 404, errorBody('NOT_FOUND'), { kind: 'misconfigured', reach: 'message' }],
    [
      '294',
      429,
      errorBody('RESOURCE_EXHAUSTED', 'QUOTA_EXCEEDED'),
      { kind: 'quota', retryAfter: 60 },
    ],
    ['295', 500, errorBody('INTERNAL', 'INTERNAL'), { kind: 'retry' }],
    ['295', 503, errorBody('UNAVAILABLE', 'UNAVAILABLE'), { kind: 'retry' }],
    ['295', 502, '<html>Bad Gateway</html>', { kind: 'retry' }],
    ['295', 503, '<html>', { kind: 'retry' }],
    ['295', 504, '', { kind: 'retry' }],
    ['', 400, errorBody('UNSPECIFIED_ERROR', 'UNSPECIFIED_ERROR'), { kind: 'unknown' }],
    ['', 401, '<html>', { kind: 'unauthenticated' }],
    ['', 302, '', { kind: 'unknown' }],
    ['', 418, '{}', { kind: 'unknown' }],
  ])('%s: %i %s', (_case, status, body, outcome) => {
    expect(read(status, body)).toEqual(outcome)
  })

  test('the error code outranks the status, the status the HTTP code', () => {
    expect(read(500, errorBody('INTERNAL', 'UNREGISTERED'))).toEqual({ kind: 'dead-token' })
    expect(read(500, errorBody('UNAUTHENTICATED'))).toEqual({ kind: 'unauthenticated' })
  })

  test('an error code of another type is not FCM’s', () => {
    const details = [{ '@type': 'type.googleapis.com/other', errorCode: 'UNREGISTERED' }]
    expect(read(503, JSON.stringify({ error: { status: 'UNAVAILABLE', details } }))).toEqual({
      kind: 'retry',
    })
  })

  test('297 only a message name means accepted', () => {
    expect(read(200, '{"name":"projects/p/messages/1"}')).toEqual({ kind: 'accepted' })
    for (const body of [
      '',
      '<html>',
      '{}',
      'null',
      '[]',
      '{"name":1}',
      '{"name":"x"}',
      '{"name":"projects/',
    ]) {
      expect(read(200, body)).toEqual({ kind: 'unknown' })
    }
  })

  test('294 Retry-After in seconds, as a date, as nonsense, and never beyond an hour', () => {
    const wait = (value: string) => read(429, '', { 'retry-after': value })
    expect(wait('17')).toEqual({ kind: 'quota', retryAfter: 17 })
    expect(wait(new Date((now + 42) * 1000).toUTCString())).toEqual({
      kind: 'quota',
      retryAfter: 42,
    })
    expect(wait(new Date((now - 42) * 1000).toUTCString())).toEqual({
      kind: 'quota',
      retryAfter: 0,
    })
    for (const nonsense of ['', '-5', '1e9', 'soon', '2027']) {
      expect(wait(nonsense)).toEqual({ kind: 'quota', retryAfter: nonsense === '2027' ? 2027 : 60 })
    }
    expect(wait('999999999')).toEqual({ kind: 'quota', retryAfter: 3600 })
    expect(read(503, '', { 'retry-after': '11' })).toEqual({ kind: 'retry', retryAfter: 11 })
  })

  test('297 any status with any body is an outcome, never a throw', () => {
    const details = fc
      .jsonValue()
      .map((value) => JSON.stringify({ error: { status: 'X', details: value } }))
    const bodies = fc.oneof(fc.string(), fc.json(), details)
    fc.assert(
      fc.property(fc.integer({ min: 200, max: 599 }), bodies, fc.string(), (status, body, wait) => {
        const outcome = readSendAnswer(status, { get: () => wait }, body, now)
        expect(outcome.kind).not.toBe('accepted')
      }),
    )
  })
})
