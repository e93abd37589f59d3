// A client for Headwater in one file without dependencies: streams over fetch, so it can send a token and read problems,
// with a parser of its own. Reconnects from where it left off. Works in browsers, workers, Node and Deno.
//
//   import { Connection } from './client.js'
//   const connection = new Connection('/events?channel=room:42', {
//     onMessage: ({ type, data, id, channel }) => console.log(type, JSON.parse(data)),
//   })
//   connection.open()

const RETRIED = new Set([408, 425, 429, 500, 502, 503, 504])
const MAX_BUFFER = 1 << 20 // characters of one event
const MAX_DELAY = 30_000
const SILENCE = 45_000 // three of the hub's default heartbeats

/** Bytes of an event stream to messages, however they are cut (WHATWG HTML, section 9.2.6). */
export class Decoder {
  /** What the stream has set: where to resume, and milliseconds to wait before. They survive `close`. */
  lastEventId
  /** @type {number | null} */
  retry = null
  #max
  #text
  #rest
  #afterCr
  #block

  /** @param {{lastEventId?: string, max?: number}} [options] max: characters of one line, and of one event's data. */
  constructor({ lastEventId = '', max = MAX_BUFFER } = {}) {
    this.lastEventId = lastEventId
    this.#max = max
    this.close()
  }

  /** The connection has ended: drop the incomplete block. The next connection's bytes may follow. */
  close() {
    this.#text = new TextDecoder() // drops one byte order mark
    this.#rest = ''
    this.#afterCr = false
    this.#block = emptyBlock(this.lastEventId)
  }

  /** @param {Uint8Array} bytes @returns {{type: string, data: string, id: string, channel: string | null}[]} */
  feed(bytes) {
    let text = this.#text.decode(bytes, { stream: true })
    if (!text) return []
    if (this.#afterCr && text[0] === '\n') text = text.slice(1)
    this.#afterCr = text ? text.endsWith('\r') : false // a CR ends its line now; a LF that follows belongs to it
    const lines = (this.#rest + text).split(/\r\n|\r|\n/)
    this.#rest = lines.pop()
    this.#check(this.#rest.length)
    return lines.flatMap((line) => this.#take(line))
  }

  #check(size) {
    if (size > this.#max) throw new RangeError(`the stream has a line or an event of over ${this.#max} characters`)
  }

  #take(line) {
    const block = this.#block
    this.#check(line.length)
    if (line === '') {
      this.lastEventId = block.id
      this.#block = emptyBlock(block.id)
      if (!block.data.length) return []
      const { type, id, channel } = block
      return [{ type: type || 'message', data: block.data.join('\n'), id, channel }]
    }
    const colon = line.indexOf(':')
    const name = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1))
    if (name === 'data') {
      block.size += value.length + 1
      this.#check(block.size)
      block.data.push(value)
    } else if (name === 'event') block.type = value
    else if (name === 'id' && !value.includes('\0')) block.id = value
    else if (name === 'channel') block.channel = value || null
    else if (name === 'retry' && /^[0-9]+$/.test(value)) this.retry = Math.min(Number(value), Number.MAX_SAFE_INTEGER)
    return []
  }
}

