/**
 * A Worker with other settings or bindings than the one under `exports.default`. Its objects are the same ones: they live
 * under the real environment.
 */
import { createExecutionContext, waitOnExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import worker from '../../src/index.ts'
import { type Answer, answerOf, ISSUER } from './world.ts'

export interface OtherWorker {
  /** The answer itself; `path` may also be a whole URL. */
  fetch(path: string, init?: RequestInit<IncomingRequestCfProperties>): Promise<Response>
  /** Sends anything at all. */
  send(
    method: string,
    path: string,
    body?: BodyInit | null,
    headers?: Record<string, string>,
  ): Promise<Answer>
  /** POSTs `body` as JSON. */
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Answer>
  /** Returns when all that goes on after the answers so far is done: pushes and their consequences. */
  settled(): Promise<void>
}

export function workerWith(changes: Readonly<Record<string, unknown>> = {}): OtherWorker {
  const altered: Env = { ...env, ...changes }
  const contexts: ExecutionContext[] = []

  const fetch: OtherWorker['fetch'] = async (path, init) => {
    const context = createExecutionContext()
    contexts.push(context)
    const url = path.startsWith('/') ? `${ISSUER}${path}` : path
    const request = new Request<unknown, IncomingRequestCfProperties>(url, init)
    return worker.fetch(request, altered, context)
  }
  const send: OtherWorker['send'] = async (method, path, body = null, headers = {}) =>
    answerOf(await fetch(path, { method, headers, body }))

  return {
    fetch,
    send,
    post: (path, body, headers = {}) =>
      send('POST', path, JSON.stringify(body), { 'Content-Type': 'application/json', ...headers }),
    settled: async () => {
      for (const context of contexts.splice(0)) await waitOnExecutionContext(context)
    },
  }
}
