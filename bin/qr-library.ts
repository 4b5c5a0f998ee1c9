/**
 * `node bin/run.mjs node bin/qr-library.ts [--check] [FILE]`: makes `src/login/hosted/qr-library.ts`, the QR encoder that
 * our pages serve to browsers, from `qrPath` and the package `qr`. With `--check` it writes nothing and exits with 1 when
 * the file isn't what it would make.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const options = process.argv.slice(2)
const check = options.includes('--check')
const file =
  options.find((option) => option !== '--check') ?? join(root, 'src/login/hosted/qr-library.ts')

/** As much of esbuild as is used here: it is wrangler's dependency and not ours. */
interface Bundler {
  buildSync(options: object): { readonly outputFiles: readonly { readonly text: string }[] }
}

// The esbuild that bundles the Worker as well.
const requireAsWrangler = createRequire(import.meta.resolve('wrangler'))
const { buildSync }: Bundler = requireAsWrangler('esbuild')
const { outputFiles } = buildSync({
  stdin: { contents: "export { qrPath } from './src/http/qr.ts'", resolveDir: root },
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2020',
  legalComments: 'inline',
  write: false,
})
const library = outputFiles[0]?.text ?? ''
const text = library.trimEnd().replace(/[\\`]|\$(?=\{)/g, '\\$&')
const source = `/**
 * Made by bin/qr-library.ts from \`qrPath\` of http/qr.ts and the package \`qr\`; not to be edited. The module that pages load
 * from /login/qr.js: \`qrPath(text)\` gives \`{size, path}\`.
 */
export const QR_LIBRARY = \`${text}\`
`

if (!check) {
  writeFileSync(file, source)
} else if (readFileSync(file, 'utf8') !== source) {
  console.error(`${file} is out of date: run bin/qr-library.ts`)
  process.exitCode = 1
}
