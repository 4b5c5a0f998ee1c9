import fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { readForm, readJson } from '../../../src/http/body.ts'

const Schema = v.strictObject({
  name: v.string(),
  count: v.optional(v.number()),
  inner: v.optional(v.strictObject({ deep: v.boolean() })),
})

function request(body: BodyInit | null, headers: Record<string, string> = {}): Request {
  const init = { method: 'POST', headers: { 'Content-Type': 'application/json', ...headers }, body }
  return new Request('https://id.example.com/x', { ...init, duplex: 'half' } as RequestInit)
}

async function read(body: BodyInit | null, headers?: Record<string, string>, limit?: number) {
  const result = await readJson(request(body, headers), Schema, limit)
  if (result.ok) return result.value
  const { code, member } = await result.reason.json()
  return member === undefined ? [result.reason.status, code] : [result.reason.status, code, member]
}

/** `size` bytes of valid JSON. */
function sized(size: number): string {
  return `{"name":"${'x'.repeat(size - 11)}"}`
}

describe('readJson', () => {
  it('gives a fresh object with the members of the schema', async () => {
    expect(await read('{"name":"a","count":2}')).toEqual({ name: 'a', count: 2 })
    expect(await read(' \r\n\t{"name":"a"}\n')).toEqual({ name: 'a' })
  })

  it.each([
    'application/json',
    'Application/JSON',
    'application/json; charset=utf-8',
    'application/json;charset=utf-8',
    'application/json ;x=y',
  ])('002 takes %j', async (type) => {
    expect(await read('{"name":"a"}', { 'Content-Type': type })).toEqual({ name: 'a' })
  })

  it.each([
    'text/plain',
    'text/json',
    'application/jsonp',
    'application/json-seq',
    'application/ld+json',
    'application/problem+json',
    'x application/json',
    'text/plain, application/json',
    'multipart/form-data; boundary=application/json',
    'application/x-www-form-urlencoded',
  ])('002 refuses %j', async (type) => {
    expect(await read('{"name":"a"}', { 'Content-Type': type })).toEqual([
      415,
      'unsupported_media_type',
    ])
  })

  it('002 refuses a body without a type', async () => {
    const typeless = request(new TextEncoder().encode('{"name":"a"}'))
    typeless.headers.delete('Content-Type')
    const result = await readJson(typeless, Schema)
    expect(!result.ok && result.reason.status).toBe(415)
  })

  it.each(['gzip', 'br', 'identity', 'x'])('017 refuses Content-Encoding %s', async (encoding) => {
    expect(await read('{"name":"a"}', { 'Content-Encoding': encoding })).toEqual([
      415,
      'unsupported_media_type',
    ])
  })

  it.each([
    '',
    ' ',
    '{',
    '{"name":"a"',
    '{"name":"a"}}',
    '{"name":"a"}{"name":"b"}',
    '{"name":"a",}',
    "{'name':'a'}",
    '{name:"a"}',
    '{"name":NaN}',
    '{"name":"a\nb"}',
    '[]',
    '[{"name":"a"}]',
    '"name"',
    'null',
    'true',
    '7',
    '\uFEFF{"name":"a"}',
    '{"name":"a"}\u00a0',
  ])('004 %j is no JSON object', async (body) => {
    expect(await read(body)).toEqual([400, 'invalid_request'])
  })

  it('004 a list is no object without members either', async () => {
    for (const body of ['[]', 'null', '""', '0', 'false']) {
      const result = await readJson(request(body), v.strictObject({}))
      expect([body, result.ok]).toEqual([body, false])
    }
    expect((await readJson(request('{}'), v.strictObject({}))).ok).toBe(true)
  })

  it.each([
    ['a stray byte', [0xff]],
    ['an overlong slash', [0xc0, 0xaf]],
    ['an overlong NUL', [0xc0, 0x80]],
    ['half a surrogate', [0xed, 0xa0, 0x80]],
    ['a cut sequence', [0xe2, 0x82]],
    ['beyond Unicode', [0xf4, 0x90, 0x80, 0x80]],
  ])('013 %s is no UTF-8, and no replacement character comes of it', async (_, bytes) => {
    const body = new Uint8Array([
      ...new TextEncoder().encode('{"name":"'),
      ...bytes,
      ...new TextEncoder().encode('"}'),
    ])
    expect(await read(body)).toEqual([400, 'invalid_request'])
  })

  it('009 names a member of the schema that is wrong, and quotes nothing', async () => {
    expect(await read('{"name":7}')).toEqual([400, 'invalid_request', 'name'])
    expect(await read('{"name":"a","count":"7"}')).toEqual([400, 'invalid_request', 'count'])
    const inside = [400, 'invalid_request', 'inner.deep']
    expect(await read('{"name":"a","inner":{"deep":1}}')).toEqual(inside)
    expect(await read('{}')).toEqual([400, 'invalid_request', 'name'])
  })

  it.each(['evil', '__proto__', 'constructor', 'toString', 'hasOwnProperty', ''])(
    '012 the unknown member %j is refused and not named back',
    async (name) => {
      expect(await read(`{"name":"a",${JSON.stringify(name)}:{"x":1}}`)).toEqual([
        400,
        'invalid_request',
      ])
    },
  )

  it('a body of exactly the limit is read, one byte more is not', async () => {
    expect(await read(sized(1000), {}, 1000)).toMatchObject({ name: expect.any(String) })
    expect(await read(sized(1001), {}, 1000)).toEqual([413, 'payload_too_large'])
    expect(await read(sized(16 * 1024))).toMatchObject({ name: expect.any(String) })
    expect(await read(sized(16 * 1024 + 1))).toEqual([413, 'payload_too_large'])
  })

  it('counts bytes and not characters', async () => {
    const euro = `{"name":"${'€'.repeat(100)}"}`
    expect(await read(euro, {}, 310)).toEqual([413, 'payload_too_large'])
    expect(await read(euro, {}, 311)).toEqual({ name: '€'.repeat(100) })
  })

  it('stops reading at the limit and lets the sender know', async () => {
    let pulled = 0
    let cancelled = false
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        pulled += 1
        controller.enqueue(new Uint8Array(100).fill(32))
      },
      cancel() {
        cancelled = true
      },
    })
    expect(await read(endless, {}, 1000)).toEqual([413, 'payload_too_large'])
    expect(pulled).toBeLessThan(15)
    expect(cancelled).toBe(true)
  })

  it('reads the same however the bytes arrive', async () => {
    const text = '{"name":"Zoë – 名前 🎫","count":1}'
    const bytes = new TextEncoder().encode(text)
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(bytes.length), { maxLength: 6 }), async (cuts) => {
        const edges = [0, ...cuts.sort((a, b) => a - b), bytes.length]
        const stream = new ReadableStream<Uint8Array>({
          start(controller) {
            for (const [i, edge] of edges.slice(1).entries()) {
              controller.enqueue(bytes.slice(edges[i], edge))
            }
            controller.close()
          },
        })
        expect(await read(stream)).toEqual({ name: 'Zoë – 名前 🎫', count: 1 })
      }),
    )
  })

  it('004 never throws, whatever arrives', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        expect(await read(new Uint8Array(bytes))).toBeDefined()
      }),
    )
    await fc.assert(
      fc.asyncProperty(fc.json(), async (text) => {
        const got = await read(text)
        const value = JSON.parse(text)
        const right = typeof value?.name === 'string' && Object.keys(value).length === 1
        if (right && !Array.isArray(value)) expect(got).toEqual(value)
        else expect(got).not.toHaveProperty('name')
      }),
    )
  })
})

