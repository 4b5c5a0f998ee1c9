import * as v from 'valibot'
import { concat } from '../bytes.ts'
import { ok, type Result, refuse } from '../result.ts'
import { type Parameters, parametersOf } from './parameters.ts'
import { type ProblemCode, problem } from './problem.ts'

/** Body limits in bytes (5-security section 1); enforced while reading, not after. */
export const BODY_LIMIT = {
  api: 16 * 1024,
  /** A form of ours carries its ticket along. */
  page: 32 * 1024,
  enrollment: 64 * 1024,
  list: 1024 * 1024 + 1024,
} as const

interface BodyFault {
  readonly code: Extract<
    ProblemCode,
    'invalid_request' | 'payload_too_large' | 'unsupported_media_type'
  >
  readonly member?: string
}

/**
 * The JSON body of `request`, validated into a fresh object by `schema`, or the problem to answer with.
 * Content-Type is compulsory: without the rule a form on any site could post here (5-security 2, 17).
 */
export async function readJson<const S extends v.GenericSchema>(
  request: Request,
  schema: S,
  limit: number = BODY_LIMIT.api,
): Promise<Result<v.InferOutput<S>, Response>> {
  const body = await parseJson(request, limit)
  if (!body.ok) return refuse(answer(body.reason))
  const parsed = v.safeParse(schema, body.value)
  if (!parsed.success) {
    const member = memberAt(parsed.issues[0])
    const known = member !== undefined && isKnownMember(schema, member.split(/[.[]/)[0] ?? '')
    return refuse(answer({ code: 'invalid_request', ...(known ? { member } : {}) }))
  }
  return ok(parsed.output)
}

/**
 * The member at fault, like `oidc.jwks.keys[0].kid`. Members of the schema may be named back; an unknown one is the caller's
 * text and is not echoed: the member that holds it is named.
 */
function memberAt({ type, expected, path }: v.BaseIssue<unknown>): string | undefined {
  const isUnknown = type === 'strict_object' && expected === 'never'
  const keys = path?.slice(0, isUnknown ? -1 : undefined).map(({ key }) => key) ?? []
  const text = keys.map((key) => (typeof key === 'number' ? `[${key}]` : `.${key}`)).join('')
  return text === '' ? undefined : text.slice(1)
}

export type FormFault = 'unsupported_media_type' | 'payload_too_large' | 'malformed'

/**
 * The parameters of a form that was posted, or why it is none. The caller words the answer, because an OAuth endpoint, a
 * hosted page and our own API each have a form of their own. `multiline` as in `parametersOf`.
 */
export async function readForm(
  request: Request,
  limit: number = BODY_LIMIT.api,
  multiline: readonly string[] = [],
): Promise<Result<Parameters, FormFault>> {
  if (!hasType(request, 'application/x-www-form-urlencoded')) {
    return refuse('unsupported_media_type')
  }
  const bytes = await readLimited(request.body, limit)
  if (bytes === undefined) return refuse('payload_too_large')
  const text = textOf(bytes)
  const parameters = text === undefined ? undefined : parametersOf(text, multiline)
  return parameters === undefined ? refuse('malformed') : ok(parameters)
}

function answer(fault: BodyFault): Response {
  return problem(fault.code, fault.member === undefined ? {} : { member: fault.member })
}

function isKnownMember(schema: v.GenericSchema, member: string): boolean {
  return (
    'entries' in schema &&
    typeof schema.entries === 'object' &&
    schema.entries !== null &&
    Object.hasOwn(schema.entries, member)
  )
}

async function parseJson(request: Request, limit: number): Promise<Result<unknown, BodyFault>> {
  if (!hasType(request, 'application/json')) return refuse({ code: 'unsupported_media_type' })
  const bytes = await readLimited(request.body, limit)
  if (bytes === undefined) return refuse({ code: 'payload_too_large' })
  try {
    const value: unknown = JSON.parse(textOf(bytes) ?? '')
    // A schema of an object without members would take a list for one.
    return Array.isArray(value) ? refuse({ code: 'invalid_request' }) : ok(value)
  } catch {
    return refuse({ code: 'invalid_request' })
  }
}

/** Whether the body is of media `type`, whatever its parameters, and not compressed (5-security 17). */
function hasType(request: Request, type: string): boolean {
  const essence = (request.headers.get('Content-Type') ?? '').split(';')[0] ?? ''
  return essence.trim().toLowerCase() === type && !request.headers.has('Content-Encoding')
}

/** `bytes` as UTF-8, or `undefined` when they aren't. A byte order mark is text like any other. */
function textOf(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}

async function readLimited(
  body: ReadableStream<Uint8Array> | null,
  limit: number,
): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = []
  let size = 0
  const reader = body?.getReader()
  if (reader === undefined) return new Uint8Array()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) break
    size += value.length
    if (size > limit) {
      await reader.cancel()
      return undefined
    }
    chunks.push(value)
  }
  return concat(...chunks)
}
