// What a client meets in the unit tests: a hub whose answers the test writes, a clock that the test moves, and a page that is
// hidden, shown, cut off and kept.
import { mock } from 'node:test'
import { createClient } from '../headwater.js'

/** Everything that does not need time to pass has happened. */
export const settle = async () => {
  for (let i = 0; i < 4; i += 1) await new Promise(setImmediate)
}

/** One request that the hub has got; the test says what becomes of it. */
class Asked {
  constructor(url, init, resolve, reject) {
    this.url = new URL(url)
    this.init = init
    this.headers = Object.fromEntries(init.headers)
    this.accept = this.headers.accept
    this.isAborted = false
    this.#resolve = resolve
    init.signal.addEventListener('abort', () => {
      this.isAborted = true
      reject(init.signal.reason)
      try {
        this.#stream?.error(init.signal.reason)
      } catch {} // it has ended
    })
    this.lose = async () => {
      reject(new TypeError('fetch failed'))
      this.#stream?.error(new TypeError('terminated'))
      await settle()
    }
  }
  #resolve
  #stream

  /** Answer with an event stream, and its first bytes. */
  async open(text = ':\n', { type = 'text/event-stream' } = {}) {
    const body = new ReadableStream({ start: (controller) => (this.#stream = controller) })
    this.#resolve(new Response(body, { headers: { 'content-type': type } }))
    if (text) await this.send(text)
    else await settle()
  }
  async send(text) {
    this.#stream.enqueue(new TextEncoder().encode(text))
    await settle()
  }
  async end() {
    this.#stream.close()
    await settle()
  }
  async answer(status, body = null, headers = {}) {
    this.#resolve(new Response(body === null ? null : JSON.stringify(body), { status, headers: { 'content-type': 'application/json', ...headers } }))
    await settle()
  }
  async polled(events = [], cursor = '', reset = null) {
    await this.answer(200, { events: events.map(([id, data, more]) => ({ id, type: 'log', data, channel: 'a', ...more })), cursor, reset })
  }
  async raw(response) {
    this.#resolve(response)
    await settle()
  }
}

/** A clock, a hub and a page of their own, until `end`. */
export class World {
  asked = []
  statuses = []
  events = []
  page = new EventTarget()
  document = Object.assign(new EventTarget(), { hidden: false })
  #saved = ['addEventListener', 'document', 'navigator', 'location'].map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)])

  constructor() {
    mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 })
    this.navigator = { onLine: true }
    this.put('addEventListener', this.page.addEventListener.bind(this.page))
    this.put('document', this.document)
    this.put('navigator', this.navigator)
    this.put('location', new URL('http://hub/page'))
    this.random = 0.5
    mock.method(Math, 'random', () => this.random)
  }
  put(name, value) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true })
  }
  end() {
    for (const client of this.clients) client.close()
    mock.timers.reset()
    mock.restoreAll()
    for (const [name, descriptor] of this.#saved) {
      if (descriptor) Object.defineProperty(globalThis, name, descriptor)
      else delete globalThis[name]
    }
  }
  clients = []

  fetch = (url, init) =>
    new Promise((resolve, reject) => {
      init.signal.throwIfAborted()
      this.asked.push(new Asked(url, init, resolve, reject))
    })

  client(options = {}) {
    const client = createClient({ channels: ['a'], fetch: this.fetch, ...options })
    client.onStatus((status) => this.statuses.push(status))
    client.on('*', ({ id, data }) => this.events.push([id, data]))
    this.clients.push(client)
    return client
  }
  /** A client whose stream is open. */
  async opened(options, text) {
    const client = this.client(options)
    client.connect()
    await settle()
    await this.last.open(text)
    return client
  }
  get last() {
    return this.asked.at(-1)
  }
  get lastStream() {
    return this.asked.findLast(({ accept }) => accept === 'text/event-stream')
  }
  get lastPoll() {
    return this.asked.findLast(({ accept }) => accept === 'application/json')
  }
  get states() {
    return this.statuses.map(({ state, reason }) => `${state}: ${reason}`)
  }
  /** Let so many milliseconds pass, in steps, so that what follows from a timer has its own time. */
  async pass(milliseconds) {
    const step = Math.max(1, Math.ceil(milliseconds / 50))
    for (let left = milliseconds; left > 0; left -= step) {
      mock.timers.tick(Math.min(step, left))
      await settle()
    }
  }
  async tell(type, more = {}, target = this.page) {
    target.dispatchEvent(Object.assign(new Event(type), more))
    await settle()
  }
  async show(isHidden) {
    this.document.hidden = isHidden
    await this.tell('visibilitychange', {}, this.document)
  }
  /** The stream fails, and so do the next ones, so many in all. */
  async failed(times = 3) {
    for (let i = 1; ; i += 1) {
      const { lastStream, clients } = this
      await lastStream.lose()
      if (i === times) return
      await this.pass(clients[0].status.retryAt - Date.now())
    }
  }
}

/** `test` with a world of its own. */
export const inWorld = (work) => async (t) => {
  const world = new World()
  try {
    await work(world, t)
  } catch (error) {
    if (world.clients.some((client) => client.metrics().queued)) console.error(error) // hidden by what the close rejects
    throw error
  } finally {
    world.end()
    await settle()
  }
}

export const event = (id, data, type = 'log') => `id: ${id}\nevent: ${type}\ndata: ${JSON.stringify(data)}\n\n`
