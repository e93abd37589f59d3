// What the pages of the examples need to talk to their applications, besides the client and the parts that all pages have.

import { make } from './parts.js'

export * from './parts.js'

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
    const response = await ask(this.#path, { method: 'POST' })
    if (!response.ok) throw await refusal(response)
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
    return ask(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) })
  }
  let response = await send(false)
  if (response.status === 401 && tokens) response = await send(true)
  if (!response.ok) throw await refusal(response)
  return response
}

const ask = (path, options) =>
  fetch(path, options).catch(() => {
    throw new Error('The server does not answer. Try again in a moment.')
  })

async function refusal(response) {
  const answer = await response.json().catch(() => ({}))
  const detail = Array.isArray(answer.detail) ? answer.detail.map((each) => each.msg).join('; ') : answer.detail
  return Object.assign(new Error(detail ?? `${response.status} ${response.statusText}`), { status: response.status })
}

/**
 * Show what there is to choose from, the newest first. What is there already stays where it is, and keeps the reader's focus.
 * @param {HTMLElement} list
 * @param {{id: string, title: string, note: string, look?: string}[]} choices
 * @param {string} [current] the id of the one that is open.
 * @param {(id: string) => void} choose
 */
export function showChoices(list, choices, current, choose) {
  const known = new Map([...list.children].map((item) => [item.dataset.id, item]))
  choices.forEach(({ id, title, note, look = '' }, index) => {
    const item = known.get(id) ?? list.insertBefore(choice(id, choose), list.children[index] ?? null)
    known.delete(id)
    item.className = look
    item.querySelector('strong').textContent = title
    item.querySelector('small').textContent = note
    item.firstElementChild.setAttribute('aria-current', String(id === current))
  })
  for (const item of known.values()) item.remove()
}

function choice(id, choose) {
  const button = make('button', '', make('span', 'dot'), make('span', '', make('strong'), make('small')))
  button.type = 'button'
  button.addEventListener('click', () => choose(id))
  const item = make('li', '', button)
  item.dataset.id = id
  return item
}
