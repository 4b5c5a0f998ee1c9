/**
 * The tests of the conformance tests: the same modules against a provider that is deliberately wrong in one way must fail, and by the
 * assertion that is about that way. Against the same proxy doing nothing they pass.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BASIC, type Module } from './basic.ts'
import { certify } from './certification.ts'
import { CONFIG } from './config.ts'
import { BACK_CHANNEL, LOGOUT } from './logout.ts'
import {
  type MutatedProvider,
  type Mutation,
  mutatedProvider,
  type Question,
  type Reply,
  withClaims,
  withJson,
  withLocation,
  without,
} from './mutated-provider.ts'
import type { Context } from './party.ts'
import { startOidcWorld, type World } from './world.ts'

const MODULES: Readonly<Record<string, Module>> = {
  ...BASIC,
  ...CONFIG,
  ...LOGOUT,
  ...BACK_CHANNEL,
}

let world: World
let provider: MutatedProvider
let contexts: Readonly<Record<Context['responseMode'], Context>>

beforeAll(async () => {
  world = await startOidcWorld({
    before: async (product) => {
      provider = await mutatedProvider(product)
      return provider
    },
  })
  contexts = await certify(world)
})

afterAll(() => world?.stop())

interface Mutant {
  readonly does: string
  readonly module: string
  /** The assertion that must notice it. */
  readonly noticed: string
  readonly mutation: Mutation
  readonly responseMode?: Context['responseMode']
}

/** Relying parties live on this machine's address, the provider at its name. */
const PARTY = 'http://127.0.0.1:'

const tokenAnswers = new Map<string, Reply>()
/** Who got a refresh token: its `Authorization`. */
const owners = new Map<string, string>()

