/** Command lines of the development programs. A mistake is told in one sentence. */
import { parseArgs } from 'node:util'
import { isFree } from './ports.ts'

/** A sentence for whoever started the program; no stack, no trace. */
export class Plain extends Error {}

/**
 * The flags and values on the command line; `text` options take a value, `flags` don't. `--help` prints `usage` and ends the
 * program.
 */
export function readOptions(
  usage: string,
  flags: readonly string[],
  text: readonly string[],
): Readonly<Record<string, string | boolean | undefined>> {
  const options = Object.fromEntries([
    ...flags.map((name) => [name, { type: 'boolean' }] as const),
    ...text.map((name) => [name, { type: 'string' }] as const),
  ])
  const help = { type: 'boolean', short: 'h' } as const
  try {
    const read = parseArgs({ options: { ...options, help }, allowPositionals: false })
    const values = read.values as Record<string, string | boolean>
    if (values.help !== true) return values
  } catch (fault) {
    const values = text.map((name) => `${name} VALUE`)
    const known = [...flags, ...values, 'help'].map((name) => `--${name}`)
    // Node's own sentence names the option: unknown, without its value, or with one that it doesn't take.
    const [sentence] = String(fault instanceof Error ? fault.message : fault).split(/\.\s|\n/)
    throw new Plain(`${sentence}. This program knows ${known.join(', ')}.`)
  }
  console.log(usage)
  process.exit(0)
}

/** The port in option `name`, known to be free. */
export async function readPort(
  name: string,
  value: unknown,
  usual: number,
  whose: string,
): Promise<number> {
  const port = value === undefined ? usual : Number(value)
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new Plain(`--${name} takes a port number from 1 to 65535.`)
  }
  if (!(await isFree(port))) {
    throw new Plain(`Port ${port} (${whose}) is taken; choose another with --${name}.`)
  }
  return port
}

/** The value of `--confirmation`. */
export function readConfirmation(value: unknown): 'compare' | 'transfer' {
  if (value === undefined || value === 'compare') return 'compare'
  if (value === 'transfer') return 'transfer'
  throw new Plain('--confirmation takes compare or transfer.')
}

/** The value of `--door`. */
export function readDoor(value: unknown): 'direct' | 'oidc' | 'scan' {
  if (value === undefined || value === 'direct') return 'direct'
  if (value === 'oidc' || value === 'scan') return value
  throw new Plain('--door takes direct, oidc or scan.')
}

/** Tells a fault: a plain one as its sentence, any other in full. */
export function tell(fault: unknown): void {
  console.error(fault instanceof Error ? fault.message : String(fault))
}
