// The events of one user: streamed while that works, polled while it does not, in order and each once either way.
//
// The connection comes back by itself, ever later after each failure. After three failures in a row, and until it is back, the
// same URL is polled between its attempts with the same cursor. Knows the connection and the poll; must not know the page.

import { Connection } from './client.js'

const FAILURES = 3
const WAIT = 25 // seconds that a poll is held while there is nothing
const PAUSE = 2000 // ms between polls that fail, too

export class Feed {
  #path
  #token
  #onEvent
  #onState
  #connection
  #failures = 0
  #poll = null // the AbortController of the polls between two attempts

  /**
   * @param {object} options
   * @param {string} options.path
   * @param {(options: {refresh: boolean}) => Promise<string>} options.token
   * @param {(type: string, data: any, id: string) => void} options.onEvent
   * @param {(state: string) => void} options.onState one of connecting, open, waiting, polling, closed, failed.
   */
  constructor({ path, token, onEvent, onState }) {
    this.#path = path
    this.#token = token
    this.#onEvent = onEvent
    this.#onState = onState
    this.#connection = new Connection(path, {
      token,
      onMessage: ({ type, data, id }) => onEvent(type, JSON.parse(data), id),
      onState: (state) => this.#moved(state),
    })
  }

  open() {
    this.#connection.open()
  }

  /** End it. `open` goes on from where it was. */
  close() {
    this.#connection.close()
  }

  #moved(state) {
    this.#poll?.abort()
    this.#poll = null
    if (state === 'open') this.#failures = 0
    if (state === 'waiting' && ++this.#failures >= FAILURES) this.#startPolling()
    else this.#onState(state === 'connecting' && this.#failures >= FAILURES ? 'polling' : state)
  }

  async #startPolling() {
    const controller = (this.#poll = new AbortController())
    this.#onState('polling')
    while (!controller.signal.aborted) {
      try {
        this.#take(await this.#ask(controller.signal), controller)
      } catch {
        await new Promise((resolve) => setTimeout(resolve, PAUSE))
      }
    }
  }

  async #ask(signal) {
    const headers = { Accept: 'application/json', Authorization: `Bearer ${await this.#token({ refresh: false })}` }
    const cursor = this.#connection.lastEventId
    if (cursor) headers['Last-Event-ID'] = cursor
    // The first poll finds out where the log is now; it must not wait, or what comes meanwhile would not be asked for.
    const response = await fetch(`${this.#path}?wait=${cursor ? WAIT : 0}`, { headers, cache: 'no-store', signal })
    if (!response.ok) throw new Error(response.statusText)
    return response.json()
  }

  #take({ events, cursor, reset }, controller) {
    if (controller.signal.aborted) return
    const isFirst = !this.#connection.lastEventId
    this.#connection.lastEventId = cursor
    if (isFirst) this.#onEvent('connected', { cursor }, cursor) // what a stream would have begun with
    if (reset) this.#onEvent('reset', reset, cursor)
    for (const { type, data, id } of events) this.#onEvent(type, data, id)
  }
}
