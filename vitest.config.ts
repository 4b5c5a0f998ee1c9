import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { cloudflareTest, readD1Migrations } from '@cloudflare/vitest-plugin'
import { defineConfig } from 'vitest/config'
import { control, isControlPath } from './dev/fcm/control.ts'
import { createFakeFcm } from './dev/fcm/fake-fcm.ts'
import { backChannelReceiver, RECEIVER_ORIGIN } from './test/worker/back-channel.ts'
import { makeTestBindings } from './test/worker/bindings.ts'

/** Where the worker tests find the fake FCM; the address exists only for the Worker under test. */
const FCM_ORIGIN = 'http://127.0.0.1:8788'

/** The black-box and browser tests start the whole development world; a browser must be installed to look at it. */
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium'
const hasBrowser = existsSync(CHROMIUM)
if (!hasBrowser && process.env.REQUIRE_BROWSER) throw new Error(`no browser at ${CHROMIUM}`)
if (!hasBrowser) console.log(`browser tests are skipped: no Chromium at ${CHROMIUM}`)

/** Vitest would leave a core idle; more than there are, and a browser has to wait for its own clicks. */
const WORKERS = availableParallelism()

const blackBox = {
  ...{ environment: 'node', testTimeout: 60_000, hookTimeout: 120_000 },
  maxWorkers: WORKERS,
} as const

export default defineConfig({
  test: {
    // The product's own log lines are its business; what a test prints itself is shown.
    onConsoleLog: (line) => !line.startsWith('{"at":'),
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          environment: 'node',
          maxWorkers: WORKERS,
        },
      },
      {
        plugins: [
          cloudflareTest(async () => {
            const fcm = createFakeFcm()
            const receiver = backChannelReceiver()
            const account = await fcm.createServiceAccount({ origin: FCM_ORIGIN })
            return {
              wrangler: { configPath: './wrangler.toml' },
              miniflare: {
                bindings: {
                  ...(await makeTestBindings()),
                  FCM_SERVICE_ACCOUNT: JSON.stringify(account),
                  TEST_MIGRATIONS: await readD1Migrations('./migrations'),
                },
                // No test reaches out: whatever isn't a fake of ours is refused.
                outboundService: async (request: Request) => {
                  const url = new URL(request.url)
                  if (url.origin === RECEIVER_ORIGIN) return receiver(request)
                  if (url.origin !== FCM_ORIGIN) return new Response(null, { status: 599 })
                  return isControlPath(url.pathname) ? control(fcm, request) : fcm.handle(request)
                },
              },
            }
          }),
        ],
        test: {
          name: 'worker',
          include: ['test/worker/**/*.test.ts'],
          setupFiles: ['./test/worker/setup.ts'],
          // Ours is not the only work that a machine does.
          testTimeout: 20_000,
          isolate: false,
          maxWorkers: WORKERS,
        },
      },
      {
        test: {
          ...blackBox,
          name: 'conformance',
          include: ['test/conformance/**/*.test.ts'],
        },
      },
      {
        test: {
          ...blackBox,
          name: 'browser',
          include: hasBrowser ? ['test/browser/**/*.test.ts'] : [],
        },
      },
    ],
  },
})
