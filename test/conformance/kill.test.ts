/**
 * Run R1 (5-security section 5.2): the server and its workerd are killed with SIGKILL at seeded moments while logins are in
 * every state; it is started again on the same storage; clients reconnect and retry. The verdict is read from answers and
 * events alone. `KILLS` and `SEED` change the run.
 */
import { createHash } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeServiceAccount } from '../../dev/fcm/service-account.ts'
import { Issuer, makeIssuerKeys } from '../../dev/issuer.ts'
import { findPerson } from '../../dev/persons.ts'
import { createPhone, type Phone } from '../../dev/phone/phone.ts'
import { logIn, type Plan, type Service } from './kill/client.ts'
import { faultsOf, type History } from './kill/history.ts'
import { freePort, Product } from './kill/product.ts'

const KILLS = Number(process.env.KILLS ?? 50)
const SEED = Number(process.env.SEED ?? 20261121)
const PEOPLE = 6
const PLANS: readonly Plan[] = ['approve', 'deny', 'approve twice', 'approve against deny', 'page']
const OPERATOR_TOKEN = 'operator-token-of-the-kill-run'

let product: Product
let service: Service
const phones: Phone[] = []

beforeAll(async () => {
  const keys = await makeIssuerKeys()
  const account = await makeServiceAccount('http://127.0.0.1:9', 'idtoken-dev')
  const port = await freePort()
  const issuer = new Issuer(keys, `http://localhost:${port}`)
  const pinned = JSON.stringify([await issuer.pinnedKey()])
  product = new Product(port, (origin) => ({
    ISSUER: origin,
    MASTER_SECRET: createHash('sha256').update('the secret of the kill run').digest('base64url'),
    FCM_SERVICE_ACCOUNT: JSON.stringify(account),
    OPERATOR_TOKEN_SHA256: createHash('sha256').update(OPERATOR_TOKEN).digest('base64url'),
    TRUST_LIST_KEYS: pinned,
    TRUST_LIST_GRACE_SECONDS: '86400',
    ENROLLMENT_GRANT: 'required',
    ENROLLMENTS_PER_HOUR: '1000',
    CONFIRMATION: 'compare',
    CLIENT_ADDRESS_HEADER: '',
  }))
  await product.start()
  service = await register(await issuer.trustList(1))
  for (let i = 0; i < PEOPLE; i++) {
    const phone = await createPhone({ api: product.origin, issuer: product.origin })
    const order = { deviceKeyThumbprint: phone.thumbprint, person: findPerson('camille') }
    const { vds, grant } = await issuer.specimen(order)
    const answer = await phone.enroll({ vds, grant, deviceId: `phone-${i}` })
    expect(answer.status).toBe(200)
    phones.push(phone)
  }
})

afterAll(() => product?.stop())

test('308 R1 kill -9: no outcome is lost, doubled or changed', { timeout: 600_000 }, async () => {
  const random = generator(SEED)
  const histories: History[] = []
  let running = true
  const people = phones.map(async (phone) => {
    while (running) {
      const plan = PLANS[Math.floor(random() * PLANS.length)] ?? 'approve'
      histories.push(await logIn(product.origin, service, phone, plan))
    }
  })
  for (let kill = 0; kill < KILLS; kill++) {
    await new Promise((resolve) => setTimeout(resolve, 20 + random() * 250))
    await product.kill()
    await product.start()
  }
  running = false
  await Promise.all(people)

  const faults = histories.flatMap((history) =>
    faultsOf(history).map((fault) => `${history.plan}: ${fault} ${JSON.stringify(history)}`),
  )
  const count = (type: string) =>
    histories.filter(({ events }) => events.some((event) => event.type === type)).length
  console.log(
    `R1: seed ${SEED}, ${KILLS} kills, ${histories.length} logins, ${count('approved')} approved, ${count('rejected')} rejected, ${faults.length} faults`,
  )
  expect(faults).toEqual([])
  // Each plan has been through the mill, else the verdict means little.
  expect(new Set(histories.map(({ plan }) => plan)).size).toBe(PLANS.length)
})

async function register(trustList: string): Promise<Service> {
  const origin = 'http://127.0.0.1:8789'
  await operator('/operator/trust-list', { trustList })
  const { secret } = await operator('/operator/services/bar', {
    name: 'Bar',
    url: `${origin}/`,
    origins: [origin],
    allowedScopes: ['identity:given_name', 'identity:age_over_18'],
    defaultScopes: ['identity:given_name', 'identity:age_over_18'],
  })
  return { serviceId: 'bar', authorization: `Basic ${btoa(`bar:${secret}`)}`, origin }
}

async function operator(path: string, body: object): Promise<{ secret?: string }> {
  const response = await fetch(`${product.origin}${path}`, {
    method: 'PUT',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${OPERATOR_TOKEN}` },
    body: JSON.stringify(body),
  })
  expect(response.ok).toBe(true)
  return response.json()
}

/** A small seeded generator (mulberry32): a run can be repeated. */
function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
