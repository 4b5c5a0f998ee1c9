/** Who is in the bar: sessions in memory, by a cookie of the bar's own. */
import { randomBytes } from 'node:crypto'
import type { Departure } from './relying-party.ts'

/** Members of a token that are about the token, not about the guest. */
const ABOUT_THE_TOKEN = new Set(
  'iss aud sub iat exp jti nonce auth_time acr amr scope login_handle at_hash sid'.split(' '),
)

/** What a guest's own page may see. */
export type Guest = {
  readonly claims: Readonly<Record<string, unknown>>
  readonly token: Readonly<Record<string, unknown>>
}

type Session = { readonly guest: Guest; readonly idToken: string | undefined }

export class Guests {
  readonly #sessions = new Map<string, Session>()

  /** Lets in whoever the verified `payload` speaks of. `idToken`: the text of it, for a guest who came by OpenID Connect. */
  admit(
    payload: Readonly<Record<string, unknown>>,
    idToken?: string,
  ): { readonly id: string; readonly guest: Guest } {
    const members = Object.entries(payload)
    const guest = {
      claims: Object.fromEntries(members.filter(([name]) => !ABOUT_THE_TOKEN.has(name))),
      token: Object.fromEntries(members.filter(([name]) => ABOUT_THE_TOKEN.has(name))),
    }
    const id = randomBytes(24).toString('base64url')
    this.#sessions.set(id, { guest, idToken })
    return { id, guest }
  }

  find(id: string): Guest | undefined {
    return this.#sessions.get(id)?.guest
  }

  /** Ends the session `id` and gives its id_token, if it has one. */
  leave(id: string): string | undefined {
    const idToken = this.#sessions.get(id)?.idToken
    this.#sessions.delete(id)
    return idToken
  }

  /** Ends the session that the provider says has ended; all sessions of the person where it names no session. */
  expel({ sid, sub }: Departure): void {
    for (const [id, { guest, idToken }] of this.#sessions) {
      const { token } = guest
      const isMeant = sid === undefined ? token.sub === sub : token.sid === sid
      if (idToken !== undefined && isMeant) this.#sessions.delete(id)
    }
  }
}
