import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createFakeFcm, type FakeFcm } from '../../../dev/fcm/fake-fcm.ts'
import { serveFakeFcm } from '../../../dev/fcm/server.ts'
import type { Server } from '../../../dev/serve.ts'
import { accessToken, account, goodMessage, now, send } from './world.ts'

let fake: FakeFcm
let server: Server

beforeEach(async () => {
  fake = createFakeFcm({ now: () => now })
  fake.useServiceAccount(account)
  server = await serveFakeFcm(fake, 0)
})
afterEach(() => server.close())

function post(path: string, body: unknown): Promise<Response> {
  return fetch(`${server.origin}${path}`, { method: 'POST', body: JSON.stringify(body) })
}

async function newDevice(): Promise<string> {
  const { token }: { token: string } = await (await post('/device', {})).json()
  return token
}

describe('the control of the fake, over HTTP', () => {
  test('a new device has a token of its own, a restarted phone keeps its', async () => {
    const [one, two] = [await newDevice(), await newDevice()]
    expect(one).not.toBe(two)
    expect(await (await post('/device', { token: 'kept' })).json()).toEqual({ token: 'kept' })
    expect((await send(fake, { message: goodMessage('kept') })).http).toBe(200)
  })

  test('the inbox as a list, and as a stream that begins with what was there', async () => {
    const token = await newDevice()
    await send(fake, { message: goodMessage(token) })
    const inbox: { data: object }[] = await (
      await fetch(`${server.origin}/inbox?token=${token}`)
    ).json()
    expect(inbox.map(({ data }) => data)).toEqual([{ v: '1', t: 'login' }])

    const leave = new AbortController()
    const stream = await fetch(`${server.origin}/inbox/stream?token=${token}`, {
      signal: leave.signal,
    })
    expect(stream.headers.get('content-type')).toBe('text/event-stream')
    await send(fake, { message: goodMessage(token) })
    const events: string[] = []
    let text = ''
    for await (const chunk of stream.body ?? []) {
      text += Buffer.from(chunk).toString()
      events.splice(0, events.length, ...(text.match(/^data: .*$/gm) ?? []))
      if (events.length === 2) break
    }
    leave.abort()
    expect(events.map((event) => JSON.parse(event.slice(6)).data.t)).toEqual(['login', 'login'])
  })

  test('scripts are set, one or several; nonsense is refused', async () => {
    const token = await newDevice()
    expect((await post('/script', { token, script: ['unavailable', 'ok'] })).status).toBe(200)
    expect((await send(fake, { message: goodMessage(token) })).http).toBe(503)
    expect((await send(fake, { message: goodMessage(token) })).http).toBe(200)
    for (const script of ['nonsense', 'quota(x)', [], 7, null]) {
      expect((await post('/script', { token, script })).status).toBe(400)
    }
    expect((await post('/script', { script: 'ok' })).status).toBe(400)
  })

  test('stats count, other paths and methods are refused', async () => {
    await accessToken(fake)
    const stats = await (await fetch(`${server.origin}/stats`)).json()
    expect(stats).toMatchObject({ exchanges: 1, sends: 0, violations: [] })
    expect((await post('/stats', {})).status).toBe(405)
    expect((await fetch(`${server.origin}/script`)).status).toBe(405)
    expect((await fetch(`${server.origin}/inbox`)).status).toBe(400)
    expect((await fetch(`${server.origin}/other`)).status).toBe(404)
  })
})
