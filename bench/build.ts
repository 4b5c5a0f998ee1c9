/** The Worker as a deployment would upload it. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'

/** Builds the Worker of `config` (a `wrangler.toml`) into `folder` and gives the file of its bundle. */
export function build(config: string, folder: string, entry: string): string {
  execFileSync('wrangler', ['deploy', '--config', config, '--dry-run', '--outdir', folder], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, WRANGLER_SEND_METRICS: 'false', WRANGLER_HIDE_BANNER: 'true' },
  })
  return join(folder, entry)
}
