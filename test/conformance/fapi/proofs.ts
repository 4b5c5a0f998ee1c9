/** The modules about DPoP: what proofs must look like, and what they tie to a key (4-oidc section 5.6, RFC 9449). */
import { expect } from 'vitest'
import { type Changes, endpoint, randomText } from '../oidc/party.ts'
import { checkPushed, checkRefusal, checkRefusedAccess } from './checks.ts'
import {
  ask,
  authorize,
  begin,
  finish,
  type Manner,
  orderOf,
  push,
  type Run,
  redeem,
  type SignedIn,
  signIn,
  use,
} from './flow.ts'
import { type ClientAlg, hashOf, makeKey, type SigningKey } from './keys.ts'
import {
  type AccessChanges,
  type FapiContext,
  type FapiModule,
  type NonceJar,
  type ProofChanges,
  secondsNow,
} from './party.ts'

export const PROOFS: Readonly<Record<string, FapiModule>> = {
  async 'access-token-type-header-case-sensitivity'(context) {
    const run = await begin(context)
    const signedIn = await signIn(run)
    for (const scheme of ['dpop', 'DPOP', 'dPoP']) await use(run, signedIn, { scheme })
  },

  async 'check-dpop-proof-nbf-exp'(context) {
    const now = secondsNow()
    await expectTaken(await begin(context), { claims: { nbf: now - 10, exp: now + 120 } })
  },

  async 'ensure-dpopproof-with-iat-10seconds-before-succeeds'(context) {
    await expectTaken(await begin(context), { claims: { iat: secondsNow() - 10 } })
  },

  async 'ensure-dpopproof-with-iat-10seconds-after-succeeds'(context) {
    await expectTaken(await begin(context), { claims: { iat: secondsNow() + 10 } })
  },

  async 'ensure-mismatched-dpop-jkt-fails'(context) {
    const run = await begin(context)
    const { request } = orderOf(run, { dpop_jkt: makeKey().thumbprint })
    const answer = await push(run, request, { proof: {} })
    checkRefusal(answer, 'par: dpop_jkt of another key than the proof', [
      'invalid_dpop_proof',
      'invalid_request',
    ])
  },

  async 'ensure-token-endpoint-fails-with-mismatched-dpop-proof-jkt'(context) {
    await expectBound(await begin(context), {}, { proof: {} })
  },

  async 'ensure-token-endpoint-fails-with-mismatched-dpop-jkt'(context) {
    const run = await begin(context)
    await expectBound(run, { dpop_jkt: run.key.thumbprint })
  },

  async 'ensure-dpopproof-at-par-endpoint-binding-success'(context) {
    await signIn(await begin(context), {}, { proof: {} })
  },

  async 'ensure-dpop-auth-code-binding-success'(context) {
    const run = await begin(context)
    await signIn(run, { dpop_jkt: run.key.thumbprint })
  },

  async 'ensure-holder-of-key-required'(context) {
    const run = await begin(context)
    const approved = await authorize(run)
    const answer = await redeem(run, approved, {}, { proof: null })
    checkRefusal(answer, 'token: without a proof', [
      'invalid_dpop_proof',
      'invalid_request',
      'invalid_grant',
    ])
    await finish(run, approved)
  },
}

/** Where the proofs of the list are tried: a token that works, tied to a P-256 key and to an RSA key. */
export interface Bench {
  readonly ES256: Trial
  readonly PS256: Trial
}

interface Trial {
  readonly run: Run
  readonly signedIn: SignedIn
}

export async function setUpBench(context: FapiContext): Promise<Bench> {
  const trial = async (alg: ClientAlg): Promise<Trial> => {
    const run = { ...(await begin(context)), key: makeKey(alg) }
    return { run, signedIn: await signIn(run) }
  }
  return { ES256: await trial('ES256'), PS256: await trial('PS256') }
}

/** A proof at userinfo. */
export interface Proof {
  readonly title: string
  /** Whether it must be taken. */
  readonly taken: boolean
  readonly changes: (run: Run) => AccessChanges
  /** The key that the token is tied to. */
  readonly alg?: keyof Bench
  /** Signs in place of the key that the token is tied to. */
  readonly signer?: SigningKey
  /** It is good for the first time. */
  readonly twice?: true
}

