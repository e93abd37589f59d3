// Headwater for browsers, workers, Node and Deno: a stream of events that keeps its place.
//
//   import { createClient } from 'headwater'
//   const events = createClient({ url: '/events', channels: ['room:42'], token: () => session.token() })
//   const off = events.on('log', ({ data, id }) => console.log(data))
//   events.connect()
//
// One file without imports, because the wheel serves it as it is (`/client.js`). From the bottom up: the decoder (bytes to
// messages), the budget (when to try again), requests, the engine (one connection's life, as a table of states), the tabs
// (one connection for all of them), the outbox (what waits to be published) and the client, which is all that others see.
// Nothing runs before `connect`, and nothing after `close`.

/** @import { Auth, Client, ClientOptions, EventMap, Message, OnOptions, PublishOptions, Reason, ServerEvent, State, Status } from './types.d.ts' */

/** @type {State[]} */
const REST = ['connecting', 'offline', 'idle', 'closed']
/** @type {State[]} */
const BUSY = [...REST, 'open', 'waiting', 'polling', 'suspended', 'failed']

/** Which state may follow which. Whatever is not here is a defect, and throws. @type {Record<State, readonly State[]>} */
export const STATES = { idle: REST, connecting: BUSY, open: BUSY, waiting: REST, polling: BUSY, suspended: REST, offline: REST, closed: REST, failed: REST }

/** Types that only the hub itself sends; `on('*')` is not told of them. */
const RESERVED = /^(connected|heartbeat|reset|token_expiring|closing)$/
const DIGITS = /^\d+$/
const STATUS = '\n' // the handlers' type for it, which no event can have
const MAX_BUFFER = 1 << 20 // characters of one event
const MAX_HELD = 1000 // notes of another tab that wait
const MAX_WAIT = 3_600_000 // ms for which a server can send a client away, by mistake or otherwise
const GRACE = 2000 // ms for what arrived while a page was frozen to be read
const ANSWER = 3000 // ms for a leading tab to give a sign of life
const LINGER = 1000 // ms for which nobody needs a connection before it is closed

const DEFAULTS = {
  url: '/events',
  channels: /** @type {readonly string[]} */ ([]),
  base: 1000,
  max: 30_000,
  stableAfter: 5000,
  connectTimeout: 10_000,
  silence: 45_000, // three of the hub's default heartbeats
  after: 3, // failures, until it polls
  wait: 25, // s that the hub may hold a poll
  breaker: 8,
  probeEvery: 30_000,
  maxQueue: 100,
  lastEventId: '',
  ticketUrl: /** @type {string | URL} */ ('tickets'),
  publishUrl: /** @type {string | URL} */ ('?'), // the stream's, without its parameters
  parse: /** @type {(data: string) => unknown} */ (JSON.parse),
}

/** @typedef {Omit<typeof DEFAULTS, 'url'> & Omit<ClientOptions, keyof typeof DEFAULTS | 'poll' | 'retry'> & {url: NonNullable<ClientOptions['url']>}} Settings */
/** @typedef {Partial<Status> & {state: State, reason: Reason}} News */
/** @typedef {(message: Message) => void} Tell @typedef {(news: News) => void} Move */

/** The page, a worker, or whatever else this runs in. @type {any} */
const world = globalThis

const now = () => Date.now()

/** So that not all do it at once. @param {number} time */
const about = (time) => time * (0.5 + Math.random())

/** @param {() => void} work @param {number} delay milliseconds. @returns {any} */
const later = (work, delay) => {
  const timer = /** @type {any} */ (setTimeout(work, delay))
  timer.unref?.() // a waiting client keeps no program alive
  return timer
}

/** What some work comes to, unless a signal is aborted first, or time is over: an application's function may hang for ever.
 * @template T @param {AbortSignal} signal @param {number} delay @param {(signal: AbortSignal) => T | Promise<T>} work is told to end.
 * @returns {Promise<T>} */
const unless = (signal, delay, work) =>
  new Promise((resolve, reject) => {
    const own = new AbortController()
    own.signal.addEventListener('abort', () => reject(own.signal.reason))
    later(() => own.abort(new Error('no answer in time')), delay)
    signal.addEventListener('abort', () => own.abort(), own) // and no longer than that
    signal.throwIfAborted()
    Promise.resolve(work(own.signal)).then(resolve, reject)
  })

/** @param {AbortSignal} signal @param {number} delay */
const pause = (signal, delay) => unless(signal, delay, () => new Promise(() => {})).catch(() => {})

/**
 * Do it until it succeeds or is refused for good. A refused token is renewed once.
 * @template T @param {AbortSignal} signal @param {Settings} settings @param {(signal: AbortSignal, isFresh: boolean) => T | Promise<T>} work
 * @param {(signal: AbortSignal, delay: number) => Promise<unknown>} [rest] between tries.
 * @returns {Promise<T>}
 */