/** Call the application's function. What it throws is the application's to see, and no fault of the connection. */
const attempt = (callback, value) => {
  try {
    callback?.(value)
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}

const emptyBlock = (id) => ({ data: [], size: 0, type: '', id, channel: null })

/** One subscription that stays open until it is closed or refused for good. */
export class Connection {
  /** Where the next connection begins. */
  lastEventId
  /** 'idle' | 'connecting' | 'open' | 'waiting' | 'closed' | 'failed' */
  state = 'idle'
  #url
  #options
  #attempt = 0 // in a row without a stream
  #base = 2000
  #current = null // the AbortController of the connection that counts; what others do is ignored
  #timer
  #refreshed = false

  /**
   * @param {string | URL} url of the stream.
   * @param {object} options
   * @param {(options: {refresh: boolean}) => string | null | Promise<string | null>} [options.token] gives the bearer token;
   *   with `refresh` after the hub has refused the last one.
   * @param {string} [options.lastEventId] where to begin.
   * @param {(message: {type: string, data: string, id: string, channel: string | null}) => void} [options.onMessage]
   * @param {(state: string, details: object) => void} [options.onState] details: `delay` (ms) while waiting, `error` or
   *   `problem` where there is one, `sent` (the Last-Event-ID) when connecting.
   * @param {(bytes: Uint8Array) => void} [options.onBytes] everything as it comes.
   * @param {typeof fetch} [options.fetch]
   */
  constructor(url, options = {}) {
    this.#url = url
    this.#options = options
    this.lastEventId = options.lastEventId ?? ''
  }

  /** Connect, from `lastEventId` on. Does nothing while it is connected or connecting. */
  open() {
    if (this.#current) return
    clearTimeout(this.#timer)
    const controller = (this.#current = new AbortController())
    this.#run(controller).catch((error) => {
      if (controller === this.#current) this.#again({ error })
    })
  }

  /** End it. `open` goes on from where it was. */
  close() {
    clearTimeout(this.#timer)
    this.#current?.abort()
    this.#current = null
    this.#become('closed', {})
  }

  async #run(controller) {
    this.#become('connecting', { sent: this.lastEventId })
    const { fetch: send = globalThis.fetch, token, onBytes, onMessage } = this.#options
    const headers = { Accept: 'text/event-stream' }
    if (this.lastEventId) headers['Last-Event-ID'] = this.lastEventId
    const bearer = await token?.({ refresh: this.#refreshed })
    if (bearer) headers.Authorization = `Bearer ${bearer}`
    let dog = setTimeout(() => controller.abort(), SILENCE)
    try {
      const response = await send(this.#url, { headers, cache: 'no-store', signal: controller.signal })
      if (controller !== this.#current) return
      if (!this.#accepts(response)) return await this.#refused(response, controller)
      this.#refreshed = false
      this.#become('open', {})
      const decoder = new Decoder({ lastEventId: this.lastEventId })
      for (const reader = response.body.getReader(); ; ) {
        const { done, value } = await reader.read()
        if (controller !== this.#current) return
        if (done) break
        clearTimeout(dog)
        dog = setTimeout(() => controller.abort(), SILENCE)
        this.#attempt = 0
        attempt(onBytes, value)
        for (const message of decoder.feed(value)) {
          this.lastEventId = message.id || this.lastEventId
          attempt(onMessage, message)
          if (controller !== this.#current) return
        }
        this.lastEventId = decoder.lastEventId || this.lastEventId
        this.#base = decoder.retry ?? this.#base
      }
      this.#again({})
    } finally {
      clearTimeout(dog)
      controller.abort()
    }
  }

  #accepts(response) {
    const media = response.headers.get('content-type') ?? ''
    return response.status === 200 && /^\s*text\/event-stream\s*(;|$)/i.test(media)
  }

  async #refused(response, controller) {
    const problem = await response.json().catch(() => ({ status: response.status, detail: response.statusText }))
    if (controller !== this.#current) return
    if (response.status === 401 && this.#options.token && !this.#refreshed) {
      this.#refreshed = true
      this.#again({ problem })
    } else if (RETRIED.has(response.status)) {
      this.#again({ problem }, 1000 * (Number(response.headers.get('retry-after')) || 0))
    } else {
      this.#current = null
      this.#become(response.status === 204 ? 'closed' : 'failed', { problem })
    }
  }

  /** Come back later: after a stream about when the hub said, after failures ever later; at a random moment, so that the
   * clients of a hub that was down do not return all at once. */
  #again(details, least = 0) {
    this.#current = null
    const ceiling = Math.min(MAX_DELAY, this.#base * 2 ** this.#attempt)
    const delay = least + ceiling * (0.75 + Math.random() / 2)
    this.#attempt += 1
    this.#become('waiting', { delay, ...details })
    this.#timer = setTimeout(() => this.open(), delay)
  }

  #become(state, details) {
    this.state = state
    this.#options.onState?.(state, details)
  }
}
