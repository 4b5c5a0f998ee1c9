/**
 * The tests of the FAPI tests: the same modules against a provider that is deliberately wrong in one way must fail, and by the
 * assertion that is about that way. Against the same proxy doing nothing they pass.
 */
import { generateKeyPairSync } from 'node:crypto'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type MutatedProvider,
  type Mutation,
  mutatedProvider,
  type Question,
  type Reply,
  withJson,
  withLocation,
} from '../oidc/mutated-provider.ts'
import { challengeOf } from '../oidc/party.ts'
import { startOidcWorld, type World } from '../oidc/world.ts'
import { certifyFapi } from './certification.ts'
import type { FapiContext } from './party.ts'
import { BEYOND, MODULES } from './plan.ts'
import { type Bench, PROOF_LIST, setUpBench, tryProof } from './proofs.ts'

let world: World
let provider: MutatedProvider
let context: FapiContext
let bench: Bench

beforeAll(async () => {
  world = await startOidcWorld({
    before: async (product) => {
      provider = await mutatedProvider(product)
      return provider
    },
  })
  context = await certifyFapi(world)
  bench = await setUpBench(context)
})

afterAll(() => world?.stop())

interface Mutant {
  readonly does: string
  /** A module, or a proof of the list. */
  readonly module: string
  /** The assertion that must notice it. */
  readonly noticed: string
  readonly mutation: Mutation
}

const ASSERTION = 'client_assertion'
const PAR = '/oidc/par'
const TOKEN = '/oidc/token'
const AUTHORIZE = '/oidc/authorize'
const USERINFO = '/oidc/userinfo'

/** Relying parties live on this machine's address, the provider at its name. */
const PARTY = 'http://127.0.0.1:'

/** Who pushed a reference. */
const owners = new Map<string, string>()
/** Assertions that came with a proof without nonce. */
const challenged = new Set<string>()
/** A page of a login, to show it where none should be. */
let loginPage: Reply | undefined