const insist = async (signal, settings, work, rest = pause) => {
  for (let failures = 0, isFresh = false; ; ) {
    try {
      return await unless(signal, settings.connectTimeout, (limit) => work(limit, isFresh))
    } catch (/** @type {any} */ error) {
      const { status, retryAfter } = error
      if (signal.aborted || (!mayPass(status) && (status !== 401 || isFresh))) throw error
      isFresh = status === 401
      if (!isFresh) await rest(signal, delayOf({ ...settings, failures: ++failures, retryAfter }))
    }
  }
}

/**
 * The bytes of one event stream to messages, however they are cut (WHATWG HTML, section 9.2.6). Called with `new`.
 * @param {{lastEventId?: string, max?: number}} [options] max: characters of one line, and of one event's data.
 */
export function Decoder({ lastEventId = '', max = MAX_BUFFER } = {}) {
  const text = new TextDecoder() // drops one byte order mark
  let rest = ''
  let isAfterCr = false
  // The event that is being read.
  /** @type {string[]} */
  let data = []
  let size = 0
  let type = ''
  let id = lastEventId
  /** @type {string | null} */
  let channel = null

  /** @param {number} length */
  const measure = (length) => check(length, max, 'characters in an event')

  /** @type {Message[]} */
  let messages

  /** @param {string} line */
  const take = (line) => {
    measure(line.length)
    if (!line) {
      if (data.length) messages.push({ type: type || 'message', data: data.join('\n'), id, channel })
      decoder.lastEventId = id // only now: an event that was cut off must come again
      data = []
      size = 0
      type = ''
      channel = null
      return
    }
    const [, name, value = ''] = /** @type {string[]} */ (/^([^:]*):? ?([^]*)$/.exec(line))
    if (name === 'data') {
      measure((size += value.length + 1))
      data.push(value)
    } else if (name === 'event') type = value
    else if (name === 'id' && !value.includes('\0')) id = value
    else if (name === 'channel') channel = value || null
    else if (name === 'retry' && DIGITS.test(value)) decoder.retry = Math.min(+value, 2 ** 53 - 1)
  }

  const decoder = {
    /** Where to resume. */
    lastEventId,
    /** Milliseconds that the stream asked to wait. @type {number | null} */
    retry: null,
    /** @param {Uint8Array} bytes @returns {Message[]} @throws {RangeError} a line or an event is too long. */
    feed(bytes) {
      let more = text.decode(bytes, { stream: true })
      messages = []
      if (!more) return messages
      if (isAfterCr && more[0] === '\n') more = more.slice(1)
      isAfterCr = more.endsWith('\r') // it ends its line now; a LF that follows belongs to it
      const lines = more.split(/\r\n?|\n/)
      lines[0] = rest + lines[0] // and not before it is split: a long line in many pieces is looked through once
      rest = /** @type {string} */ (lines.pop())
      measure(rest.length)
      lines.forEach(take)
      return messages
    },
  }
  return decoder
}

/**
 * Milliseconds to wait before the next try: none after a stream that was stable; else a random part of an exponentially
 * growing ceiling ("full jitter"), so that the clients of a hub that was down do not return together.
 * @param {{failures: number, base: number, max: number, told?: number | null, retryAfter?: number}} budget failures in a
 *   row; told: this stream's own turn to come back, from its `closing` event; retryAfter: the same for everybody, from a response.
 */
export const delayOf = ({ failures, base, max, told = null, retryAfter = 0 }) => {
  const ceiling = failures && Math.min(Math.max(max, base), base * 2 ** (failures - 1))
  const delay = retryAfter + Math.max(told ?? 0, Math.random() * Math.max(ceiling, retryAfter / 4))
  return Math.min(MAX_WAIT, told !== null && failures < 2 ? told : delay) // told again and again: that is a failure, too
}

/** @param {number} size @param {number} max @param {string} what */
const check = (size, max, what) => {
  if (size > max) throw new RangeError(`over ${max} ${what}`)
}

/** @param {State} state */
const isOver = (state) => /closed|failed/.test(state)

/** Whether a request that was refused so may be taken next time. @param {any} [status] */
const mayPass = (status = 500) => /^5|408|42[59]/.test(status)

/** A response that is no good, as an error. @param {Response} response @param {string} [message] */
const refusal = async (response, message) => {
  const { status, headers } = response
  const problem = message ? null : await response.json().catch(() => null)
  const after = headers.get('retry-after') ?? ''
  const retryAfter = DIGITS.test(after) ? 1000 * +after : (/GMT$/.test(after) && Math.max(0, Date.parse(after) - now())) || 0
  return Object.assign(new Error(message ?? problem?.detail ?? `status ${status}`), { status, problem, retryAfter })
}

/** The stream's address. @param {Settings} settings */
const addressOf = async ({ url, channels }) => {
  const address = new URL(/** @type {any} */ (url).call ? await /** @type {any} */ (url)() : url, world.location)
  for (const channel of channels) address.searchParams.append('channel', channel)
  return address
}