const MUTANTS: readonly Mutant[] = [
  {
    does: 'forgets state',
    module: 'oidcc-server',
    noticed: 'answer: state comes back unchanged',
    mutation: { reply: (reply) => withLocation(reply, PARTY, (sent) => sent.delete('state')) },
  },
  {
    does: 'cuts a long state',
    module: 'oidcc-prompt-none-not-logged-in',
    noticed: 'answer: state comes back unchanged',
    mutation: {
      reply: (reply) =>
        withLocation(reply, PARTY, (sent) =>
          sent.set('state', (sent.get('state') ?? '').slice(0, 64)),
        ),
    },
  },
  {
    does: 'names another issuer in its answer',
    module: 'oidcc-server',
    noticed: 'answer: iss is the issuer',
    mutation: {
      reply: (reply) =>
        withLocation(reply, PARTY, (sent) => sent.set('iss', 'https://id.example.com')),
    },
  },
  {
    does: 'gives out short codes',
    module: 'oidcc-server',
    noticed: 'code: 128 bits long',
    mutation: { reply: (reply) => withLocation(reply, PARTY, (sent) => sent.set('code', '4711')) },
  },
  {
    does: 'repeats the nonce of somebody else',
    module: 'oidcc-server',
    noticed: 'id_token: nonce is exact',
    mutation: changedClaims((claims) => ({ ...claims, nonce: 'of another login' })),
  },
  {
    does: 'issues id_tokens for two audiences',
    module: 'oidcc-server',
    noticed: 'id_token: aud is the client',
    mutation: changedClaims((claims) => ({ ...claims, aud: [String(claims.aud), 'other'] })),
  },
  {
    does: 'binds an id_token to another access token',
    module: 'oidcc-server',
    noticed: 'id_token: at_hash',
    mutation: changedClaims((claims) => ({ ...claims, at_hash: 'A'.repeat(22) })),
  },
  {
    does: 'tells names that nobody asked for',
    module: 'oidcc-server',
    noticed: 'id_token: no claim that nobody asked for',
    mutation: changedClaims((claims) => ({ ...claims, name: 'Camille Martin' })),
  },
  {
    does: 'never tells a later auth_time',
    module: 'oidcc-prompt-login',
    noticed: 'second login: later auth_time',
    mutation: changedClaims((claims) => ({ ...claims, auth_time: 1_790_000_000 })),
  },
  {
    does: 'changes a claim after it was signed',
    module: 'oidcc-server',
    noticed: 'id_token: signature',
    mutation: {
      reply: (reply, { url }) =>
        url.pathname !== '/oidc/token'
          ? reply
          : withJson(reply, ({ id_token, ...rest }) => {
              const [header, payload = '', signature] = String(id_token).split('.')
              const claims = JSON.parse(Buffer.from(payload, 'base64url').toString())
              const forged = JSON.stringify({ ...claims, sub: 'somebody else' })
              const part = Buffer.from(forged).toString('base64url')
              return { ...rest, id_token: `${header}.${part}.${signature}` }
            }),
    },
  },
  {
    does: 'writes expires_in as text',
    module: 'oidcc-server',
    noticed: 'token: expires_in is a number',
    mutation: atToken((json) => ({ ...json, expires_in: String(json.expires_in) })),
  },
  {
    does: 'lets tokens be cached',
    module: 'oidcc-server',
    noticed: 'token: no-store',
    mutation: {
      reply: ({ headers, ...reply }, { url }) => {
        const changed = new Headers(headers)
        if (url.pathname === '/oidc/token') changed.set('Cache-Control', 'max-age=60')
        return { ...reply, headers: changed }
      },
    },
  },
  {
    does: 'takes a code twice',
    module: 'oidcc-codereuse',
    noticed: 'token: refused as invalid_grant',
    mutation: {
      reply: (reply, question) => {
        const code = codeIn(question)
        if (code === undefined) return reply
        const first = tokenAnswers.get(code) ?? reply
        tokenAnswers.set(code, first)
        return first
      },
    },
  },
  {
    does: 'keeps the access token alive after the second use of a code',
    module: 'oidcc-codereuse-30seconds',
    noticed: 'code: its access token dies with the second use',
    mutation: {
      reply: (reply, { url }) =>
        url.pathname === '/oidc/userinfo' ? { ...reply, status: 200 } : reply,
    },
  },
  {
    does: 'takes the refresh token of another client',
    module: 'oidcc-refresh-token',
    noticed: 'token: refused as invalid_grant',
    mutation: {
      question: (question) => {
        const owner = owners.get(new URLSearchParams(question.body).get('refresh_token') ?? '')
        if (owner === undefined) return question
        const headers = new Headers(question.headers)
        headers.set('Authorization', owner)
        return { ...question, headers }
      },
      reply: (reply, { url, headers }) => {
        if (url.pathname === '/oidc/token' && reply.status === 200) {
          const { refresh_token } = JSON.parse(reply.body)
          owners.set(refresh_token, headers.get('Authorization') ?? '')
        }
        return reply
      },
    },
  },
  {
    does: 'answers userinfo for somebody else',
    module: 'oidcc-userinfo-get',
    noticed: 'userinfo: sub is that of the id_token',
    mutation: {
      reply: (reply, { url }) =>
        url.pathname === '/oidc/userinfo'
          ? withJson(reply, (json) => ({ ...json, sub: 'somebody else' }))
          : reply,
    },
  },
  {
    does: 'follows an address that is not registered',
    module: 'oidcc-ensure-registered-redirect-uri',
    noticed: 'page error-redirect-uri: the browser stays at the provider',
    mutation: {
      reply: (reply, { url }) => {
        const target = url.searchParams.get('redirect_uri')
        if (url.pathname !== '/oidc/authorize' || target === null) return reply
        const headers = new Headers({ Location: `${target}?error=invalid_request` })
        return { status: 302, headers, body: '' }
      },
    },
  },
  {
    does: 'asks although prompt=none',
    module: 'oidcc-prompt-none-not-logged-in',
    noticed: 'answer: goes to the client, not to the page login-start',
    mutation: { question: (question) => without(question, 'prompt') },
  },
  {
    does: 'ignores request objects',
    module: 'oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported',
    noticed: 'answer: goes to the client, not to the page login-start',
    mutation: { question: (question) => without(question, 'request') },
  },
  {
    does: 'answers form_post in the query',
    module: 'oidcc-server',
    responseMode: 'form_post',
    noticed: 'form_post: the answer is a POST',
    mutation: { question: (question) => without(question, 'response_mode') },
  },
  {
    does: 'publishes a private key',
    module: 'oidcc-discovery-endpoint-verification',
    noticed: 'jwks: nothing private',
    mutation: {
      reply: (reply, { url }) =>
        url.pathname === '/.well-known/jwks.json'
          ? withJson(reply, ({ keys }) => ({
              keys: (keys as object[]).map((key) => ({ ...key, d: 'secret' })),
            }))
          : reply,
    },
  },
  {
    does: 'does not list RS256',
    module: 'oidcc-discovery-endpoint-verification',
    noticed: 'discovery: RS256 is listed',
    mutation: {
      reply: (reply, { url }) =>
        url.pathname === '/.well-known/openid-configuration'
          ? withJson(reply, (json) => ({
              ...json,
              id_token_signing_alg_values_supported: ['ES256'],
            }))
          : reply,
    },
  },
  {
    does: 'forgets state at logout',
    module: 'oidcc-rp-initiated-logout',
    noticed: 'logout: state comes back, and nothing else',
    mutation: {
      reply: (reply, { url }) =>
        url.pathname === '/oidc/end-session'
          ? withLocation(reply, PARTY, (sent) => sent.delete('state'))
          : reply,
    },
  },
  {
    does: 'leaves the person signed in at logout',
    module: 'oidcc-rp-initiated-logout',
    noticed: 'error: one that is expected',
    mutation: {
      reply: ({ headers, ...reply }, { url }) => {
        const changed = new Headers(headers)
        if (url.pathname === '/oidc/end-session') changed.delete('Set-Cookie')
        return { ...reply, headers: changed }
      },
    },
  },
  {
    does: 'tells no client of a logout',
    module: 'oidcc-backchannel-rp-initiated-logout',
    noticed: 'logout token: it is sent',
    mutation: {
      question: (question) =>
        question.url.pathname === '/oidc/end-session'
          ? { ...question, url: new URL(`/health${question.url.search}`, question.url) }
          : question,
      reply: (reply, { url }) => {
        if (url.pathname !== '/health') return reply
        const { post_logout_redirect_uri: target, state } = Object.fromEntries(url.searchParams)
        return {
          status: 303,
          headers: new Headers({ Location: `${target}?state=${state}` }),
          body: '',
        }
      },
    },
  },
]