const MUTANTS: readonly Mutant[] = [
  {
    does: 'takes a list of audiences',
    module: 'par-test-array-as-audience-fails',
    noticed: 'par: the assertion: is refused',
    mutation: takesPushed((form) => Array.isArray(decodeJwt(form.get(ASSERTION) ?? '').aud)),
  },
  {
    does: 'takes the token endpoint for an audience',
    module: 'par-test-token-endpoint-url-as-audience-fails',
    noticed: 'par: the assertion: is refused',
    mutation: takesPushed((form) =>
      String(decodeJwt(form.get(ASSERTION) ?? '').aud).endsWith(TOKEN),
    ),
  },
  {
    does: 'takes RS256',
    module: 'ensure-signed-client-assertion-with-RS256-fails',
    noticed: 'par: the assertion: is refused',
    mutation: takesPushed(
      (form) => decodeProtectedHeader(form.get(ASSERTION) ?? '').alg === 'RS256',
    ),
  },
  {
    does: 'does not remember assertions',
    module: 'an assertion is good once, also at another endpoint',
    noticed: 'par: an assertion for the second time: is refused',
    mutation: takesPushed(() => true),
  },
  {
    does: 'spends the assertion on the challenge for a nonce',
    module: 'ensure-dpopproof-at-par-endpoint-binding-success',
    noticed: 'par: status 201',
    mutation: {
      reply: (reply, { url, body }) => {
        const assertion = new URLSearchParams(body).get(ASSERTION) ?? ''
        if (url.pathname !== PAR || assertion === '') return reply
        if (challenged.has(assertion)) return withError(reply, 401, 'invalid_client')
        if (errorIn(reply) === 'use_dpop_nonce') challenged.add(assertion)
        return reply
      },
    },
  },
  {
    does: 'does not demand its nonce',
    module: 'the nonce of the provider is demanded, and the challenge spends nothing',
    noticed: 'nonce: it was demanded at userinfo',
    mutation: takesProofs((error) => error === 'use_dpop_nonce'),
  },
  {
    does: 'demands a nonce and keeps it to itself',
    module: 'happy-flow',
    noticed: 'nonce: the challenge brings one',
    mutation: {
      reply: ({ headers, ...reply }) => {
        const changed = new Headers(headers)
        changed.delete('DPoP-Nonce')
        return { ...reply, headers: changed }
      },
    },
  },
  ...[
    ...['no jti', 'no ath', 'a wrong ath', 'a wrong htm', 'the htu of another host'],
    ...['an iat an hour ago', 'alg none', 'alg RS256', 'a private key in jwk', 'another key'],
    ...['two DPoP headers', 'the second use of a jti', 'no proof, and the token sent as Bearer'],
  ].map((proof) => ({
    does: `takes at userinfo: ${proof}`,
    module: proof,
    noticed: `proof: ${proof}: is refused`,
    mutation: takesProofs((error) => error !== 'use_dpop_nonce'),
  })),
  {
    does: 'refuses proofs with members that it does not know',
    module: 'extra members in header and claims',
    noticed: 'userinfo: status 200',
    mutation: {
      reply: (reply, { url, headers }) => {
        const proof = headers.get('DPoP')
        if (url.pathname !== USERINFO || proof === null) return reply
        const isKnown = decodeProtectedHeader(proof).extra === undefined
        return isKnown ? reply : withError(reply, 401, 'invalid_dpop_proof')
      },
    },
  },
  {
    does: 'ignores dpop_jkt',
    module: 'ensure-token-endpoint-fails-with-mismatched-dpop-jkt',
    noticed: 'token: the proof of another key: is refused',
    mutation: atPar((form) => form.delete('dpop_jkt')),
  },
  {
    does: 'does not compare dpop_jkt with the proof',
    module: 'ensure-mismatched-dpop-jkt-fails',
    noticed: 'par: dpop_jkt of another key than the proof: is refused',
    mutation: atPar((form) => form.delete('dpop_jkt')),
  },
  {
    does: 'ignores the proof of a pushed request',
    module: 'ensure-token-endpoint-fails-with-mismatched-dpop-proof-jkt',
    noticed: 'token: the proof of another key: is refused',
    mutation: {
      question: (question) => {
        const headers = new Headers(question.headers)
        if (question.url.pathname === PAR) headers.delete('DPoP')
        return { ...question, headers }
      },
    },
  },
  {
    does: 'gives tokens without a proof',
    module: 'ensure-holder-of-key-required',
    noticed: 'token: without a proof: is refused',
    mutation: {
      reply: (reply, { url, headers }) =>
        url.pathname === TOKEN && !headers.has('DPoP') ? { ...reply, status: 200 } : reply,
    },
  },
  {
    does: 'calls a bound token Bearer',
    module: 'ensure-other-scope-order-succeeds',
    noticed: 'token: token_type is DPoP',
    mutation: atToken((json) => ({ ...json, token_type: 'Bearer' })),
  },
  {
    does: 'gives out short refresh tokens',
    module: 'attempt-reuse-authorization-code-after-one-second',
    noticed: 'token: refresh token: 128 bits long',
    mutation: atToken((json) => ({ ...json, refresh_token: '4711' })),
  },
  {
    does: 'takes a request from the front channel',
    module: 'ensure-unsigned-authorization-request-without-using-par-fails',
    noticed: 'page error-request: its id',
    mutation: showsLoginPage((page) => page.includes('error-request"')),
  },
  {
    does: 'takes a reference again after the login',
    module: 'par-attempt-reuse-request_uri',
    noticed: 'page error-request-uri: its id',
    mutation: showsLoginPage((page) => page.includes('error-request-uri"')),
  },
  {
    does: 'does not compare who pushed a reference',
    module: 'par-attempt-to-use-request_uri-for-different-client',
    noticed: 'page error-request-uri: its id',
    mutation: {
      question: (question) => {
        const owner = owners.get(question.url.searchParams.get('request_uri') ?? '')
        const url = new URL(question.url)
        if (url.pathname === AUTHORIZE && owner !== undefined) {
          url.searchParams.set('client_id', owner)
        }
        return { ...question, url }
      },
      reply: (reply, { url, body }) => {
        if (url.pathname === PAR && reply.status === 201) {
          const clientId = new URLSearchParams(body).get('client_id') ?? ''
          owners.set(JSON.parse(reply.body).request_uri, clientId)
        }
        return reply
      },
    },
  },
  {
    does: 'lets PKCE be left out',
    module: 'par-ensure-pkce-required',
    noticed: 'par: the request: is refused',
    mutation: atPar((form) => {
      form.set('code_challenge', form.get('code_challenge') ?? challengeOf('v'.repeat(43)))
      form.set('code_challenge_method', 'S256')
    }),
  },
  {
    does: 'takes plain PKCE',
    module: 'par-plain-pkce-rejected',
    noticed: 'par: the request: is refused',
    mutation: atPar((form) => {
      if (form.get('code_challenge_method') !== 'plain') return
      form.set('code_challenge', challengeOf(form.get('code_challenge') ?? ''))
      form.set('code_challenge_method', 'S256')
    }),
  },
  {
    does: 'drops a request_uri from a pushed request',
    module: 'par-authorization-request-containing-request_uri-form-param',
    noticed: 'par: the request: is refused',
    mutation: atPar((form) => form.delete('request_uri')),
  },
  {
    does: 'hears a GET as a pushed request',
    module: 'par-attempt-invalid-http-method',
    noticed: 'par: GET is 405',
    mutation: {
      reply: (reply, { url, method }) =>
        url.pathname === PAR && method === 'GET' ? { ...reply, status: 400 } : reply,
    },
  },
  {
    does: 'answers a pushed request with 200',
    module: 'happy-flow',
    noticed: 'par: status 201',
    mutation: {
      reply: (reply, { url }) =>
        url.pathname === PAR && reply.status === 201 ? { ...reply, status: 200 } : reply,
    },
  },
  {
    does: 'lets a reference live for two seconds',
    module: 'happy-flow',
    noticed: 'par: expires_in of 5 s or more',
    mutation: {
      reply: (reply, { url }) =>
        url.pathname === PAR && reply.status === 201
          ? withJson(reply, (json) => ({ ...json, expires_in: 2 }))
          : reply,
    },
  },
  {
    does: 'forgets iss',
    module: 'user-rejects-authentication',
    noticed: 'answer: iss is the issuer',
    mutation: { reply: (reply) => withLocation(reply, PARTY, (sent) => sent.delete('iss')) },
  },
  {
    does: 'sends back a state that was not pushed',
    module: 'state-only-outside-request-object-not-used',
    noticed: 'answer: state comes back unchanged',
    mutation: {
      reply: (reply) => withLocation(reply, PARTY, (sent) => sent.set('state', 'of the address')),
    },
  },
  {
    does: 'publishes a short RSA key',
    module: 'discovery-end-point-verification',
    noticed: 'jwks: RSA keys of 2048 bits',
    mutation: {
      reply: (reply, { url }) =>
        url.pathname === '/.well-known/jwks.json'
          ? withJson(reply, ({ keys }) => ({ keys: [...(keys as object[]), shortKey()] }))
          : reply,
    },
  },
  {
    does: 'lists RS256 for proofs',
    module: 'discovery-end-point-verification',
    noticed: 'discovery: dpop_signing_alg_values_supported holds good ones only',
    mutation: {
      reply: (reply, { url }) =>
        url.pathname === '/.well-known/openid-configuration'
          ? withJson(reply, (json) => ({
              ...json,
              dpop_signing_alg_values_supported: ['ES256', 'RS256'],
            }))
          : reply,
    },
  },
]

