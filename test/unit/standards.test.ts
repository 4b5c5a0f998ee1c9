/** The pages in docs/standards say what the tests prove: this reads both. */
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { LIBRARIES } from '../conformance/fapi/libraries.ts'
import { BEYOND, MODULES as FAPI_MODULES, PLAN, PREFIX } from '../conformance/fapi/plan.ts'
import { PROOF_LIST } from '../conformance/fapi/proofs.ts'
import { NOT_APPLICABLE, PLANS } from '../conformance/oidc/plans.ts'

const page = read('../../docs/standards/openid-connect.md')
const fapiPage = read('../../docs/standards/fapi2.md')
const vdsPage = read('../../docs/standards/service-vds.md')

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
  /^(?:OIDC (?:Core|Discovery)|RP-Initiated Logout|Back-Channel Logout|FAPI 2\.0|RFC \d{4} section) \d+(?:\.\d+)*(?:, \d+(?:\.\d+)*)*$/
const STATUSES = ['Full', 'Partial', 'Planned']

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
      expectClauses(clause)
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

describe.each([
  ['openid-connect.md', tableUnder('standard, feature', 'status', 'tests')],
  ['fapi2.md', tableIn(fapiPage, 'feature', 'status', 'tests')],
  ['service-vds.md', tableIn(vdsPage, 'feature', 'status', 'tests')],
])('the features in %s', (_page, rows) => {
  test.each(rows)('%s: its status has its tests', (_feature, status = '', tests = '') => {
    const files = tests.split(', ').filter((text) => text !== '')
    expect(STATUSES).toContain(status)
    expect(files.length > 0).toBe(status !== 'Planned')
    for (const file of files) {
      const path = bare(file)
      expect(existsSync(new URL(`../${path}`, import.meta.url)), path).toBe(true)
    }
  })
})

describe.each([
  [
    'oauth.md',
    read('../../docs/standards/oauth.md'),
    [7009, 7523, 7636, 7662, 8414, 8693, 8707, 9068, 9126, 9207, 9449, 9470],
  ],
  ['service-vds.md', vdsPage, [8392, 8747, 8949, 9052, 9285]],
])('the RFCs in %s', (_page, text, numbers) => {
  const chapters = text.split(/^## RFC /m).slice(1)
  const rows = chapters.flatMap((chapter) =>
    tableIn(chapter, 'requirement', 'section', 'status', 'tests').map((row) => [
      `RFC ${chapter.slice(0, 4)}`,
      ...row,
    ]),
  )

  test('each has its table', () => {
    expect(chapters.map((chapter) => Number(chapter.slice(0, 4)))).toEqual(numbers)
  })

  test.each(rows)(
    '%s, %s: its tests are there',
    (_rfc, _what, sections = '', status = '', tests = '') => {
      for (const section of sections.split(', ')) expect(section).toMatch(/^\d+(?:\.\d+)*$/)
      expect(STATUSES).toContain(status)
      expect(tests === '').toBe(status === 'Planned')
      // Files, and after a file the names of tests in it.
      expect(tests).toMatch(/^(?:`[^`"]+`(?:,? "[^"]+")*(?:, |$))*$/)
      for (const [, path = '', names = ''] of tests.matchAll(/`([^`]+)`([^`]*)/g)) {
        const source = read(`../${path}`)
        for (const [, name] of names.matchAll(/"([^"]+)"/g)) expect(source, path).toContain(name)
      }
    },
  )
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

describe('the modules of the FAPI 2.0 plan', () => {
  const rows = tableIn(fapiPage, 'module', 'test', 'what must hold', 'clause', 'status')

  test('every module has a test, and every test a row', () => {
    const told = rows.map(([module = '', file = '']) => `${bare(file)} > ${bare(module)}`)
    const tested = Object.entries(FAPI_MODULES).flatMap(([file, modules]) =>
      Object.keys(modules).map((module) => `${file} > ${module}`),
    )
    const list = 'proofs.ts > dpop-negative-tests'
    expect(told.toSorted()).toEqual([...tested, list].toSorted())
    // As many as the plan has for this variant.
    expect(new Set(told).size).toBe(56)
  })

  test.each(rows)(
    '%s: a clause, a status and what must hold',
    (_module, _file, holds = '', clause = '', status = '') => {
      expect(holds).not.toBe('')
      expectClauses(clause)
      expect(STATUSES).toContain(status)
      // Whoever says what isn't looked at doesn't say that all is.
      expect(status === 'Partial').toBe(holds.includes('not looked at'))
    },
  )

  test('every proof of the list has a row, and every row a proof', () => {
    const told = tableIn(fapiPage, 'proof', 'must be', 'clause')
    expect(told.map(([proof, verdict]) => `${proof}: ${verdict}`)).toEqual(
      PROOF_LIST.map(({ title, taken }) => `${title}: ${taken ? 'taken' : 'refused'}`),
    )
    for (const [, , clause = ''] of told) expectClauses(clause)
  })

  test('what goes beyond the plan', () => {
    const told = tableIn(fapiPage, 'test', 'clause')
    expect(told.map(([name]) => name).toSorted()).toEqual(Object.keys(BEYOND).toSorted())
    for (const [, clause = ''] of told) expectClauses(clause)
  })

  test('the libraries', () => {
    const tested = Object.entries(LIBRARIES).flatMap(([library, tests]) =>
      Object.keys(tests).map((name) => [library, name]),
    )
    expect(tableIn(fapiPage, 'library', 'test')).toEqual(tested)
  })

  test('the test file runs all of it, under the names of the plan', () => {
    const source = read('../conformance/fapi.test.ts')
    for (const line of [
      'describe.concurrent(PLAN,',
      'Object.values(MODULES).flatMap((ofFile) => Object.entries(ofFile))',
      'test.each(modules)(`$',
      '{PREFIX}dpop-negative-tests`,',
      "test.each(PROOF_LIST)('$title',",
      "test.each(Object.entries(BEYOND))('%s',",
      'describe.concurrent.each(Object.entries(LIBRARIES))',
    ]) {
      expect(source).toContain(line)
    }
    for (const name of [PLAN, PREFIX]) expect(fapiPage).toContain(`\`${name}\``)
    // The page tells what the product can't be asked on this machine.
    expect(fapiPage).toContain('**TLS is not looked at.**')
  })
})

function expectClauses(clause: string): void {
  for (const one of clause.split('; ')) expect(one).toMatch(CLAUSE)
}

/** `name` out of its back-quotes. */
function bare(name: string): string {
  return /^`([^`]+)`$/.exec(name)?.[1] ?? ''
}

/** The rows of the table with these columns in the page about OpenID Connect. */
function tableUnder(...columns: string[]): string[][] {
  return tableIn(page, ...columns)
}

/** The rows of the first table in `text` with these columns. */
function tableIn(text: string, ...columns: string[]): string[][] {
  const lines = text.split('\n')
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
