/** The pages of `docs/integrations`: all in the index, with registrations that the operator API takes and versions that CI runs. */
import { readdirSync, readFileSync } from 'node:fs'
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import { readMetadata, ServiceRegistration } from '../../src/services/service.ts'

const FOLDER = new URL('../../docs/integrations/', import.meta.url)
const NOT_RUN = "> **Written from the product's documentation, not run by us.**"

const index = read('README.md')
const pages = readdirSync(FOLDER).filter((name) => name.endsWith('.md') && name !== 'README.md')

function read(name: string): string {
  return readFileSync(new URL(name, FOLDER), 'utf8')
}

/** The row of the index that links a page. */
function rowOf(name: string): string {
  return index.split('\n').find((line) => line.includes(`](${name})`) && line.startsWith('|')) ?? ''
}

describe.each(pages)('%s', (name) => {
  const page = read(name)

  test('the index links it, and says with the page whether we run it', () => {
    const isRun = rowOf(name).includes('| run in CI with ')
    expect(isRun || rowOf(name).endsWith('| written from documentation |')).toBe(true)
    expect(page.includes(NOT_RUN)).toBe(!isRun)
    expect(page.includes('**Run in CI**')).toBe(isRun)
  })

  test('its registrations are taken', async () => {
    const blocks = [...page.matchAll(/^```json registration\n([\s\S]*?)^```$/gm)]
    expect(blocks).not.toEqual([])
    for (const [, text = ''] of blocks) {
      const body = v.parse(ServiceRegistration, JSON.parse(text))
      expect(body.oidc).toBeDefined()
      // Not loopback: what a page shows must be right for a deployment.
      expect(await readMetadata(body, false)).toMatchObject({ ok: true })
    }
  })
})

test('the index links no page that is not there', () => {
  const links = [...index.matchAll(/\]\(([a-z0-9-]+\.md)\)/g)].map(([, name]) => name)
  expect([...new Set(links)].sort()).toEqual(pages.toSorted())
})

test('the versions in the index are those that are installed', () => {
  const { devDependencies, dependencies } = JSON.parse(
    readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
  ) as Record<'dependencies' | 'devDependencies', Record<string, string>>
  const named = [...index.matchAll(/(?:with |, )(@?[a-z][a-z0-9/-]*) (\d+\.\d+\.\d+)/g)]
  expect(named.length).toBeGreaterThanOrEqual(9)
  for (const [, name = '', version = ''] of named) {
    const installed = { ...dependencies, ...devDependencies }[name]?.replace(/^npm:.*@/, '')
    expect([name, version]).toEqual([name, installed])
  }
})
