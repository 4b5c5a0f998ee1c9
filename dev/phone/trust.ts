/** Trusting a service once, and taking it back: what the person says, the phone keeps and the provider is told. */
import { type Device, dropTrusted, keepTrusted, refresh, type TrustedService } from './device.ts'
import type { Phone } from './phone.ts'
import { tellFault, tellOutcome } from './prompt.ts'
import { askTrust, reviewService } from './services.ts'

/** A service shows who it is: the person trusts it once (seed 002, step 2). */
export async function meetService(
  device: Device,
  vds: string,
  sessionId: string | undefined,
): Promise<void> {
  const { phone } = device
  const card = await phone.meetService(vds)
  if (typeof card === 'string') return tellFault(card)
  const { serviceId, name } = card
  await refresh(device)
  const again = device.trusted.some((one) => one.serviceId === serviceId)
  if (!(await askTrust(card, again))) return
  const answer = await phone.trust({ serviceId, vds, trusted: true, sessionId })
  if (!answer.ok) return tellFault(await whyRefused(phone, { serviceId, vds }, answer.code))
  await keepTrusted(device, { ...card, vds, since: new Date().toISOString() })
  return tellOutcome('good', 'Service trusted', `${name} was added to your services.`)
}

/** An old Service VDS is refused like a bad signature; only asking for the one in force tells them apart. */
async function whyRefused(
  phone: Phone,
  { serviceId, vds }: { readonly serviceId: string; readonly vds: string },
  code: string,
): Promise<string> {
  if (code !== 'invalid_statement') return code
  const current = await phone.currentVds(serviceId)
  const isOld = current.ok ? current.body.serviceVds !== vds : current.code === 'not_found'
  return isOld ? 'service_vds_replaced' : code
}

/** Shows a trusted service, and takes the trust back if the person wants that. */
export async function reviewTrust(device: Device, service: TrustedService): Promise<void> {
  if (!(await reviewService(service))) return
  const { phone } = device
  const { serviceId, name } = service
  // What is said must be about the Service VDS in force, which may be another one by now.
  const current = await phone.currentVds(serviceId)
  const vds = current.ok ? current.body.serviceVds : service.vds
  const answer = await phone.trust({ serviceId, vds, trusted: false })
  // A service that shows nothing any more can't be told; this phone forgets it all the same.
  const isGone = !current.ok && current.code === 'not_found'
  if (!answer.ok && !isGone) return tellFault(answer.code)
  await dropTrusted(device, serviceId)
  return tellOutcome('neutral', 'No longer trusted', `${name} was taken off your services.`)
}
