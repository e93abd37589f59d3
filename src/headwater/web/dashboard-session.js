// Who looks: the token that the page was given, and requests with it.
//
// The token stays in this tab (sessionStorage) and goes nowhere but to the hub. Knows fetch; must not know what is asked.

const KEY = 'headwater-dashboard-token'

export const base = new URL('.', document.baseURI)

/** What the hub said no to, or that it did not answer (status 0). */
export class Refused extends Error {
  constructor(status, title, detail) {
    super(detail)
    Object.assign(this, { status, title })
  }
}

export const session = {
  get token() {
    return sessionStorage.getItem(KEY)
  },
  set token(value) {
    if (value) sessionStorage.setItem(KEY, value)
    else sessionStorage.removeItem(KEY)
  },
}

let heard = () => {}

/** Have told which process answered: `host/pid`. */
export const onNode = (listener) => (heard = listener)

/**
 * Ask the hub. @returns the answer's JSON; null if it has none.
 * @throws {Refused} anything but a good answer.
 */
export async function ask(path, { method = 'GET', query = {}, json, signal } = {}) {
  const url = new URL(path, base)
  for (const [name, value] of Object.entries(query)) if (value !== '' && value != null) url.searchParams.set(name, value)
  const headers = session.token ? { Authorization: `Bearer ${session.token}` } : {}
  if (json !== undefined) headers['Content-Type'] = 'application/json'
  const response = await fetch(url, { method, headers, signal, body: json === undefined ? undefined : JSON.stringify(json) }).catch((error) => {
    if (error.name === 'AbortError') throw error
    throw new Refused(0, 'No answer', 'The hub did not answer.')
  })
  if (response.headers.has('headwater-node')) heard(response.headers.get('headwater-node'))
  if (response.status === 204) return null
  const answer = await response.json().catch(() => ({}))
  if (!response.ok) throw new Refused(response.status, answer.title ?? 'Refused', answer.detail ?? `The hub answered with ${response.status}.`)
  return answer
}

/** A path of names: each as one part, so that no name leads elsewhere. */
export const path = (...parts) => parts.map((part) => encodeURIComponent(part)).join('/')
