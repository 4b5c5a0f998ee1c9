/**
 * The door to the programs of this folder: `node dev/run.mjs start|demo [options]`. They are TypeScript that Node runs as it
 * is; a Node that can't must hear so in a sentence of this file, because it would fail before reading theirs.
 */
const [program, ...options] = process.argv.slice(2)
if (!process.features.typescript) {
  console.error(`This needs Node.js 22.18 or newer; this one is ${process.version}.`)
  process.exit(1)
}
process.argv.splice(2, process.argv.length, ...options)
await import(program === 'demo' ? './demo.ts' : './start.ts')
