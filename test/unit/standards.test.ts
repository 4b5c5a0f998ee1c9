/** docs/standards/openid-connect.md says what the tests prove: this reads both. */
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { NOT_APPLICABLE, PLANS } from '../conformance/oidc/plans.ts'

const page = read('../../docs/standards/openid-connect.md')

/** What each plan of the certification suite has, however many of them are here. */
const MODULES: Readonly<Record<string, number>> = {
  Basic: 38,
  Config: 1,
  'Form Post': 38,
  'RP-Initiated Logout': 11,
  'Back-Channel Logout': 2,
}

/** A section of a standard, such as `OIDC Core 3.1.2.1` or `RFC 6749 section 4.1.2`. */
const CLAUSE =
  /^(?:OIDC (?:Core|Discovery)|RP-Initiated Logout|Back-Channel Logout|RFC \d{4} section) \d+(?:\.\d+)*(?:, \d+(?:\.\d+)*)*$/

describe('the modules of the certification plans', () => {
  const rows = tableUnder('module', 'plan', 'what must hold', 'clause')

  test('every module has a test, and every test a row', () => {
    const told = rows.flatMap(([module = '', plans = '']) =>
      plans.split(', ').map((plan) => `${plan} > ${module.replaceAll('`', '')}`),
    )
    const tested = PLANS.flatMap(({ title, modules }) =>
      Object.keys(modules).map((module) => `${title} > ${module}`),
    )
    expect(told.toSorted()).toEqual(tested.toSorted())
    expect(new Set(told).size).toBe(told.length)
  })

  test.each(Object.entries(MODULES))('%s has its %i modules', (title, count) => {
    const plan = PLANS.find((one) => one.title === title)
    expect(Object.keys(plan?.modules ?? {})).toHaveLength(count)
    expect(page).toContain(`\`${plan?.name}\``)
  })

  test.each(rows)(
    '%s: a clause, and what must hold',
    (_module, _plans, holds = '', clause = '') => {
      expect(holds).not.toBe('')
      for (const one of clause.split('; ')) expect(one).toMatch(CLAUSE)
    },
  )

  test('what does not apply is said to', () => {
    const excused = rows.filter(([, , holds = '']) => holds.startsWith('n/a:'))
    expect(excused.map(([module = '']) => module.replaceAll('`', '')).toSorted()).toEqual(
      NOT_APPLICABLE.toSorted(),
    )
  })

  test('the test file runs every plan, under its name', () => {
    const source = read('../conformance/oidc.test.ts')
    expect(source).toContain("describe.each(PLANS)('$name'")
    expect(source).toContain('test.each(Object.entries(modules))')
  })
})

describe('the features', () => {
  const rows = tableUnder('standard, feature', 'status', 'tests')

  test.each(rows)('%s: its status has its tests', (_feature, status = '', tests = '') => {
    const files = tests.split(', ').filter((text) => text !== '')
    expect(['Full', 'Partial', 'Planned']).toContain(status)
    expect(files.length > 0).toBe(status !== 'Planned')
    for (const file of files) {
      const [, path = ''] = /^`([^`]+)`$/.exec(file) ?? []
      expect(existsSync(new URL(`../${path}`, import.meta.url)), path).toBe(true)
    }
  })
})

describe('the libraries', () => {
  const rows = tableUnder('library', 'test')

  test('every test has a row, and every row a test', () => {
    const source = read('../conformance/oidc-libraries.test.ts')
    const tested = source.split(/^describe\('/m).flatMap((part, i) => {
      const library = part.slice(0, part.indexOf("'"))
      const names = part.matchAll(/^ {2}(?:test|\]\))(?:\.each\(\[[^\]]*\]\))?\(\s*'([^']+)',/gm)
      return i === 0 ? [] : [...names].map(([, name]) => `${library} > ${name}`)
    })
    expect(tested.length).toBeGreaterThan(15)
    expect(rows.map((cells) => cells.join(' > ')).toSorted()).toEqual(tested.toSorted())
  })
})

/** The rows of the table with these columns. */
function tableUnder(...columns: string[]): string[][] {
  const lines = page.split('\n')
  const start = lines.indexOf(`| ${columns.join(' | ')} |`)
  if (start < 0) throw new Error(`no table ${columns.join(', ')}`)
  const rows: string[][] = []
  for (const line of lines.slice(start + 2)) {
    if (!line.startsWith('|')) break
    rows.push(
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
  }
  return rows
}

function read(path: string): string {
  return readFileSync(new URL(path, import.meta.url), 'utf8')
}