const HOUR = 3600

/** The list of `dpop-negative-tests`. What the certification suite only warns of must hold here as well. */
export const PROOF_LIST: readonly Proof[] = [
  refused('two DPoP headers', () => ({ sent: (one, two) => ({ DPoP: [one, two] }) })),
  refused('a malformed JWT', () => ({ bend: (proof) => proof.replace('.', '') })),
  refused('no typ', () => ({ header: { typ: undefined } })),
  refused('no alg', () => ({ header: { alg: undefined } })),
  refused('no jwk', () => ({ header: { jwk: undefined } })),
  refused('no jti', () => ({ claims: { jti: undefined } })),
  refused('no htm', () => ({ claims: { htm: undefined } })),
  refused('no htu', () => ({ claims: { htu: undefined } })),
  refused('no iat', () => ({ claims: { iat: undefined } })),
  refused('no ath', () => ({ claims: { ath: undefined } })),
  refused('a wrong typ', () => ({ header: { typ: 'JWT' } })),
  refused('alg RS256', () => ({ header: { alg: 'RS256' }, alg: 'RS256' }), { alg: 'PS256' }),
  refused('alg none', () => ({ header: { alg: 'none' }, alg: 'none' })),
  refused('a bad signature', () => ({ bend: withOtherSignature })),
  refused('a private key in jwk', ({ key }) => ({
    header: { jwk: key.privateKey.export({ format: 'jwk' }) },
  })),
  refused('a wrong htm', () => ({ claims: { htm: 'PUT' } })),
  refused('the htu of another endpoint', (run) => ({
    claims: { htu: endpoint(run.provider.metadata, 'token_endpoint') },
  })),
  refused('the htu of another host', (run) => ({
    claims: { htu: htuOf(run).replace('localhost', 'other.example.com') },
  })),
  refused('an iat an hour ahead', () => ({ claims: { iat: secondsNow() + HOUR } })),
  refused('an iat an hour ago', () => ({ claims: { iat: secondsNow() - HOUR } })),
  refused('a wrong ath', () => ({ claims: { ath: hashOf('another token') } })),
  refused('another key', () => ({}), { signer: makeKey() }),
  refused('no proof', () => ({ sent: () => ({}) })),
  refused('no proof, and the token sent as Bearer', () => ({
    scheme: 'Bearer',
    sent: () => ({}),
  })),
  refused('a proof, and the token sent as Bearer', () => ({ scheme: 'Bearer' })),
  refused('the second use of a jti', () => ({ claims: { jti: randomText(22) } }), { twice: true }),
  taken('htu with query and fragment', (run) => ({
    claims: { htu: `${htuOf(run)}?one=1#two` },
  })),
  taken('an address with a query, htu without', () => ({ query: '?one=1' })),
  taken('extra members in header and claims', () => ({
    header: { extra: 'one' },
    claims: { extra: { two: 2 } },
  })),
  taken('the header name in capitals', () => ({ sent: (proof) => ({ DPOP: proof }) })),
  taken('scheme and host of htu in capitals', (run) => ({
    claims: { htu: htuOf(run).replace('http://localhost', 'HTTP://LOCALHOST') },
  })),
  taken('a correct proof', () => ({})),
  taken('a correct proof of an RSA key', () => ({}), { alg: 'PS256' }),
]

type Special = Pick<Proof, 'alg' | 'signer' | 'twice'>

function refused(title: string, changes: Proof['changes'], special: Special = {}): Proof {
  return { title, taken: false, changes, ...special }
}

function taken(title: string, changes: Proof['changes'], special: Special = {}): Proof {
  return { title, taken: true, changes, ...special }
}

