import type { Context, Hono } from 'hono'
import { problem } from './problem.ts'

type Handler = (c: Context) => Promise<Response> | Response

/** Serves POST at `path`, and 405 with `Allow` for every other method, before any body is read (5-security 1). */
export function post(app: Hono, path: string, handler: Handler): void {
  app.post(path, async (c) => handler(c))
  app.all(path, () => problem('method_not_allowed', { allow: 'POST' }))
}

/** Serves GET (and with it HEAD) at `path`, and 405 for every other method. */
export function get(app: Hono, path: string, handler: Handler): void {
  app.get(path, async (c) => handler(c))
  app.all(path, () => problem('method_not_allowed', { allow: 'GET, HEAD' }))
}