/**
 * One request, with the application's own headers and its token, by its fetch. That is looked up now: others wrap it late.
 * @param {Settings} settings @param {boolean} isFresh the token must be a new one. @param {AbortSignal} signal
 * @param {{accept?: string, from?: string, wait?: string, to?: string | URL, body?: string, key?: string}} what from: an id; to: where
 *   something is posted, relative to the stream's address.
 * @returns {Promise<Response>} one that is good.
 */
const request = async (settings, isFresh, signal, { accept, from, wait, to, body, key }) => {
  const { via, fetch: send = world.fetch } = settings
  const url = new URL(to ?? '', await addressOf(settings))
  /** @type {any} */
  const token = await settings.token?.({ reason: isFresh ? 'unauthorized' : 'connect', signal })
  signal.throwIfAborted()
  /** @type {Record<string, string | undefined>} */
  const query = { wait }
  /** @type {typeof query} */
  const named = { Accept: accept, 'Last-Event-ID': from && unescape(encodeURIComponent(from)), 'Content-Type': body && 'application/json', 'Idempotency-Key': key }
  const headers = new Headers(settings.headers)
  if (!token || via === 'query') query.token = token
  else if (via === 'ticket') {
    // Bought for this one request, so that the token stays out of URLs and logs.
    const bought = await request({ ...settings, token: () => token, via: 'header' }, isFresh, signal, { to: settings.ticketUrl })
    query.ticket = (await bought.json()).ticket
  } else named.Authorization = `Bearer ${token}`
  for (const name in named) if (named[name]) headers.set(name, /** @type {string} */ (named[name]))
  for (const name in query) if (query[name]) url.searchParams.set(name, /** @type {string} */ (query[name]))
  const response = await send(url, { method: to && 'POST', body, headers, signal, cache: 'no-store', credentials: via === 'cookie' ? 'include' : undefined })
  if (to ? !response.ok : response.status !== 200) throw await refusal(response)
  return response
}

/** What a poll brought, as a stream would bring it: the hub's own messages have no id here. @param {any} answer @param {boolean} [isFirst] @returns {Message[]} */
const messagesOf = ({ cursor, reset, events }, isFirst) =>
  [...(isFirst ? [{ type: 'connected', data: { cursor } }] : []), ...(reset ? [{ type: 'reset', data: reset }] : []), ...events].map(
    ({ type, data, id = '', channel = null, text }) => ({ type, data: text ? data : JSON.stringify(data), id, channel }),
  )

/** One connection's life. Knows the wire and when to try again; must not know handlers, tabs or what is published.
 * @param {Settings} settings @param {Tell} tell @param {Move} move */
