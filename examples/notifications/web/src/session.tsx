// Who uses the page, and their token. In development the application gives tokens to pages of its own machine; yours would ask
// its identity provider (Clerk: `getToken({ skipCache: reason !== 'connect' })`) in `token`, and needs nothing else of this file.
import { createContext, useContext } from 'react'
import { Refused } from './refused'

const DEVELOPMENT = '/notifications/dev/token'
const EARLY = 60_000 // ms before its end that a token is replaced

/** Why a token is asked for: the client says so; any other call is `connect`. */
export type TokenReason = 'connect' | 'unauthorized' | 'expiring'

/** When a token ends, in milliseconds of Unix time. */
const endOf = (token: string): number => {
  const [, payload = ''] = token.split('.')
  const { exp } = JSON.parse(atob(payload.replace(/-/g, '+').replace(/_/g, '/'))) as { exp: number }
  return exp * 1000
}

async function fetchToken(user: string, lifetime?: number): Promise<string> {
  const query = lifetime ? `?ttl=${lifetime}` : ''
  const response = await fetch(`${DEVELOPMENT}/${encodeURIComponent(user)}${query}`, { method: 'POST' })
  if (!response.ok) throw new Refused(response.status, `there is no token for ${user}: ${response.status}`)
  const { token } = (await response.json()) as { token: string }
  return token
}

export class Session {
  readonly user: string
  #token: Promise<string> | null = null
  #until = 0

  constructor(user: string) {
    this.user = user
  }

  /** A token, the same as long as it is good; a new one where only that helps. */
  token = ({ reason }: { reason: TokenReason } = { reason: 'connect' }): Promise<string> => {
    if (!this.#token || reason !== 'connect' || Date.now() > this.#until) this.#token = this.#renew()
    return this.#token
  }

  /** For tests: one that is good for so many seconds. */
  shortToken = (lifetime: number) => fetchToken(this.user, lifetime)

  async #renew(): Promise<string> {
    try {
      const token = await fetchToken(this.user)
      this.#until = endOf(token) - EARLY
      return token
    } catch (error) {
      this.#token = null // it is asked for again next time
      throw error
    }
  }
}

export const SessionContext = createContext<Session | null>(null)

/** The session of the page. */
export function useSession(): Session {
  const session = useContext(SessionContext)
  if (!session) throw new Error('nobody is signed in')
  return session
}
