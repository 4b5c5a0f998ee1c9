/**
 * Sends logout tokens to the addresses that clients registered (OpenID Connect Back-Channel Logout section 2.5): out of
 * the answer's path, a bounded number of times, and never anywhere that a response points to.
 */

const TIMEOUT_MS = 5000
/** Pauses before the second and the third try. The platform gives work after an answer thirty seconds. */
const PAUSES_MS = [1000, 4000]

/**
 * Posts `logoutToken` to `address`. A client that answers 400 has understood and refuses; everything else that isn't a
 * success is tried again (5-security 100). Never throws.
 */
export async function sendLogoutToken(
  address: string,
  logoutToken: string,
): Promise<'delivered' | 'refused' | 'failed'> {
  for (const pause of [0, ...PAUSES_MS]) {
    await scheduler.wait(pause)
    const status = await post(address, logoutToken)
    if (status === 200 || status === 204) return 'delivered'
    if (status === 400) return 'refused'
  }
  return 'failed'
}

/** The status of one try, 0 when there was no answer. */
async function post(address: string, logoutToken: string): Promise<number> {
  try {
    const response = await fetch(address, {
      method: 'POST',
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ logout_token: logoutToken }).toString(),
      redirect: 'manual',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    // Nothing of it is wanted; an endless body would hold the connection.
    await response.body?.cancel()
    return response.status
  } catch {
    return 0
  }
}