describe('an honest proxy', () => {
  test.each([...new Set(MUTANTS.map(({ module }) => module))])('passes %s', async (module) => {
    provider.mutate(NOTHING)
    await run(module)
  })
})

describe('a mutated provider', () => {
  test.each(MUTANTS)('that $does is noticed by $module', async ({ module, noticed, mutation }) => {
    provider.mutate(mutation)
    await expect(run(module)).rejects.toThrow(noticed)
  })
})

/** Changes nothing, and keeps a login page for later. */
const NOTHING: Mutation = {
  reply: (reply, { url }) => {
    if (url.pathname === AUTHORIZE && reply.body.includes('id="login-start"')) loginPage = reply
    return reply
  },
}

async function run(name: string): Promise<void> {
  const proof = PROOF_LIST.find(({ title }) => title === name)
  if (proof !== undefined) return tryProof(bench, proof)
  const module = Object.assign({}, ...Object.values(MODULES), BEYOND)[name]
  if (module === undefined) throw new Error(`no module ${name}`)
  return module(context)
}

/** Takes what is refused of pushed requests with such a form. */
function takesPushed(which: (form: URLSearchParams) => boolean): Mutation {
  const body = { request_uri: 'urn:ietf:params:oauth:request_uri:4711', expires_in: 60 }
  return {
    reply: (reply, question) =>
      question.url.pathname === PAR && reply.status === 401 && which(formOf(question))
        ? { ...reply, status: 201, body: JSON.stringify(body) }
        : reply,
  }
}

/** Answers at userinfo what is refused with such an error. */
function takesProofs(which: (error: unknown) => boolean): Mutation {
  return {
    reply: (reply, { url }) => {
      if (url.pathname !== USERINFO || reply.status !== 401 || !which(errorIn(reply))) return reply
      const headers = new Headers(reply.headers)
      headers.delete('WWW-Authenticate')
      return { status: 200, headers, body: JSON.stringify({ sub: context.person.tokenId }) }
    },
  }
}

function showsLoginPage(where: (page: string) => boolean): Mutation {
  return {
    reply: (reply, { url }) =>
      url.pathname === AUTHORIZE && where(reply.body) ? (loginPage ?? reply) : reply,
  }
}

function atPar(change: (form: URLSearchParams) => void): Mutation {
  return {
    question: (question) => {
      if (question.url.pathname !== PAR || question.method !== 'POST') return question
      const form = formOf(question)
      change(form)
      return { ...question, body: form.toString() }
    },
  }
}

function atToken(change: (json: Readonly<Record<string, unknown>>) => object): Mutation {
  return {
    reply: (reply, { url }) =>
      url.pathname === TOKEN && reply.status === 200 ? withJson(reply, change) : reply,
  }
}

function formOf({ body }: Question): URLSearchParams {
  return new URLSearchParams(body)
}

function errorIn({ body }: Reply): unknown {
  return body.startsWith('{') ? JSON.parse(body).error : undefined
}

function withError(reply: Reply, status: number, error: string): Reply {
  return { ...reply, status, body: JSON.stringify({ error }) }
}

function shortKey(): object {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 1024 })
  return { ...publicKey.export({ format: 'jwk' }), kid: 'short', use: 'sig', alg: 'RS256' }
}
