/** `POST /oidc/token` (RFC 6749 section 3.2). */
import type { Hono } from 'hono'
import { json } from '../../http/problem.ts'
import { ok } from '../../result.ts'
import { type ClientRoutesHouse, clientRoutes } from '../client/routes.ts'
import { PATHS } from '../paths.ts'
import type { TokenHouse } from './grant-type.ts'
import { answerTokenRequest } from './pipeline.ts'

export type TokenRoutesHouse = TokenHouse & ClientRoutesHouse

/** What this endpoint reads; others are ignored, however often they come. */
const PARAMETERS = [
  ...['grant_type', 'code', 'redirect_uri', 'code_verifier', 'refresh_token', 'scope'],
  ...['subject_token', 'subject_token_type', 'actor_token', 'actor_token_type'],
  'requested_token_type',
]

export function tokenRoutes(house: TokenRoutesHouse): Hono {
  return clientRoutes(house, {
    where: 'token',
    path: PATHS.token,
    parameters: PARAMETERS,
    dpop: true,
    forPages: true,
    answer: async (request) => {
      const answered = await answerTokenRequest(house, request)
      return answered.ok ? ok(json(answered.value)) : answered
    },
  })
}