describe('readForm', () => {
  const FORM = 'application/x-www-form-urlencoded'

  async function readPosted(body: BodyInit | null, type = FORM, limit?: number) {
    const result = await readForm(request(body, { 'Content-Type': type }), limit)
    return result.ok ? Object.fromEntries(result.value.values) : result.reason
  }

  it.each([FORM, 'Application/X-WWW-Form-Urlencoded', `${FORM};charset=UTF-8`, `${FORM} ; x=y`])(
    'takes %j',
    async (type) => {
      expect(await readPosted('a=1&b=2+3', type)).toEqual({ a: '1', b: '2 3' })
    },
  )

  it('says what was sent twice', async () => {
    const result = await readForm(request('a=1&a=2', { 'Content-Type': FORM }))
    expect(result.ok && [...result.value.repeated]).toEqual(['a'])
  })

  it('an empty form has no parameters', async () => {
    expect(await readPosted('')).toEqual({})
    expect(await readPosted(null)).toEqual({})
  })

  it.each([
    'application/json',
    'text/plain',
    'multipart/form-data; boundary=x',
    `text/plain; ${FORM}`,
    `${FORM}x`,
    `x ${FORM}`,
    `${FORM}, text/plain`,
    '',
  ])('003 refuses %j', async (type) => {
    expect(await readPosted('a=1', type)).toBe('unsupported_media_type')
  })

  it('003 refuses a body without a type, and 017 one with an encoding', async () => {
    const typeless = request(new TextEncoder().encode('a=1'))
    typeless.headers.delete('Content-Type')
    expect(await readForm(typeless)).toEqual({ ok: false, reason: 'unsupported_media_type' })
    for (const encoding of ['gzip', 'br', 'identity']) {
      const packed = request('a=1', { 'Content-Type': FORM, 'Content-Encoding': encoding })
      expect(await readForm(packed)).toEqual({ ok: false, reason: 'unsupported_media_type' })
    }
  })

  it('is read to its limit and not beyond', async () => {
    expect(await readPosted(`a=${'x'.repeat(98)}`, FORM, 100)).toEqual({ a: 'x'.repeat(98) })
    expect(await readPosted(`a=${'x'.repeat(99)}`, FORM, 100)).toBe('payload_too_large')
    expect(await readPosted(`a=${'x'.repeat(16 * 1024 - 2)}`)).toHaveProperty('a')
    expect(await readPosted(`a=${'x'.repeat(16 * 1024 - 1)}`)).toBe('payload_too_large')
  })

  it.each([
    ['a stray byte', [0x61, 0x3d, 0xff]],
    ['an overlong NUL', [0x61, 0x3d, 0xc0, 0x80]],
    ['half a surrogate', [0x61, 0x3d, 0xed, 0xa0, 0x80]],
    ['a NUL', [0x61, 0x3d, 0x00]],
    ['an encoded stray byte', [...new TextEncoder().encode('a=%ff')]],
  ])('013 %s is malformed', async (_, bytes) => {
    expect(await readPosted(new Uint8Array(bytes))).toBe('malformed')
  })

  it('336 lets the named values span lines', async () => {
    const posted = () => request('state=1%0a2', { 'Content-Type': FORM })
    expect((await readForm(posted())).ok).toBe(false)
    const result = await readForm(posted(), undefined, ['state'])
    expect(result.ok && result.value.values.get('state')).toBe('1\n2')
  })

  it('never throws, whatever arrives', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), async (bytes) => {
        expect(await readPosted(new Uint8Array(bytes))).toBeDefined()
      }),
    )
  })
})
