import { describe, expect, it } from 'vitest'
import { DOCUMENT_METHODS, publicDocument, publicPreflight } from '../../../src/http/document.ts'

const cacheControl = 'public, max-age=60'

function ask(body: object, headers: Record<string, string> = {}) {
  return publicDocument(new Request('https://id.example.com/x', { headers }), body, {
    cacheControl,
  })
}

describe('publicDocument', () => {
  it('326 is JSON of a known length that any page may read and a cache may keep', async () => {
    const answer = await ask({ name: 'Zoë 🎫' })
    expect(answer.status).toBe(200)
    const { etag, ...headers } = Object.fromEntries(answer.headers)
    expect(headers).toEqual({
      'access-control-allow-origin': '*',
      'cache-control': cacheControl,
      'content-length': String(new TextEncoder().encode('{"name":"Zoë 🎫"}').length),
      'content-type': 'application/json',
    })
    expect(etag).toMatch(/^"[A-Za-z0-9_-]{43}"$/)
    expect(await answer.text()).toBe('{"name":"Zoë 🎫"}')
  })

  it('326 has a tag of its content', async () => {
    const tag = async (body: object) => (await ask(body)).headers.get('ETag')
    expect(await tag({ a: 1 })).toBe(await tag({ a: 1 }))
    expect(await tag({ a: 1 })).not.toBe(await tag({ a: 2 }))
  })

  it('326 If-None-Match: 304 without a body for who has it', async () => {
    const etag = (await ask({ a: 1 })).headers.get('ETag') ?? ''
    for (const tags of [etag, `W/${etag}`, `"x", ${etag}`, ` ${etag} ,"x"`, '*']) {
      const answer = await ask({ a: 1 }, { 'If-None-Match': tags })
      expect([tags, answer.status, await answer.text()]).toEqual([tags, 304, ''])
      expect(answer.headers.get('ETag')).toBe(etag)
      expect(answer.headers.get('Cache-Control')).toBe(cacheControl)
      expect(answer.headers.get('Access-Control-Allow-Origin')).toBe('*')
    }
    for (const tags of ['', '"x"', etag.slice(1, -1), `${etag}x`, '"*"']) {
      expect([tags, (await ask({ a: 1 }, { 'If-None-Match': tags })).status]).toEqual([tags, 200])
    }
  })
})

describe('publicPreflight', () => {
  it('326 338 lets every page read and revalidate, without credentials', () => {
    const answer = publicPreflight()
    expect(answer.status).toBe(204)
    expect(Object.fromEntries(answer.headers)).toEqual({
      'access-control-allow-headers': 'If-None-Match',
      'access-control-allow-methods': 'GET, HEAD',
      'access-control-allow-origin': '*',
      'access-control-max-age': '86400',
      allow: DOCUMENT_METHODS,
    })
  })
})
