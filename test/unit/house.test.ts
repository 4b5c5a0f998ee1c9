/** The rules of the house (1-architecture section 1), read from the imports and words of every file under `src`. */
import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { describe, expect, test } from 'vitest'

const floors: Readonly<Record<string, number>> = {
  ...{
    'index.ts': 7,
    'app.ts': 6,
    direct: 5,
    oidc: 5,
    saml: 5,
    credentials: 5,
    login: 4,
    operator: 4,
  },
  ...{ services: 3, enrollment: 3, seal: 2, keys: 1, disclosure: 1, push: 1, audit: 1, http: 1 },
  ...{ 'config.ts': 1, 'result.ts': 0, 'bytes.ts': 0, 'async-hooks.d.ts': 0 },
}
const doors = ['direct', 'oidc', 'saml', 'credentials']
const composition = ['app.ts', 'index.ts']
/** Files that may do I/O; the others are pure. */
const impureName =
  /(^|\/)(routes\.tsx?|store\.ts|object\.ts|inbox\.ts|fcm\.ts|back-channel\.ts)$|^(app|index)\.ts$/
/** Files that only the composition may mount. */
const privateName = /\/(routes\.tsx?|object\.ts|inbox\.ts)$/
const badName = /(^|[/-])(utils?|helpers?|common|managers?)(?=[-./]|$)/
const impureWord =
  /\b(Date\.now|fetch|getRandomValues)\s*\(|\b(D1Database|D1PreparedStatement|D1Result|DurableObject\w*)\b/
/** `hono/html` is a template that escapes what it is given: text in, text out. */
const impureImport = /^(?!hono\/html$)(hono|cloudflare:workers)(\/|$)/

/** Every broken rule in `files` (path under `src` -> source), as sentences. */
function findFaults(files: Readonly<Record<string, string>>): string[] {
  const faults: string[] = []
  const arrows = new Map<string, Set<string>>()
  for (const [path, source] of Object.entries(files)) {
    const code = withoutComments(source)
    const room = roomOf(path)
    if (floors[room] === undefined) faults.push(`${path}: its room has no floor`)
    if (badName.test(path)) faults.push(`${path}: a name that says nothing`)
    if (/\bdev\//.test(source)) faults.push(`${path}: mentions dev/`)
    if (/\bMath\.random\b/.test(code)) faults.push(`${path}: Math.random`)
    const specifiers = importsOf(code)
    if (!impureName.test(path)) {
      const word = impureWord.exec(code)?.[0]
      if (word !== undefined) faults.push(`${path}: pure, but says ${word}`)
      for (const name of specifiers.filter((one) => impureImport.test(one))) {
        faults.push(`${path}: pure, but imports ${name}`)
      }
    }
    for (const specifier of specifiers.filter((one) => one.startsWith('.'))) {
      const target = posix.join(posix.dirname(path), specifier)
      const other = roomOf(target)
      if (other === room || target.startsWith('..')) continue
      arrows.set(room, (arrows.get(room) ?? new Set()).add(other))
      const arrow = `${path} -> ${target}`
      if ((floors[other] ?? 0) > (floors[room] ?? 0)) faults.push(`${arrow}: up`)
      if (doors.includes(room) && doors.includes(other)) faults.push(`${arrow}: between doors`)
      if (room === 'login' && other === 'operator') faults.push(`${arrow}: neighbours`)
      if (privateName.test(target) && !composition.includes(room)) faults.push(`${arrow}: private`)
    }
  }
  return [...faults, ...findCircles(arrows)]
}

function findCircles(arrows: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const reaches = (from: string, goal: string, seen = new Set<string>()): boolean =>
    [...(arrows.get(from) ?? [])].some((next) => {
      if (next === goal) return true
      return !seen.has(next) && reaches(next, goal, seen.add(next))
    })
  return [...arrows.keys()]
    .filter((room) => reaches(room, room))
    .map((room) => `${room}: in a circle`)
}

function roomOf(path: string): string {
  return path.split('/')[0] ?? path
}

function importsOf(code: string): string[] {
  const pattern = /\b(?:from|import)\s*\(?\s*(['"])([^'"\n]+)\1/g
  return [...code.matchAll(pattern)].map((match) => match[2] ?? '')
}

function withoutComments(source: string): string {
  const pattern =
    /('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)|\/\*[\s\S]*?\*\/|(?<!\\)\/\/[^\n]*/g
  return source.replace(pattern, (_, text: string | undefined) => text ?? ' ')
}

function readHouse(): Record<string, string> {
  const root = new URL('../../src/', import.meta.url)
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' })
  const sources = names
    .filter((name) => /\.tsx?$/.test(name))
    .map((name) => name.replaceAll('\\', '/'))
  return Object.fromEntries(
    sources.map((name) => [name, readFileSync(new URL(name, root), 'utf8')]),
  )
}

describe('the house', () => {
  test('347 keeps its rules', () => {
    const house = readHouse()
    expect(Object.keys(house).length).toBeGreaterThan(3)
    expect(findFaults(house)).toEqual([])
  })
})

describe('each rule can fail', () => {
  const up = (path: string) => `import { x } from '${path}'`

  test.each<[string, Record<string, string>, string[]]>([
    [
      'an arrow up',
      { 'seal/seal.ts': up('../login/session.ts') },
      ['seal/seal.ts -> login/session.ts: up'],
    ],
    [
      'a type up',
      { 'bytes.ts': "import type { K } from './keys/k.ts'" },
      ['bytes.ts -> keys/k.ts: up'],
    ],
    ['an export up', { 'http/a.ts': "export * from '../app.ts'" }, ['http/a.ts -> app.ts: up']],
    [
      'a dynamic import up',
      { 'http/a.ts': "await import('../app.ts')" },
      ['http/a.ts -> app.ts: up'],
    ],
    [
      'a door in a door',
      { 'oidc/a.ts': up('../saml/b.ts') },
      ['oidc/a.ts -> saml/b.ts: between doors'],
    ],
    [
      'a neighbour',
      { 'login/a.ts': up('../operator/b.ts') },
      ['login/a.ts -> operator/b.ts: neighbours'],
    ],
    [
      'a circle of three on one floor',
      {
        'keys/a.ts': up('../http/b.ts'),
        'http/b.ts': up('../audit/c.ts'),
        'audit/c.ts': up('../keys/a.ts'),
      },
      ['keys: in a circle', 'http: in a circle', 'audit: in a circle'],
    ],
    ...['routes.ts', 'routes.tsx', 'object.ts', 'inbox.ts'].map(
      (name): [string, Record<string, string>, string[]] => [
        `the ${name} of another room`,
        { 'oidc/routes.ts': up(`../login/${name}`) },
        [`oidc/routes.ts -> login/${name}: private`],
      ],
    ),
    ['a room without a floor', { 'misc/a.ts': '' }, ['misc/a.ts: its room has no floor']],
    [
      'a bad file name',
      { 'http/url-utils.ts': '' },
      ['http/url-utils.ts: a name that says nothing'],
    ],
    [
      'a bad folder',
      { 'http/common/url.ts': '' },
      ['http/common/url.ts: a name that says nothing'],
    ],
    ['dev, even in a comment', { 'http/a.ts': '// see dev/fcm' }, ['http/a.ts: mentions dev/']],
    [
      '347 Math.random, even in a store',
      { 'seal/store.ts': 'Math.random()' },
      ['seal/store.ts: Math.random'],
    ],
    [
      'hono in a pure file',
      { 'http/a.ts': "import 'hono'" },
      ['http/a.ts: pure, but imports hono'],
    ],
    ...['hono/cookie', 'hono/html/x', 'hono/htmlx'].map(
      (name): [string, Record<string, string>, string[]] => [
        `${name} in a pure file`,
        { 'http/a.ts': `import '${name}'` },
        [`http/a.ts: pure, but imports ${name}`],
      ],
    ),
    [
      'hono in a pure file, beside its template',
      { 'http/a.ts': "import { html } from 'hono/html'\nimport type { Context } from 'hono'" },
      ['http/a.ts: pure, but imports hono'],
    ],
    [
      'the platform in a pure file',
      { 'login/otp.ts': "import { env } from 'cloudflare:workers'" },
      ['login/otp.ts: pure, but imports cloudflare:workers'],
    ],
    ...['Date.now(', 'fetch(', 'getRandomValues(', 'D1Database', 'DurableObjectNamespace'].map(
      (word): [string, Record<string, string>, string[]] => [
        `${word} in a pure file`,
        { 'keys/a.ts': `const x = "//" + ${word.startsWith('get') ? 'crypto.' : ''}${word}` },
        [`keys/a.ts: pure, but says ${word}`],
      ],
    ),
  ])('%s', (_name, files, faults) => {
    expect(findFaults(files)).toEqual(faults)
  })

  test('what is allowed passes', () => {
    const files = {
      'index.ts': up('./app.ts'),
      'app.ts': `import { Hono } from 'hono'\n${up('./login/object.ts')}\n${up('./oidc/routes.tsx')}`,
      'oidc/routes.ts': "import { x } from '../enrollment/store.ts'\nimport 'hono'\nDate.now()",
      'enrollment/store.ts': up('../services/service.ts'),
      'keys/ring.ts': `/* Date.now() */ ${up('../config.ts')} // fetch(\nconst prefetch = 'https://developer/'`,
      'config.ts': up('./push/service-account.ts'),
      'http/page.ts': "import { html, raw } from 'hono/html'",
      'push/fcm.ts': 'fetch(x); Date.now(); crypto.getRandomValues(y)',
    }
    expect(findFaults(files)).toEqual([])
  })
})