describe('an honest proxy', () => {
  const runs = new Map(
    MUTANTS.map(({ module, responseMode = 'query' }) => [
      `${module} (${responseMode})`,
      { module, responseMode },
    ]),
  )
  test.each([...runs])('passes %s', async (_name, { module, responseMode }) => {
    provider.mutate({})
    await moduleCalled(module)(contexts[responseMode])
  })
})

describe('a mutated provider', () => {
  test.each(MUTANTS)(
    'that $does is noticed by $module',
    async ({ module, noticed, mutation, responseMode = 'query' }) => {
      provider.mutate(mutation)
      const verdict = moduleCalled(module)(contexts[responseMode])
      await expect(verdict).rejects.toThrow(new RegExp(noticed))
    },
  )
})

function moduleCalled(name: string): Module {
  const module = MODULES[name]
  if (module === undefined) throw new Error(`no module ${name}`)
  return module
}

function changedClaims(change: Parameters<typeof withClaims>[3]): Mutation {
  return { reply: (reply, question, tools) => withClaims(reply, question, tools, change) }
}

function atToken(change: (json: Readonly<Record<string, unknown>>) => object): Mutation {
  return {
    reply: (reply, { url }) =>
      url.pathname === '/oidc/token' && reply.status === 200 ? withJson(reply, change) : reply,
  }
}

/** The code that a client brings to the token endpoint. */
function codeIn({ url, body }: Question): string | undefined {
  if (url.pathname !== '/oidc/token') return undefined
  return new URLSearchParams(body).get('code') ?? undefined
}
