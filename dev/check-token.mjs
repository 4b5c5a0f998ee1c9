/**
 * An independent look at a token: nothing of the product, no library, only `node:crypto` and the served keys. The token comes on
 * standard input; `--issuer`, `--audience` and `--nonce` say what it must be. With `--oidc` it is an id_token: the keys are found by
 * discovery, and the access token that came with it stands on the second line. Prints one line of JSON, exits 0 only for
 * a token that passes every check.
 */
import { createHash, createPublicKey, verify } from 'node:crypto'
import { parseArgs } from 'node:util'

const SKEW = 5

const { values } = parseArgs({
  options: {
    issuer: { type: 'string' },
    audience: { type: 'string' },
    nonce: { type: 'string' },
    oidc: { type: 'boolean', default: false },
  },
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

/** @param {string} address @returns {Promise<Record<string, any>>} */
async function getJson(address) {
  const response = await fetch(address)
  demand(response.status === 200, `${address} answered ${response.status}`)
  return /** @type {Promise<Record<string, any>>} */ (response.json())
}

/** Where the keys are: at the fixed address, or where discovery says. @param {string} issuer */
async function keySetOf(issuer) {
  if (!values.oidc) return `${issuer}/.well-known/jwks.json`
  const metadata = await getJson(`${issuer}/.well-known/openid-configuration`)
  demand(metadata.issuer === issuer, `discovery is that of ${metadata.issuer}`)
  const algs = metadata.id_token_signing_alg_values_supported
  demand(Array.isArray(algs) && algs.includes('ES256'), 'discovery does not list ES256')
  return String(metadata.jwks_uri)
}

/** @param {string} issuer @param {string} kid */
async function findKey(issuer, kid) {
  /** @type {{keys?: Record<string, any>[]}} */
  const { keys = [] } = await getJson(await keySetOf(issuer))
  const named = keys.filter((key) => key.kid === kid)
  demand(named.length === 1, `${named.length} keys are named ${kid}`)
  const [jwk] = named
  demand(jwk.kty === 'EC' && jwk.crv === 'P-256', 'the key is not on P-256')
  demand(jwk.d === undefined, 'the key set shows a private key')
  demand(jwk.alg === undefined || jwk.alg === 'ES256', `the key is for ${jwk.alg}`)
  demand(jwk.use === undefined || jwk.use === 'sig', 'the key is not for signatures')
  return createPublicKey({ key: jwk, format: 'jwk' })
}

/** The claims that only an id_token has (OpenID Connect Core sections 2 and 3.1.3.6). @param {Record<string, any>} claims @param {string} accessToken */
function checkIdToken(claims, accessToken) {
  const digest = createHash('sha256').update(accessToken, 'ascii').digest()
  const half = digest.subarray(0, 16).toString('base64url')
  demand(accessToken !== '' && claims.at_hash === half, 'at_hash is of another access token')
  demand(Number.isInteger(claims.auth_time), 'there is no auth_time')
  demand(claims.auth_time <= claims.iat, 'auth_time lies after iat')
  demand(claims.azp === undefined || claims.azp === values.audience, `azp is ${claims.azp}`)
}

/** @param {string} token @param {string} accessToken */
async function check(token, accessToken) {
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
  if (values.oidc) checkIdToken(claims, accessToken)
  const digest = createHash('sha256').update(token).digest('hex')
  return { claims, sha256: digest }
}

let input = ''
for await (const chunk of process.stdin) input += chunk
const [token = '', accessToken = ''] = input.split('\n').map((line) => line.trim())
try {
  const { claims, sha256 } = await check(token, accessToken)
  console.log(JSON.stringify({ ok: true, sha256, claims }))
} catch (fault) {
  console.log(JSON.stringify({ ok: false, fault: fault instanceof Error ? fault.message : fault }))
  process.exitCode = 1
}
