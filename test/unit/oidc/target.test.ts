import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parametersOf } from '../../../src/http/parameters.ts'
import { readTarget } from '../../../src/oidc/target.ts'
import { ok, refuse } from '../../../src/result.ts'

const API = 'https://api.example/v1'
const LEDGER = 'urn:example:ledger'
const client = { resources: [API, LEDGER] }
const refused = refuse('invalid_target')

function asked(...resources: readonly string[]) {
  return form(...resources.map((resource) => ['resource', resource] as const))
}

function form(...pairs: readonly (readonly [string, string])[]) {
  const parameters = parametersOf(new URLSearchParams(pairs.map((pair) => [...pair])).toString())
  if (parameters === undefined) throw new Error('no parameters')
  return parameters
}

describe('resource', () => {
  test('a registered one, or none', () => {
    expect(readTarget(asked(API), client)).toEqual(ok(API))
    expect(readTarget(asked(LEDGER), client)).toEqual(ok(LEDGER))
    expect(readTarget(asked(), client)).toEqual(ok(null))
    // Without a value it counts as omitted (RFC 6749 section 3.1).
    expect(readTarget(asked(''), client)).toEqual(ok(null))
  })

  test.each([
    ...['https://other.example', `${API}/`, `${API}#a`, `${API}?a`, API.toUpperCase(), ` ${API}`],
    ...['https://api.example', `${API} ${LEDGER}`, '*', 'constructor', 'length', '0'],
  ])('"%s" is not registered', (resource) => {
    expect(readTarget(asked(resource), client)).toEqual(refused)
  })

  test('one per request, even the same twice', () => {
    expect(readTarget(asked(API, API), client)).toEqual(refused)
    expect(readTarget(asked(API, LEDGER), client)).toEqual(refused)
    expect(readTarget(asked(API, API), client, API)).toEqual(refused)
  })

  test('what was granted may be repeated, not changed, and must still be registered', () => {
    expect(readTarget(asked(), client, API)).toEqual(ok(API))
    expect(readTarget(asked(API), client, API)).toEqual(ok(API))
    expect(readTarget(asked(LEDGER), client, API)).toEqual(refused)
    expect(readTarget(asked(), { resources: [LEDGER] }, API)).toEqual(refused)
    expect(readTarget(asked(API), { resources: [LEDGER] }, API)).toEqual(refused)
  })

  test('a client without resources: ignored, however often, unless one was granted before', () => {
    for (const none of [{}, { resources: [] }]) {
      expect(readTarget(asked('anything'), none)).toEqual(ok(null))
      expect(readTarget(asked(API, LEDGER), none)).toEqual(ok(null))
      expect(readTarget(asked(), none, API)).toEqual(refused)
    }
  })

  test('audience names one likewise, and must agree with the resource that was read', () => {
    const read = (...pairs: readonly (readonly [string, string])[]) => {
      const parameters = form(...pairs)
      const target = readTarget(parameters, client)
      return target.ok ? readTarget(parameters, client, target.value, 'audience') : target
    }
    expect(read(['audience', API])).toEqual(ok(API))
    expect(read(['audience', API], ['resource', API])).toEqual(ok(API))
    expect(read(['resource', API])).toEqual(ok(API))
    expect(read()).toEqual(ok(null))
    expect(read(['audience', LEDGER], ['resource', API])).toEqual(refused)
    expect(read(['audience', 'other'])).toEqual(refused)
    expect(read(['audience', API], ['audience', API])).toEqual(refused)
  })

  test('whatever is asked: a registered resource, the granted one, or nothing', () => {
    const name = fc.oneof(fc.constantFrom(API, LEDGER, `${API}/`, ''), fc.webUrl(), fc.string())
    const resources = fc.option(fc.array(name, { maxLength: 3 }), { nil: undefined })
    const granted = fc.option(name, { nil: null })
    fc.assert(
      fc.property(fc.array(name, { maxLength: 3 }), resources, granted, (many, registered, had) => {
        const values = new Map<string, string>()
        const repeated = new Set<string>()
        for (const each of many) {
          if (values.has('resource')) repeated.add('resource')
          else values.set('resource', each)
        }
        const of = registered === undefined ? {} : { resources: registered }
        const read = readTarget({ values, repeated }, of, had)
        if (!read.ok) return
        if (read.value === null) expect(had).toBeNull()
        else expect(registered).toContain(read.value)
        if (had !== null) expect(read.value).toBe(had)
      }),
    )
  })
})
