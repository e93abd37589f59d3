// A network that can be broken: it stands between the client and the real one, in the place of `fetch`. The client does not
// know it. Only the test page has one.

const CUT = 'the connection was cut'
const FAILING = 30 // ms until a request without a network fails

/** What a proxy says while the server behind it is being restarted. */
const restarting = (retryAfter: number) =>
  new Response(JSON.stringify({ title: 'Service Unavailable', status: 503, detail: 'the server is being restarted' }), {
    status: 503,
    headers: { 'content-type': 'application/problem+json', 'retry-after': `${retryAfter}` },
  })

const pause = (delay: number) => new Promise((resolve) => setTimeout(resolve, delay))

/** A stream of which a proxy lets nothing through. */
const muted = (signal: AbortSignal) => {
  const body = new ReadableStream({ start: (stream) => signal.addEventListener('abort', () => stream.error(signal.reason)) })
  return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
}

const isStream = ({ headers }: RequestInit) => /event-stream/.test(new Headers(headers).get('accept') ?? '')

export class Network {
  isDown = false
  isMute = false
  /** Requests that will be refused. */
  refusals = 0
  retryAfter = 1
  #life = new AbortController()

  /** In the place of `fetch`, for `createClient`. */
  fetch = async (url: URL, init: RequestInit): Promise<Response> => {
    if (this.isDown) {
      await pause(FAILING)
      throw new TypeError(CUT)
    }
    if (this.refusals > 0) {
      this.refusals -= 1
      return restarting(this.retryAfter)
    }
    const signal = AbortSignal.any([this.#life.signal, ...(init.signal ? [init.signal] : [])])
    if (this.isMute && isStream(init)) return muted(signal)
    return fetch(url, { ...init, signal })
  }

  /** End what is under way, wherever it is: also in the middle of an event. */
  cut() {
    this.#life.abort(new TypeError(CUT))
    this.#life = new AbortController()
  }

  down() {
    this.isDown = true
    this.cut()
  }

  up() {
    this.isDown = this.isMute = false
    this.refusals = 0
  }

  /** From now on streams open, and bring nothing. */
  mute() {
    this.isMute = true
    this.cut()
  }

  /** The server is gone, and then says so often that it is not there yet. */
  restart(refusals: number) {
    this.refusals = refusals
    this.cut()
  }
}
