// The public types of `headwater`. The implementation is `headwater.js`, checked against these by tsc.

/** Event types to the data they carry. Declare yours: `createClient<{ 'order.created': Order }>({ … })`. */
export type EventMap = Record<string, any>

/** How the token travels: a header, `?token=`, a single-use ticket bought with it, or not at all because a cookie speaks. */
export type Auth = 'header' | 'query' | 'ticket' | 'cookie'

/**
 * idle: not connected: not yet, or because the page is in the back/forward cache. connecting: a request is on its way. open: the stream has sent its first byte. waiting: until the
 * next try. polling: streaming failed; events are asked for instead, and streaming is tried now and then. suspended: many failures in a row; tries are rare.
 * offline: the browser says there is no network. closed: by `close()`, or by the hub's 204. failed: refused for good.
 */
export type State = 'idle' | 'connecting' | 'open' | 'waiting' | 'polling' | 'suspended' | 'offline' | 'closed' | 'failed'

/** Why the state is what it is. */
export type Reason =
  | 'new' | 'connect' | 'reconnect' | 'retry' | 'probe' | 'first byte'
  | 'ended' | 'closing' | 'network' | 'timeout' | 'silence' | 'status' | 'no content'
  | 'unauthorized' | 'token expiring' | 'online' | 'offline' | 'visible' | 'page hidden' | 'page shown'
  | 'leader gone' | 'closed'

export interface Status {
  readonly state: State
  readonly previous: State
  readonly reason: Reason
  /** Failures in a row. */
  readonly attempt: number
  /** When the next try is due, in milliseconds of Unix time. */
  readonly retryAt: number | null
  /** What brings the events; `tab`: another tab's connection. Null while nothing does: `poll` only while polls are answered. */
  readonly transport: 'sse' | 'poll' | 'tab' | null
  /** Since when, in milliseconds of Unix time. */
  readonly since: number
  /** What went wrong, with `status`, `problem` (the hub's, RFC 9457) and `retryAfter` (ms) where a response said so. */
  readonly error: { readonly message: string; readonly status?: number; readonly problem?: any; readonly retryAfter?: number } | null
}

/** One event as it came over the wire. */
export interface Message {
  type: string
  data: string
  /** The cursor after this event. */
  id: string
  /** Its channel; null on a stream with only one. */
  channel: string | null
}

export interface ServerEvent<Data = any, Type extends string = string> {
  readonly type: Type
  /** Parsed JSON; the text itself where it is none. */
  readonly data: Data
  readonly id: string
  readonly channel: string | null
  readonly raw: string
}

/** Any event of a map, told apart by `type`. */
export type AnyEvent<Events extends EventMap> = { [Type in keyof Events & string]: ServerEvent<Events[Type], Type> }[keyof Events & string]

export type EventHandler<Data = any, Type extends string = string> = (event: ServerEvent<Data, Type>) => void

export interface OnOptions {
  /** At most one call per so many milliseconds: the first of a burst at once, the last at the end. */
  throttle?: number
  /** Removes the handler when it is aborted. */
  signal?: AbortSignal
}

export interface Metrics {
  /** Streams that opened or failed, and how many of them opened; what was given up by a close is none. */
  attempts: number
  opened: number
  polls: number
  /** opened / attempts; 1 before the first. */
  successRate: number
  /** Seconds for which streams have been open. */
  openSeconds: number
  events: number
  /** A moving average. */
  eventsPerMinute: number
  /** Calls of handlers, those that threw, and the milliseconds of all. */
  handled: number
  handlerErrors: number
  handlerTime: number
  /** Events that wait to be published. */
  queued: number
}

