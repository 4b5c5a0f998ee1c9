/**
 * The access token for a resource (RFC 9068): a JWT that a gateway checks by itself from the JWKS. What it can't see there
 * (a revoked person, a dead grant) it asks by introspection, or waits for the end, which therefore comes soon.
 */
import * as v from 'valibot'
import { acrOf, levelOfAcr } from '../disclosure/acr.ts'
import type { Grant } from './grant.ts'

/** Nobody can call such a token back, so it is shorter than a token that comes home to be read. */
export const JWT_ACCESS_TOKEN_SECONDS = 600

/** Who acts for the person, the latest first (RFC 8693 section 4.1). */
export interface Actor {
  readonly sub: string
  readonly act?: Actor
}

export interface JwtAccessTokenAbout
  extends Pick<Grant, 'clientId' | 'sub' | 'scope' | 'trustLevel' | 'authTime'> {
  readonly issuer: string
  readonly resource: string
  /** See `TokenReference`. */
  readonly jti: string
  /** Granted claims, for clients that are registered to have them inside. */
  readonly claims: Grant['claims']
  readonly jkt: string | null
  readonly act: Actor | null
  /** Unix seconds. */
  readonly exp: number
}

/** The claims of RFC 9068 section 2.2; `now` in Unix seconds. No granted claim takes the place of one of the protocol's. */
export function jwtAccessTokenClaims(
  about: JwtAccessTokenAbout,
  now: number,
): Readonly<Record<string, unknown>> {
  const { issuer, resource, clientId, sub, scope, jti, claims, jkt, act, exp } = about
  return {
    ...claims,
    iss: issuer,
    sub,
    aud: resource,
    client_id: clientId,
    scope,
    iat: now,
    exp,
    auth_time: about.authTime,
    acr: acrOf(about.trustLevel),
    jti,
    ...(jkt === null ? {} : { cnf: { jkt } }),
    ...(act === null ? {} : { act }),
  }
}

const actorSchema: v.GenericSchema<unknown, Actor> = v.object({
  sub: v.string(),
  act: v.exactOptional(v.lazy(() => actorSchema)),
})

const payloadSchema = v.object({
  sub: v.string(),
  aud: v.string(),
  client_id: v.string(),
  scope: v.string(),
  iat: v.number(),
  exp: v.number(),
  auth_time: v.number(),
  acr: v.string(),
  jti: v.string(),
  cnf: v.exactOptional(v.object({ jkt: v.string() })),
  act: v.exactOptional(actorSchema),
})

export type JwtAccessToken = Omit<JwtAccessTokenAbout, 'issuer' | 'claims'> & {
  readonly iat: number
}

/** What the verified payload of an access token of ours says, or `undefined` when it is no such payload. */
export function readJwtAccessToken(payload: unknown): JwtAccessToken | undefined {
  const read = v.safeParse(payloadSchema, payload)
  if (!read.success) return undefined
  const { aud, client_id: clientId, auth_time: authTime, acr, cnf, act, ...rest } = read.output
  const trustLevel = levelOfAcr(acr)
  if (trustLevel === undefined) return undefined
  return {
    ...rest,
    ...{ resource: aud, clientId, authTime, trustLevel, jkt: cnf?.jkt ?? null, act: act ?? null },
  }
}
