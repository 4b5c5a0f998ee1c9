/** The QR encoder that browsers get is what its sources make, and it works by itself. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { qrPath } from '../../../src/http/qr.ts'
import { QR_LIBRARY } from '../../../src/login/hosted/qr-library.ts'

const maker = fileURLToPath(new URL('../../../bin/qr-library.ts', import.meta.url))

function check(...options: readonly string[]) {
  return spawnSync(process.execPath, [maker, '--check', ...options], { encoding: 'utf8' })
}

test('the generated file is up to date', { timeout: 30_000 }, () => {
  expect(check()).toMatchObject({ status: 0, stderr: '' })
})

test('a file that differs is noticed', { timeout: 30_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'qr-library-'))
  try {
    const file = join(folder, 'qr-library.ts')
    writeFileSync(file, `export const QR_LIBRARY = ${JSON.stringify(QR_LIBRARY)}\n`)
    expect(check(file)).toMatchObject({ status: 1, stderr: expect.stringContaining('out of date') })
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('the module draws what the server draws, and needs no other', async () => {
  expect(QR_LIBRARY).not.toMatch(/\bimport\b|\bfetch\b|https?:(?!\/\/www\.w3\.org\/2000\/svg)/)
  const address = `data:text/javascript;base64,${Buffer.from(QR_LIBRARY).toString('base64')}`
  const library = await import(/* @vite-ignore */ address)
  expect(Object.keys(library)).toEqual(['qrPath'])
  for (const text of ['HC1:ABC', 'https://id.example.com/l#sess_0.A', 'ä']) {
    expect(library.qrPath(text)).toEqual(qrPath(text))
  }
})

test('whoever took it has the licence with it, and it stays small', () => {
  expect(QR_LIBRARY).toContain('SPDX-License-Identifier: MIT OR Apache-2.0')
  expect(QR_LIBRARY.length).toBeLessThan(16_000)
})
