/** One program at a time in a folder: a file with the number of the process that has it. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'

/** Takes `folder` until this process ends; `false` when another process that still runs has it. A lock left by a killed one is replaced. */
export async function lock(folder: string): Promise<boolean> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const file = join(folder, 'running.pid')
  if (!write(file)) {
    if (isRunning(Number(read(file)))) return false
    rmSync(file, { force: true })
    if (!write(file)) return false
  }
  process.once('exit', () => rmSync(file, { force: true }))
  return true
}

/** Whether the file was not there and is ours now. */
function write(file: string): boolean {
  try {
    writeFileSync(file, `${process.pid}\n`, { flag: 'wx', mode: 0o600 })
    return true
  } catch (fault) {
    if ((fault as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw fault
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

/** A process of another user answers EPERM: it runs. Our own number was that of a process before us. */
function isRunning(pid: number): boolean {
  if (!Number.isInteger(pid) || pid < 1 || pid === process.pid) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (fault) {
    return (fault as NodeJS.ErrnoException).code === 'EPERM'
  }
}
