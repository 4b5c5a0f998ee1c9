import type { Config } from '../config.ts'
import type { Service } from '../services/service.ts'
import type { Asked } from './door.ts'

/**
 * The care that every login of `service` needs as it is registered now: what it isn't set to itself, the deployment decides.
 */
export function careOf(
  service: Service,
  config: Pick<Config, 'confirmation' | 'trustRequired'>,
): Pick<Asked, 'confirmation' | 'trustRequired'> {
  return {
    confirmation: service.confirmation ?? config.confirmation,
    trustRequired: service.trustRequired ?? config.trustRequired,
  }
}
