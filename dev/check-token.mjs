/**
 * An independent look at a token: nothing of the product, no library, only `node:crypto` and the served keys. The token comes on
 * standard input; `--issuer`, `--audience` and `--nonce` say what it must be. Prints one line of JSON, exits 0 only for a
 * token that passes every check.
 */
import { createHash, createPublicKey, verify } from 'node:crypto'
import { parseArgs } from 'node:util'

const SKEW = 5

const { values } = parseArgs({
  options: { issuer: { type: 'string' }, audience: { type: 'string' }, nonce: { type: 'string' } },
})

/** @param {boolean} holds @param {string} fault */
function demand(holds, fault) {
  if (!holds) throw new Error(fault)
}

/** @param {string} text @returns {Record<string, any>} */
function readPart(text) {
  const bytes = Buffer.from(text, 'base64url')
  demand(bytes.toString('base64url') === text, 'a part of the token is not base64url')
  return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
}

/** @param {string} issuer @param {string} kid */
async function findKey(issuer, kid) {
  const response = await fetch(`${issuer}/.well-known/jwks.json`)
  demand(response.status === 200, `the key set answered ${response.status}`)
  const { keys } = /** @type {{keys: Record<string, any>[]}} */ (await response.json())
  const named = keys.filter((key) => key.kid === kid)
  demand(named.length === 1, `${named.length} keys are named ${kid}`)
  const [jwk] = named
  demand(jwk.kty === 'EC' && jwk.crv === 'P-256', 'the key is not on P-256')
  demand(jwk.d === undefined, 'the key set shows a private key')
  demand(jwk.alg === undefined || jwk.alg === 'ES256', `the key is for ${jwk.alg}`)
  demand(jwk.use === undefined || jwk.use === 'sig', 'the key is not for signatures')
  return createPublicKey({ key: jwk, format: 'jwk' })
}

/** @param {string} token */
async function check(token) {
  const { issuer = '', audience, nonce } = values
  demand(issuer !== '' && !!audience && !!nonce, '--issuer, --audience and --nonce are needed')
  const parts = token.split('.')
  demand(parts.length === 3, 'a token has three parts')
  const [head = '', body = '', tail = ''] = parts
  const header = readPart(head)
  demand(header.alg === 'ES256', `alg is ${header.alg}`)
  demand(typeof header.kid === 'string' && header.kid !== '', 'there is no kid')
  demand(header.crit === undefined, 'there is a crit')

  const signature = Buffer.from(tail, 'base64url')
  demand(signature.length === 64, `the signature has ${signature.length} bytes`)
  const key = await findKey(issuer, header.kid)
  const signed = Buffer.from(`${head}.${body}`, 'ascii')
  const good = verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, signature)
  demand(good, 'the signature does not verify')

  const claims = readPart(body)
  const now = Date.now() / 1000
  demand(claims.iss === issuer, `iss is ${claims.iss}`)
  demand(claims.aud === audience, `aud is ${claims.aud}`)
  demand(claims.nonce === nonce, 'nonce is not that of this login')
  demand(typeof claims.sub === 'string' && claims.sub !== '', 'there is no sub')
  demand(Number.isInteger(claims.iat) && claims.iat <= now + SKEW, 'iat lies ahead')
  demand(Number.isInteger(claims.exp) && claims.exp > now, 'the token has expired')
  demand(claims.exp - claims.iat <= 3600, 'the token lives longer than an hour')
  const digest = createHash('sha256').update(token).digest('hex')
  return { claims, sha256: digest }
}

let token = ''
for await (const chunk of process.stdin) token += chunk
try {
  const { claims, sha256 } = await check(token.trim())
  console.log(JSON.stringify({ ok: true, sha256, claims }))
} catch (fault) {
  console.log(JSON.stringify({ ok: false, fault: fault instanceof Error ? fault.message : fault }))
  process.exitCode = 1
}
