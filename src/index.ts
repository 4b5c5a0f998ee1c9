import type { Hono } from 'hono'
import { buildHouse, createApp, type House, serve } from './app.ts'
import { problem } from './http/problem.ts'
import { secured } from './http/security.ts'
import { PhoneInboxObject } from './login/inbox.ts'
import { LoginSessionObject } from './login/object.ts'
import type { Result } from './result.ts'

/** Built once per environment of an isolate. A wrong configuration stays wrong until the next deployment. */
const houses = new WeakMap<Env, Result<House, string>>()
const apps = new WeakMap<House, Hono>()

function houseOf(env: Env): Result<House, string> {
  const known = houses.get(env)
  if (known !== undefined) return known
  const built = buildHouse(env)
  if (!built.ok) console.error(JSON.stringify({ event: 'misconfigured', reason: built.reason }))
  houses.set(env, built)
  return built
}

function standingHouse(env: Env): House {
  const house = houseOf(env)
  if (!house.ok) throw new Error(house.reason)
  return house.value
}

export class LoginSession extends LoginSessionObject {
  protected override readonly house = standingHouse(this.env).login
}

export class PhoneInbox extends PhoneInboxObject {
  protected override readonly house = standingHouse(this.env).inbox
}

export default {
  async fetch(request, env, ctx): Promise<Response> {
    const house = houseOf(env)
    if (!house.ok) {
      return secured(problem('unavailable', { detail: house.reason }), crypto.randomUUID())
    }
    const app = apps.get(house.value) ?? createApp(house.value)
    apps.set(house.value, app)
    return serve(app, request, env, ctx)
  },
} satisfies ExportedHandler<Env>