const engineOf = (settings, tell, move) => {
  const { after, breaker, silence, connectTimeout } = settings
  const counts = { attempts: 0, opened: 0, polls: 0 }
  let openTime = 0
  /** @type {State} */
  let state = 'idle'
  /** @type {Status['error'] | undefined} */
  let trouble
  let cursor = settings.lastEventId
  /** The attempt that counts; what others still do is ignored. @type {AbortController | null | undefined} */
  let current
  /** The polls that stand in for a stream. @type {AbortController | null | undefined} */
  let polling
  /** The one timer: of the connect timeout, the watchdog, or the next try. @type {any} */
  let timer
  let failures = 0 // in a row, of streams and polls; all that is decided about trying again hangs on this number
  let isFresh = false // the next token must be a new one
  let { base } = settings
  let openedAt = 0
  let heardAt = 0
  /** @type {number | null} */
  let told = null

  /** @param {State} next @param {Reason} reason @param {Partial<Status>} [details] */
  const become = (next, reason, details = {}) => {
    if (!STATES[state].includes(next)) throw new Error(`${state} to ${next}`)
    state = next
    trouble = details.error
    move({ ...details, state, reason, attempt: failures, since: now() })
  }

  /** ms for which streams have been open. */
  const total = () => openTime + (openedAt && now() - openedAt)

  const end = () => {
    clearTimeout(timer)
    openTime = total()
    openedAt = 0
    current?.abort()
    current = null
  }

  const drop = () => {
    end()
    polling?.abort()
    polling = null
  }

  // In all that follows the timer is set before others are told, because what they do about it may be to close.

  /** @param {number} delay @param {() => void} [work] */
  const plan = (delay, work = () => start('probe')) => {
    clearTimeout(timer)
    timer = later(work, delay)
  }

  const soon = (least = 0) => Math.min(MAX_WAIT, Math.max(least, about(settings.probeEvery)))

  /** Wait for another try. @param {'waiting' | 'suspended' | 'offline'} next @param {Reason} reason @param {number} delay @param {any} [error] */
  const rest = (next, reason, delay, error = null) => {
    drop()
    plan(delay, () => start(next === 'waiting' ? 'retry' : 'probe'))
    become(next, reason, { error, retryAt: now() + delay })
  }

  /** @param {Reason} reason @param {any} error */
  const retry = (reason, error) => {
    const retryAfter = error?.retryAfter
    if (failures >= breaker) rest('suspended', reason, soon(retryAfter), error)
    else rest('waiting', reason, delayOf({ ...settings, failures, base, told, retryAfter }), error)
  }

  /** @param {Reason} reason @param {string} [from] */
  const start = (reason, from = cursor) => {
    if (current) return
    cursor = from
    if (reason !== 'probe' && world.navigator?.onLine === false) rest('offline', 'offline', soon())
    else attempt(reason)
  }

  /** @param {State} next @param {Reason} reason @param {any} [error] */
  const stop = (next, reason, error = null) => {
    if (state === next || (next !== 'closed' && isOver(state))) return
    drop()
    if (next === 'offline') rest(next, reason, soon())
    else become(next, reason, { error })
  }

  /** @param {Reason} reason */
  const attempt = (reason) => {
    const controller = (current = new AbortController())
    told = null
    plan(connectTimeout, () => fail(controller, new Error('no answer in time'), 'timeout'))
    if (!polling) become('connecting', reason)
    if (controller === current)
      read(controller)
        .catch((error) => error)
        .then((error) => fail(controller, error))
  }

  /** Read one response to its end. @param {AbortController} controller */
  const read = async ({ signal }) => {
    const began = cursor
    const response = await unless(signal, connectTimeout, () => request(settings, isFresh, signal, { accept: 'text/event-stream', from: began }))
    const media = /** @type {string} */ (response.headers.get('content-type'))
    if (!/^\s*text\/event-stream\s*(;|$)/i.test(media)) throw await refusal(response, `${media} is no event stream`)
    if (!response.body) failures = Math.max(failures, after - 1) // this fetch cannot stream, and will not learn it
    const decoder = Decoder({ lastEventId: began })
    for (const reader = /** @type {any} */ (response.body).getReader(); ; ) {
      const { done, value } = await reader.read()
      if (signal.aborted || done) return
      heardAt = now()
      if (!openedAt) {
        // The first byte: streaming works. If polls have moved on while it was tried, it is tried again from there, so that
        // nothing comes twice.
        const hasMoved = polling && began !== cursor
        polling?.abort()
        polling = null
        if (hasMoved) return again('probe')
        openedAt = heardAt
        isFresh = false
        counts.attempts++
        counts.opened++
        watch(silence)
        become('open', 'first byte', { transport: 'sse' })
      }
      const messages = decoder.feed(value)
      if (signal.aborted) return
      for (const message of messages) {
        if (message.type === 'closing') {
          told = decoder.retry === base ? 0 : (decoder.retry ?? 0) // only what is this stream's own
          isFresh = /expired|revoked/.test(message.data)
        }
        cursor = message.id
        tell(message)
        if (signal.aborted) return
      }
      cursor = decoder.lastEventId
      if (told === null) base = decoder.retry ?? base
    }
  }

  /** One timer that looks at when the last byte came. A timer that is late by itself tells of a page that was frozen, not of a
   * silent hub: then it looks a second time, a moment later. @param {number} wait @param {boolean} [isSecond] */
  const watch = (wait, isSecond) => {
    const due = now() + wait
    plan(wait, () => {
      const silent = now() - heardAt
      if (silent < silence) watch(silence - silent)
      else if (!isSecond && now() - due > GRACE / 4) watch(GRACE, true)
      else if (silence) fail(current, new Error('no answer in time'), 'silence')
    })
  }

  /** @param {AbortController | null | undefined} controller @param {any} error @param {Reason} [reason] */
  const fail = (controller, error = null, reason = error ? (error.status ? 'status' : 'network') : told === null ? 'ended' : 'closing') => {
    if (controller !== current) return
    const lasted = openedAt && heardAt - openedAt // by its last byte: silence does not make a stream last
    if (!openedAt) counts.attempts += 1
    end()
    if (isSettled(error)) return isOver(state) || attempt('unauthorized')
    failures = lasted >= settings.stableAfter ? 0 : failures + 1
    if (polling) plan(soon(error?.retryAfter))
    else if (after && failures >= after) poll(reason, error)
    else retry(reason, error)
  }

  /** Whether a status decides by itself what to do: end, or try at once with a new token. @param {any} error */
  const isSettled = (error) => {
    const status = error?.status
    if (status === 204) stop('closed', 'no content')
    else if (status === 401 && settings.token && !isFresh) isFresh = true
    else if (!mayPass(status)) stop('failed', 'status', error)
    else return false
    return true
  }

  /** Ask for events instead of having them streamed, until a stream's first byte comes. @param {Reason} reason @param {any} error */
  const poll = async (reason, error) => {
    const { signal } = (polling = new AbortController())
    /** Whether polls are answered. @type {Status['transport'] | undefined} */
    let transport
    /** @param {Status['transport']} next */
    const mark = (next) => {
      if (next !== transport) become('polling', reason, { error, transport: (transport = next) })
    }
    plan(soon(error?.retryAfter))
    mark(null)
    while (!signal.aborted) {
      const begun = now()
      // Without an id it only finds out where the log is; held, it would not be asked about what comes meanwhile.
      const isFirst = !cursor
      try {
        const answer = await ask(cursor, isFirst ? 0 : settings.wait, signal)
        const news = messagesOf(answer, isFirst)
        if (signal.aborted) return
        failures = after
        isFresh = false
        mark('poll')
        if (signal.aborted) return
        for (const message of news) {
          cursor = message.id || cursor
          tell(message)
          if (signal.aborted) return
        }
        cursor = answer.cursor
        if (!news.length && now() - begun < base) await pause(signal, base) // polls are not held here
      } catch (/** @type {any} */ failure) {
        if (signal.aborted || isSettled(failure)) continue
        failures++
        if (failures >= breaker) return retry('network', failure)
        mark(null)
        await pause(signal, delayOf({ ...settings, failures: failures - after, base, retryAfter: failure.retryAfter }))
      }
    }
  }

  /** One poll. @param {string} from @param {number} wait s that the hub may hold it @param {AbortSignal} signal @param {boolean} [isRenewed] with a new token. @returns {Promise<any>} */
  const ask = (from, wait, signal, isRenewed = isFresh) => {
    counts.polls++
    return unless(signal, 1000 * wait + connectTimeout, async (limit) => (await request(settings, isRenewed, limit, { accept: 'application/json', from, wait: `${wait}` })).json())
  }

  /** Go on with a new token, before the hub ends the stream of the old one. Not with a stream that has just begun: with tokens
   * of a few seconds that would never end. Without a new one, it goes on. */
  const renew = async () => {
    const controller = current
    if (!controller || now() - openedAt < settings.stableAfter) return
    const next = await unless(controller.signal, connectTimeout, (signal) => settings.token?.({ reason: 'expiring', signal })).catch(() => {})
    if (next && controller === current) again('token expiring')
  }

  /** Give up the present connection for a new one, from the same place. @param {Reason} reason */
  const again = (reason) => {
    drop()
    start(reason)
  }

  return {
    leads: () => true,
    counts,
    start,
    stop,
    again,
    renew,
    ask,
    /** Is the stream still alive, and need the next try be waited for? Asked when page or network are back. @param {Reason} reason */
    wake(reason) {
      if (state === 'open') watch(GRACE, true)
      else if (!(isOver(state) || trouble?.retryAfter)) start(reason) // who was sent away does not come back for a glance
    },
    cursor: () => cursor,
    total,
  }
}

