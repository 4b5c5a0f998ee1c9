/**
 * The size gate (1-architecture section 5): builds the Worker as a deployment would and fails above the budget. Also looks
 * at what went into the bundle: nothing of dev/ may (5-security 320).
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

const BUDGET_GZIP_BYTES = 200_000

const folder = mkdtempSync(join(tmpdir(), 'bundle-'))
try {
  execFileSync('wrangler', ['deploy', '--dry-run', '--minify', '--metafile', '--outdir', folder], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, WRANGLER_SEND_METRICS: 'false', WRANGLER_HIDE_BANNER: 'true' },
  })
  const bundle = readFileSync(join(folder, 'index.js'))
  const gzip = gzipSync(bundle, { level: 9 }).length
  const meta: { inputs: Record<string, unknown> } = JSON.parse(
    readFileSync(join(folder, 'bundle-meta.json'), 'utf8'),
  )
  const strangers = Object.keys(meta.inputs).filter(
    (path) => /(^|\/)(dev|test|bench)\//.test(path) && !path.includes('node_modules'),
  )
  console.log(
    `bundle: ${bundle.length} bytes, ${gzip} gzip (budget ${BUDGET_GZIP_BYTES}), ${Object.keys(meta.inputs).length} inputs`,
  )
  if (strangers.length > 0)
    fail(`the bundle holds what is not the product: ${strangers.join(', ')}`)
  if (gzip > BUDGET_GZIP_BYTES) fail('the bundle is over its budget')
} finally {
  rmSync(folder, { recursive: true, force: true })
}

function fail(reason: string): void {
  console.error(reason)
  process.exitCode = 1
}