/** Sends one proof of the list, and afterwards a good one, so that a refusal was about the proof and not the token. */
export async function tryProof(
  bench: Bench,
  { title, taken, changes, alg = 'ES256', signer, twice }: Proof,
): Promise<void> {
  const { run, signedIn } = bench[alg]
  // Of its own: who sends a nonce that isn't the provider's is asked for a better one.
  const alone = { ...run, jar: { ...run.jar } }
  const sent = changes(alone)
  if (taken || twice) await use(alone, signedIn, sent)
  if (!taken) {
    const answer = await ask(alone, signedIn.accessToken, sent, signer)
    checkRefusedAccess(answer, `proof: ${title}`)
  }
  await use(run, signedIn)
}

function htuOf({ provider }: Run): string {
  return endpoint(provider.metadata, 'userinfo_endpoint')
}

/** Another character in the middle of the signature; its last one holds bits that don't count. */
function withOtherSignature(proof: string): string {
  const at = proof.lastIndexOf('.') + 20
  return proof.slice(0, at) + (proof[at] === 'A' ? 'B' : 'A') + proof.slice(at + 1)
}

/** A changed proof must do at every endpoint that takes one. */
async function expectTaken(run: Run, proof: ProofChanges): Promise<void> {
  const approved = await authorize(run, {}, { proof })
  const signedIn = await finish(run, approved, { proof })
  await use(run, signedIn, proof)
}

/** A code that was bound before is refused to any other key, and stays good for its own. */
async function expectBound(run: Run, changes: Changes, manner: Manner = {}): Promise<void> {
  const approved = await authorize(run, changes, manner)
  const answer = await redeem(run, approved, {}, { key: makeKey() })
  checkRefusal(answer, 'token: the proof of another key', ['invalid_grant', 'invalid_dpop_proof'])
  await finish(run, approved)
}

/** What the plan doesn't send, and RFC 9449 says of proofs elsewhere than at userinfo. */
export const MORE_PROOFS: Readonly<Record<string, FapiModule>> = {
  async 'a proof for one endpoint is nothing at another'(context) {
    const run = await begin(context)
    const approved = await authorize(run)
    for (const [what, proof] of Object.entries({
      'the htu of userinfo': { claims: { htu: htuOf(run) } },
      'the method GET': { claims: { htm: 'GET' } },
      'an iat an hour ago': { claims: { iat: secondsNow() - HOUR } },
      'alg none': { header: { alg: 'none' }, alg: 'none' as const },
      'a bad signature': { bend: withOtherSignature },
    })) {
      const answer = await redeem(run, approved, {}, { proof })
      checkRefusal(answer, `token: ${what}`, ['invalid_dpop_proof'])
      const { request } = orderOf(run)
      checkRefusal(await push(run, request, { proof }), `par: ${what}`, ['invalid_dpop_proof'])
    }
    await finish(run, approved)
  },

  async 'a jti is good once at the token endpoint'(context) {
    const run = await begin(context)
    const proof = { claims: { jti: randomText(22) } }
    const approved = await authorize(run)
    await finish(run, approved, { proof })
    const again = await redeem(run, await authorize(run), {}, { proof })
    checkRefusal(again, 'token: the second use of a jti', ['invalid_dpop_proof'])
  },

  async 'the nonce of the provider is demanded, and the challenge spends nothing'(context) {
    const run = await begin(context)
    const approved = await authorize(run)
    // No nonce is known yet: code and assertion go twice, the second time with it.
    const { accessToken } = await finish(run, approved)
    expect(run.jar.challenges, 'nonce: it was demanded at the token endpoint, once').toBe(1)
    for (const [what, value] of Object.entries({ none: undefined, foreign: randomText(43) })) {
      const jar: NonceJar = { challenges: 0, ...(value === undefined ? {} : { value }) }
      const { status } = await ask({ ...run, jar }, accessToken)
      expect(status, `userinfo: after its challenge to ${what}`).toBe(200)
      expect(jar.challenges, `nonce: it was demanded at userinfo, having ${what}`).toBe(1)
    }
    const another = await begin(context)
    checkPushed(await push(another, orderOf(another).request, { proof: {} }))
    expect(another.jar.challenges, 'nonce: it was demanded at par').toBe(1)
  },
}