export interface ClientOptions {
  /** Of the stream; relative to the page, or made anew for each try. Default: `/events`. */
  url?: string | URL | (() => string | URL | Promise<string | URL>)
  channels?: readonly string[]
  /**
   * The bearer token, asked for at each request. `unauthorized`: the last one was refused, and only a new one helps.
   * `expiring`: the hub will end the stream of the last one soon; a new one is used at once.
   */
  token?: (context: { reason: 'connect' | 'unauthorized' | 'expiring'; signal: AbortSignal }) => string | null | undefined | Promise<string | null | undefined>
  via?: Auth
  /** Where tickets are bought, relative to the stream's URL. Default: `tickets`. */
  ticketUrl?: string | URL
  headers?: Record<string, string>
  /** Where to begin; without it, with what comes from now on. */
  lastEventId?: string
  retry?: {
    /** ms: the ceiling of the first delay; a stream's `retry:` replaces it. Default: 1000. */
    base?: number
    /** ms: the highest ceiling. Default: 30,000. */
    max?: number
    /** ms that a stream must last for an immediate retry. Default: 5000. */
    stableAfter?: number
    /** Failures in a row after which tries are rare. Default: 8. */
    breaker?: number
  }
  /** Polling in place of streams that do not work. `after`: failures in a row (3). `wait`: seconds the hub may hold one (25). */
  poll?: false | { after?: number; wait?: number }
  /** ms between tries while polling or suspended. Default: 30,000. */
  probeEvery?: number
  /** ms to the first byte. Default: 10,000. */
  connectTimeout?: number
  /** ms without a byte after which a stream is taken for dead; 0 for never. Longer than the stream's heartbeats. Default: 45,000. */
  silence?: number
  /**
   * One connection for all tabs of this page's origin, with the same URL and channels and the same person. Needs Web Locks
   * (HTTPS or localhost); a connection of its own without. For hubs only: it stands on ids and polls.
   */
  share?: boolean
  /** Whose tabs these are. Default: the `sub` of a JWT. With another kind of token there is no sharing without it; set it with cookies, too. */
  principal?: string
  parse?: (data: string) => unknown
  /** Log what happens; or take it. */
  debug?: boolean | ((what: string, details: unknown) => void)
  /** Where to publish, relative to the stream's URL. Default: there. */
  publishUrl?: string | URL
  /** Events that may wait to be published. Default: 100. */
  maxQueue?: number
  /** In place of the global one, which is looked up at each request. It must honour `signal`. Without streaming it is polled with. */
  fetch?: (url: URL, init: RequestInit) => Promise<Response>
}

export interface PublishOptions {
  /** Those who read it must hold all of them. */
  permissions?: readonly string[]
  /** Publishing again with the same key answers with the first id. Default: a random one. */
  idempotencyKey?: string
}

export interface Client<Events extends EventMap = EventMap> {
  readonly status: Status
  /** Where the next connection begins. */
  readonly lastEventId: string
  /** Whether this tab holds the connection. */
  readonly isLeader: boolean
  /** Go on from where it was. Does nothing to a client that is at it. */
  connect(): void
  /** End it, and with it everything that waits. `connect` goes on from where it was. */
  close(): void
  /** Give up the present connection for a new one. */
  reconnect(): void
  /** Connect for as long as somebody holds on, and a second longer. @returns lets go. */
  acquire(): () => void
  /** @returns removes the handler. */
  on<Type extends keyof Events & string>(type: Type, handler: EventHandler<Events[Type], Type>, options?: OnOptions): () => void
  on(type: '*', handler: (event: AnyEvent<Events>) => void, options?: OnOptions): () => void
  once<Type extends keyof Events & string>(type: Type, handler: EventHandler<Events[Type], Type>, options?: OnOptions): () => void
  /** The hub could not give everything: load the present state anew. */
  onReset(handler: (reset: { reason: string; cursor: string }) => void): () => void
  onStatus(watcher: (status: Status) => void): () => void
  /**
   * Events as they come, from the first `next()` on. Ends with `close()`, with the hub's 204, or when the signal is aborted.
   * @throws what was refused, when the client fails; a RangeError when more than `max` (10,000) wait.
   */
  events<Type extends keyof Events & string>(type: Type, options?: { signal?: AbortSignal; max?: number }): AsyncGenerator<ServerEvent<Events[Type], Type>, void, void>
  /** Publish, or as soon as the hub can be reached; once, whatever is lost on the way. @returns the event's id. */
  publish<Type extends keyof Events & string>(channel: string, type: Type, data?: Events[Type], options?: PublishOptions): Promise<string>
  metrics(): Metrics
}

/** A client. Nothing happens before `connect` or `acquire`. */
export function createClient<Events extends EventMap = EventMap>(options?: ClientOptions): Client<Events>

/** Which state may follow which. */
export const STATES: Record<State, readonly State[]>

/** The bytes of one event stream to messages, however they are cut. The next connection has its own, with the last id of this one. */
export class Decoder {
  constructor(options?: { lastEventId?: string; max?: number })
  lastEventId: string
  retry: number | null
  /** @throws RangeError a line, or the data of an event, is longer than `max` characters (1 Mi). */
  feed(bytes: Uint8Array): Message[]
}

/** Milliseconds until the next try. */
export function delayOf(budget: { failures: number; base: number; max: number; told?: number | null; retryAfter?: number }): number
