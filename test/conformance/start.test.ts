/** `npm start` as a stranger meets it when something is in the way. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { expect, test } from 'vitest'

async function start(...options: string[]): Promise<{ code: number | null; said: string }> {
  const child = spawn(process.execPath, ['bin/run.mjs', 'node', 'dev/start.ts', ...options])
  let said = ''
  child.stdout.on('data', (text) => {
    said += text
  })
  child.stderr.on('data', (text) => {
    said += text
  })
  const [code] = await once(child, 'close')
  return { code, said: said.trim() }
}

test('npm start: a taken port is told in one sentence, with the option that changes it', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const address = other.address()
  const port = typeof address === 'object' ? address?.port : undefined
  const { code, said } = await start('--port', String(port))
  other.close()
  expect(code).toBe(1)
  expect(said.split('\n')).toHaveLength(1)
  expect(said).toContain(String(port))
  expect(said).toContain('--port')
})

test('npm start: an option that it does not know is named, and those it knows', async () => {
  const { code, said } = await start('--fast')
  expect(code).toBe(1)
  expect(said).toMatch(/--autopilot.*--confirmation/)
})
