// An EventSource that does not give up, and the few things that the pages of the examples have in common.
//
// A browser reconnects by itself after a lost connection, with the last id it saw. It gives up for good when it is answered with
// an error (a token that has expired, a proxy without its server); then this opens another EventSource, with a new token and
// the same last id. Knows no page.

const MAX_DELAY = 15_000

export class Live {
  #options
  #source = null
  #timer = 0
  #failures = 0
  lastId = ''

  /**
   * @param {object} options
   * @param {string} options.path of the stream.
   * @param {string[]} options.types of the events.
   * @param {(fresh: boolean) => Promise<string>} [options.token] for `?token=`, since an EventSource cannot send headers; a
   *   fresh one after it was answered with an error, which may have been about the old one.
   * @param {Record<string, string>} [options.query] more parameters.
   * @param {(type: string, data: any, event: MessageEvent) => void} options.onEvent
   * @param {(state: 'connecting' | 'open' | 'waiting' | 'closed') => void} options.onState
   */
  constructor(options) {
    this.#options = options
  }

  async open() {
    clearTimeout(this.#timer)
    this.#options.onState('connecting')
    const { path, query = {}, token, types, onEvent, onState } = this.#options
    let parameters
    try {
      parameters = new URLSearchParams({ ...query, ...(token && { token: await token(this.#failures > 0) }) })
    } catch {
      return this.#again() // the server that gives out tokens is away, too
    }
    if (this.lastId) parameters.set('lastEventId', this.lastId)
    const source = (this.#source = new EventSource(`${path}?${parameters}`))
    source.onopen = () => {
      this.#failures = 0
      onState('open')
    }
    source.onerror = () => {
      if (this.#source !== source) return
      if (source.readyState === EventSource.CLOSED) this.#again()
      else onState('waiting')
    }
    for (const type of types) {
      source.addEventListener(type, (event) => {
        if (this.#source !== source || event.data === undefined) return // an `error` without data is the connection's
        this.lastId = event.lastEventId || this.lastId
        onEvent(type, JSON.parse(event.data), event)
      })
    }
  }

  close() {
    clearTimeout(this.#timer)
    this.#source?.close()
    this.#source = null
    this.#options.onState('closed')
  }

  #again() {
    this.#source?.close()
    const source = (this.#source = null)
    this.#options.onState('waiting')
    const delay = Math.min(MAX_DELAY, 1000 * 2 ** this.#failures++) * (0.5 + Math.random() / 2)
    this.#timer = setTimeout(() => this.#source === source && this.open(), delay)
  }
}

/** Gets a token from the application (which it gives only to pages of its own machine), and keeps it while it is good. */
export class Tokens {
  #path
  #token = null
  #until = 0

  constructor(path) {
    this.#path = path
  }

  get = async (fresh = false) => {
    if (!fresh && Date.now() < this.#until) return this.#token
    const response = await fetch(this.#path, { method: 'POST' })
    if (!response.ok) throw new Error((await problem(response)).detail)
    this.#token = (await response.json()).token
    this.#until = JSON.parse(atob(this.#token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/'))).exp * 1000 - 60_000
    return this.#token
  }
}

/** Calls a JSON API; what it refuses is an Error with the server's own words, and its status. */
export async function call(path, { body, tokens, method = body === undefined ? 'GET' : 'POST' } = {}) {
  const send = async (fresh) => {
    const headers = {}
    if (tokens) headers.Authorization = `Bearer ${await tokens.get(fresh)}`
    if (body !== undefined) headers['Content-Type'] = 'application/json'
    return fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) })
  }
  let response = await send(false)
  if (response.status === 401 && tokens) response = await send(true)
  if (!response.ok) throw Object.assign(new Error((await problem(response)).detail), { status: response.status })
  return response
}

async function problem(response) {
  const answer = await response.json().catch(() => ({}))
  const detail = Array.isArray(answer.detail) ? answer.detail.map((each) => each.msg).join('; ') : answer.detail
  return { detail: detail ?? `${response.status} ${response.statusText}` }
}

/** An element with text or children. Text is text: nothing that comes from the server is ever read as markup. */
export function make(name, className = '', ...content) {
  const element = document.createElement(name)
  if (className) element.className = className
  element.append(...content)
  return element
}

export const byId = (id) => document.getElementById(id)

const LOOK = { connecting: 'warn busy', open: 'good', waiting: 'warn busy', closed: '' }
const WORD = { connecting: 'connecting', open: 'live', waiting: 'reconnecting', closed: 'ended' }

/** Shows a connection's state in a pill. */
export function showState(pill, state) {
  pill.textContent = WORD[state]
  pill.className = `pill ${LOOK[state]}`
}

/** Lets a button change between light and dark. */
export function themeButton(button) {
  button.addEventListener('click', () => {
    const root = document.documentElement
    const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches
    root.dataset.theme = dark ? 'light' : 'dark'
  })
}
