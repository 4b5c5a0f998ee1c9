/**
 * The ticket of a hosted login: everything the door asked, sealed to ourselves and to one browser, carried by the forms
 * of our own pages. A request that nobody answers costs no storage; what a form brings back is what we wrote.
 */
import type { MasterSecret } from '../../keys/master-secret.ts'
import { openBox, sealBox } from '../../keys/sealed-box.ts'
import type { Asked } from '../door.ts'

export interface Ticket {
  /** The login's, from the first page on. */
  readonly sessionId: string
  readonly asked: Asked
  /** The number that stood in the first page before anybody typed; `null`: none. */
  readonly hint: string | null
  /** Unix milliseconds. */
  readonly requestedAt: number
}

/** Seals `ticket` for the browser of that hash. `random12`: twelve fresh bytes. */
export function sealTicket(
  master: MasterSecret,
  ticket: Ticket,
  browser: string,
  random12: Uint8Array,
): Promise<string> {
  return sealBox(master, 'cookie', JSON.stringify(ticket), contextOf(browser), random12)
}

/** The ticket in `text`, or `undefined` when it isn't one of ours for this browser. */
export async function openTicket(
  master: MasterSecret,
  text: string,
  browser: string,
): Promise<Ticket | undefined> {
  const opened = await openBox(master, 'cookie', text, contextOf(browser))
  return opened && JSON.parse(new TextDecoder().decode(opened))
}

/** The number changes with the shape of a ticket: one that another version of the code made is none of ours. */
function contextOf(browser: string): string {
  return `login ticket 3 ${browser}`
}