/** Whom a token is for: tabs of two people must not share a stream. @param {any} token @returns {string | undefined} */
const subjectOf = (token) => {
  if (!token) return ''
  try {
    return JSON.parse(atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'))).sub
  } catch {}
}

/**
 * One connection for all tabs with the same stream and the same person. The tab that holds the Web Lock has the engine and
 * tells the others; when it is closed or crashes the browser hands the lock on, and the next one goes on from the last id.
 * A leader that gives no sign of life (frozen in the background) has its lock stolen. Each note says at which id the leader
 * was before it, so a tab that missed one asks the hub for what lies between.
 * @param {Settings} settings @param {Tell} tell @param {Move} move
 */
const tabsOf = (settings, tell, move) => {
  const { silence } = settings
  let leads = false
  let cursor = settings.lastEventId
  let name = ''
  let heardAt = 0 // a leader
  let isGreeted = false // has had a `connected`
  /** @type {any} */
  let last // the leader's status
  /** @type {AbortController | null | undefined} */
  let running
  /** @type {BroadcastChannel & {unref?: () => void} | null | undefined} */
  let channel
  /** Notes that wait for a gap to be filled; the first one told of it. @type {any} */
  let held
  /** @type {any} */
  let timer

  /** @param {'ping' | 'again' | {message: Message, at: string} | {status: any, at: string, again?: boolean}} note */
  const post = (note) => channel?.postMessage(note)

  /** Whether a place is further on than this tab, or in another log. Only here a cursor (`epoch-seq`) is looked into. @param {string} id */
  const isAhead = (id) => {
    const [epoch, seq] = id.split(/(\d+)$/)
    const [log, last] = cursor.split(/(\d+)$/)
    return epoch !== log || +seq > +last
  }

  /** @param {Message} message @param {any} [at] where its sender was: a log that has lost its end goes on from an earlier place. */
  const take = (message, at) => {
    const { id, type } = message
    if (id) {
      if (isAhead(id) || at === cursor) cursor = id
      else if (!RESERVED.test(type)) return // it was told
    }
    isGreeted ||= type === 'connected'
    tell(message)
  }

  /** @param {boolean} [again] it was said before, but not to everybody. */
  const share = (again) => post({ status: last, at: cursor, again })

  const engine = engineOf(
    settings,
    (message) => {
      post({ message, at: cursor })
      take(message, cursor)
    },
    (status) => {
      if (!leads) return // not any more
      const { error } = status
      last = { ...status, error: error && { message: error.message, status: error.status }, transport: status.transport && 'tab' }
      share()
      move(status)
    },
  )

  /** @param {Reason} reason */
  const lead = (reason) => {
    clearTimeout(timer)
    leads = true
    engine.start(reason, cursor)
  }

  /** Wait for the lock, or take it. @param {Reason} reason @param {boolean} [steal] */
  const queue = async (reason, steal) => {
    const { signal } = /** @type {AbortController} */ (running)
    const hold = () =>
      new Promise((release) => {
        signal.addEventListener('abort', release)
        if (signal.aborted) release(0)
        else lead(reason)
      })
    try {
      await navigator.locks.request(name, steal ? { steal } : { signal }, hold)
    } catch (/** @type {any} */ error) {
      if (signal.aborted) return
      if (error.name !== 'AbortError') return lead(reason) // this page may use no locks: a connection of its own
      leads = false // stolen, while this tab was frozen
      engine.stop('idle', 'leader gone')
      queue('leader gone')
      guard(0)
    }
  }

  /** @param {Reason} reason */
  const start = async (reason) => {
    if (running) return guard(0)
    const { signal } = (running = new AbortController())
    move({ state: 'connecting', reason })
    name = await insist(signal, settings, async (limit) => {
      const who = settings.principal ?? subjectOf(await settings.token?.({ reason: 'connect', signal: limit }))
      return who === undefined ? '' : `headwater:${await addressOf(settings)}:${who}`
    }).catch(() => '')
    if (signal.aborted) return
    try {
      if (name && navigator.locks) channel = new BroadcastChannel(name)
    } catch {}
    if (!channel) return lead(reason) // nobody to share with, or nothing to share by
    channel.onmessage = ({ data }) => hear(data)
    channel.unref?.() // Node's
    post('ping')
    queue(reason)
    guard(silence)
  }

  /** A note from another tab. @param {any} note */
  const hear = (note) => {
    const { message, status, at } = note
    if (leads) {
      if (note === 'again') engine.again('reconnect')
      if (note !== 'ping') return
      share(true)
      if (last.retryAt <= now()) engine.wake('retry')
    } else if (message || status) {
      // Other followers are no sign of a leader.
      heardAt = now()
      follow(note)
      if (status) {
        if (!note.again || !last) move((last = status))
        if (status.retryAt) later(() => post('ping'), status.retryAt - now()) // a hidden leader's own timer may be late
        if (status.transport && at && !isGreeted) messagesOf({ cursor: at, events: [] }, true).map(take)
      }
    }
  }

  /** Whether nothing is missing before a note: this tab has come to where the leader was, or further. @param {any} note */
  const follows = ({ message, at }) => !isAhead(at) || !isAhead(message?.id || at)

  /** @param {any} note */
  const follow = (note) => {
    const { message, at } = note
    if (held) {
      if (held.push(note) > MAX_HELD) held.shift()
    } else if (running) {
      cursor ||= at
      if ((message?.id || at) && !follows(note)) fill(note)
      else if (message) take(message, at)
    }
  }

  /** Ask the hub for what was missed before a note, until that follows, then go on with what has come meanwhile. A hub that has
   * nothing yet is behind the leader's, and is asked again. @param {any} note */
  const fill = async (note) => {
    held = [note]
    const { signal } = /** @type {AbortController} */ (running)
    try {
      while (!(leads || held.some(follows)))
        await insist(signal, settings, async (limit, isFresh) => {
          const answer = await engine.ask(cursor, 0, limit, isFresh)
          if (leads) return
          messagesOf(answer).map((message) => {
            take(message)
            signal.throwIfAborted()
          })
          cursor = answer.cursor
          if (!(answer.events.length || held.some(follows))) throw new Error('no answer in time')
        })
      const notes = held
      held = null
      if (!leads) notes.slice(notes.findIndex(follows)).map(follow) // those before are older than this tab
    } catch (error) {
      if (!signal.aborted) stop('failed', 'status', error) // rather than to leave a gap
    }
  }

  /** See that there is a leader: ask for a sign when nothing was heard for a while, and take over if none comes. @param {number} wait */
  const guard = (wait) => {
    clearTimeout(timer)
    timer = later(
      () => {
        const asked = now()
        const quiet = asked - heardAt
        if (world.document?.hidden) return guard(silence)
        if (wait && quiet < silence / 2) return guard(silence - quiet)
        post('ping')
        timer = later(() => (heardAt >= asked ? guard(silence) : queue('leader gone', true)), ANSWER)
      },
      about(wait),
    )
  }

  /** @param {State} next @param {Reason} reason @param {any} [error] */
  const stop = (next, reason, error = null) => {
    if (next === 'offline') return leads && engine.stop(next, reason)
    clearTimeout(timer)
    running?.abort()
    channel?.close()
    running = channel = held = null
    heardAt = 0
    if (leads) engine.stop(next, reason)
    else move({ state: next, reason, error })
    isGreeted = last = leads = false
  }

  return {
    ...engine,
    start,
    stop,
    wake: (/** @type {Reason} */ reason) => (leads ? engine.wake : start)(reason),
    again: (/** @type {Reason} */ reason) => (leads ? engine.again(reason) : channel ? post('again') : start(reason)),
    leads: () => leads,
    cursor: () => cursor,
  }
}

/** What is published, in order, each event once: it waits here while the hub cannot be reached, and is sent again under the
 * same key when an answer was lost. @param {Settings} settings */
const outboxOf = (settings) => {
  /** @type {{body: string, key: string, resolve: (ids: string[]) => void, reject: (error: any) => void}[]} */
  const waiting = []
  let wake = () => {}
  let stopped = new AbortController()

  /** Send what waits, one after the other. */
  const pump = async () => {
    for (let item; (item = waiting[0]); waiting.shift()) {
      const { body, key, resolve, reject } = item
      const send = async (/** @type {AbortSignal} */ signal, /** @type {boolean} */ isFresh) => {
        const response = await request(settings, isFresh, signal, { to: settings.publishUrl, body, key })
        return (await response.json()).ids
      }
      await insist(stopped.signal, settings, send, rest).then(resolve, reject)
      if (item !== waiting[0]) return // it was given back, and who came after it pumps
    }
  }

  /** @param {AbortSignal} signal @param {number} delay @returns {Promise<void>} */
  const rest = (signal, delay) =>
    new Promise((resolve) => {
      later((wake = resolve), delay)
    })

  return {
    /** Send it now, if it rests. */
    flush: () => wake(),
    waiting,
    /** @param {unknown} body @param {string} key @returns {Promise<string[]>} ids */
    add: (body, key) =>
      new Promise((resolve, reject) => {
        check(waiting.length + 1, settings.maxQueue, 'events wait')
        if (waiting.push({ body: JSON.stringify(body), key, resolve, reject }) < 2) pump()
      }),
    clear() {
      stopped.abort()
      for (const { reject } of waiting.splice(0)) reject(stopped.signal.reason)
      stopped = new AbortController()
    },
  }
}

/** At most one call per `wait` milliseconds: the first at once, the last of a burst at its end.
 * @param {(event: any) => void} handler @param {number} wait */
const throttled = (handler, wait) => {
  /** @type {any} */
  let timer
  /** @type {any} */
  let latest
  const rest = () => {
    timer = 0
    if (!latest) return
    timer = later(rest, wait)
    const event = latest
    latest = null
    handler(event)
  }
  return (/** @type {any} */ event) => {
    latest = event
    if (!timer) rest()
  }
}

/** A client. It connects when `connect` or `acquire` is called. @type {typeof import('./types.d.ts').createClient} */
export const createClient = ({ retry, poll, ...options } = {}) => {
  /** @type {any} */
  const settings = { ...options, ...retry, ...(poll === false ? { after: 0 } : poll) }
  for (const name in DEFAULTS) settings[name] ??= /** @type {any} */ (DEFAULTS)[name]
  /** @type {Map<string, Set<(event: any) => void>>} */
  const handlers = new Map()
  const counts = { events: 0, handled: 0, handlerErrors: 0, handlerTime: 0 }
  let rate = 0 // events per minute, a moving average
  let ratedAt = 0
  const outbox = outboxOf(settings)
  let holders = 0
  /** The one timer of those who let go. @type {any} */
  let lingering
  let isWanted = false
  let isPinned = false // by `connect`
  /** @type {AbortController} */
  let listening
  /** @type {Status} */
  const first = { state: 'idle', previous: 'idle', reason: 'new', attempt: 0, retryAt: null, transport: null, error: null, since: now() }
  let status = first

  /** @param {string} what @param {unknown} details */
  const debug = (what, details) => {
    const { debug: to } = settings
    if (to) /** @type {any} */ (to).call ? /** @type {any} */ (to)(what, details) : console.debug('[SSE]', what, details)
  }

  /** What a handler throws is its author's to see, and no fault of the connection. @param {(value: any) => void} handler @param {unknown} value */
  const call = (handler, value) => {
    const begun = now()
    counts.handled++
    try {
      handler(value)
    } catch (error) {
      counts.handlerErrors++
      queueMicrotask(() => {
        throw error
      })
    }
    counts.handlerTime += now() - begun
  }

  /** @param {string} type @param {any} value */
  const deliver = (type, value) => {
    for (const handler of [...(handlers.get(type) ?? [])]) handler(value)
  }

  const present = () => rate * Math.exp((ratedAt - now()) / 60_000)

  /** @param {Message} message */
  const take = ({ type, data: raw, id, channel }) => {
    /** @type {unknown} */
    let data = raw
    try {
      data = settings.parse(raw)
    } catch {} // published as text
    const event = { type, id, channel, raw, data }
    debug('event', event)
    if (type === 'token_expiring') source.renew()
    if (type !== '*') deliver(type, event) // the hub allows a type that is called so, too
    if (RESERVED.test(type)) return
    counts.events++
    rate = present() + 1
    ratedAt = now()
    deliver('*', event)
  }

  /** @param {News} news */
  const move = (news) => {
    const next = (status = { ...first, since: now(), ...news, previous: status.state })
    debug('status', next)
    if (next.transport) outbox.flush()
    deliver(STATUS, next)
  }

  const source = (settings.share ? tabsOf : engineOf)(settings, take, move)

  /** What the browser says about the network and the page. */
  const listen = () => {
    const { document } = world
    const how = (listening = new AbortController()) // an object with a signal, as addEventListener wants it
    const add = (/** @type {any} */ target, /** @type {string} */ type, /** @type {(event: any) => void} */ listener) => target?.addEventListener?.(type, listener, how)
    add(world, 'online', () => source.wake('online'))
    add(world, 'offline', () => source.stop('offline', 'offline'))
    add(world, 'pagehide', () => source.stop('idle', 'page hidden')) // a page that is kept may hold no connection
    add(world, 'pageshow', () => source.wake('page shown'))
    add(document, 'visibilitychange', () => document.hidden || source.wake('visible'))
  }

  const open = () => {
    if (!isWanted) {
      isWanted = true
      listen()
      source.start('connect')
    } else if (isOver(status.state)) source.again('connect')
  }

  const client = {
    get status() {
      return status
    },
    get lastEventId() {
      return source.cursor()
    },
    get isLeader() {
      return source.leads()
    },
    connect() {
      isPinned = true
      open()
    },
    close() {
      isWanted = isPinned = false
      listening?.abort()
      source.stop('closed', 'closed')
      outbox.clear()
    },
    reconnect() {
      if (isWanted) source.again('reconnect')
      else client.connect()
    },
    /** With a moment's patience, because who lets go often comes back at once. */
    acquire() {
      holders++
      clearTimeout(lingering)
      if (!isWanted) open()
      let held = 1
      return () => {
        if (held && !(holders -= held)) lingering = later(() => isPinned || !isWanted || client.close(), LINGER)
        held = 0
      }
    },
    /** @param {string} type @param {any} handler @param {OnOptions} [options] */
    on(type, handler, { throttle, signal } = {}) {
      const set = handlers.get(type) ?? new Set()
      const run = (/** @type {any} */ value) => {
        if (set.has(entry) && (type === STATUS ? value === status : isWanted)) call(handler, value)
      }
      const entry = throttle ? throttled(run, throttle) : run
      const off = () => void set.delete(entry)
      handlers.set(type, set)
      if (!signal?.aborted) set.add(entry)
      signal?.addEventListener('abort', off)
      return off
    },
    /** @param {string} type @param {any} handler @param {OnOptions} [options] */
    once(type, handler, options) {
      const off = client.on(type, (/** @type {ServerEvent} */ event) => (off(), handler(event)), options)
      return off
    },
    /** @param {(reset: any) => void} handler */
    onReset: (handler) => client.on('reset', (/** @type {ServerEvent} */ { data }) => handler(data)),
    /** @param {(status: Status) => void} watcher */
    onStatus: (watcher) => client.on(STATUS, watcher),
    /** @param {string} type @param {{signal?: AbortSignal, max?: number}} [options] */
    async *events(type, { signal, max = 10_000 } = {}) {
      /** @type {any[]} */
      const waiting = []
      let wake = () => {}
      const off = client.on(type, (/** @type {any} */ event) => (waiting.push(event), wake()))
      const offStatus = client.onStatus(() => wake())
      signal?.addEventListener('abort', () => wake())
      try {
        while (!signal?.aborted) {
          check(waiting.length, max, 'events wait')
          if (waiting.length) yield waiting.shift()
          else if (isOver(status.state)) {
            if (status.error) throw status.error
            return
          } else await new Promise((/** @type {any} */ resolve) => (wake = resolve))
        }
      } finally {
        off()
        offStatus()
      }
    },
    /** @param {string} channel @param {string} type @param {unknown} [data] @param {PublishOptions} [options] */
    async publish(channel, type, data = null, { permissions, idempotencyKey = crypto.getRandomValues(new Uint32Array(4)).join('-') } = {}) {
      return (await outbox.add({ channel, type, data, permissions }, idempotencyKey))[0]
    },
    metrics() {
      const { attempts, opened } = source.counts
      return { ...source.counts, ...counts, successRate: attempts ? opened / attempts : 1, openSeconds: source.total() / 1000, eventsPerMinute: present(), queued: outbox.waiting.length }
    },
  }
  return /** @type {any} */ (client)
}
