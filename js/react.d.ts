// The public types of `headwater/react`.
import type { ReactNode } from 'react'
import type { Notification, Notifications, Snapshot } from './notifications.d.ts'
import type { AnyEvent, Client, ClientOptions, EventMap, OnOptions, PublishOptions, ServerEvent, State, Status } from './types.d.ts'

export type { Notification, Notifications, Snapshot } from './notifications.d.ts'

/**
 * Declare your events once, and every hook knows them:
 *
 *     declare module 'headwater/react' {
 *       interface Register { events: { 'order.created': Order } }
 *     }
 */
export interface Register {}
export type RegisteredEvents = Register extends { events: infer Declared extends object } ? { [Type in keyof Declared]: Declared[Type] } : EventMap
export type EventType = keyof RegisteredEvents & string
export type AnyClient = Client<any>

/** What handlers of these types are given; `*` is all of them. */
export type EventOf<Type extends string> = Type extends EventType ? ServerEvent<RegisteredEvents[Type], Type> : AnyEvent<RegisteredEvents>

export interface HookOptions {
  /** In place of the provider's; it is connected while the component is mounted. */
  client?: AnyClient
  /** At most one event per so many milliseconds: the first of a burst at once, the last at its end. */
  throttle?: number
}

export interface ProviderProps extends ClientOptions {
  /** One that exists already; the other options are not used then. */
  client?: AnyClient
  /** The stream's address; the same as `url`. */
  endpoint?: ClientOptions['url']
  /** Connect while mounted. Default: true. */
  autoConnect?: boolean
  /** Log what happens to the console. */
  enableLogging?: boolean
  children?: ReactNode
}

/** One connection for everything below. A new address or new channels make a new one. */
export function SSEProvider(props: ProviderProps): ReactNode

export interface SSEOptions extends ClientOptions {
  client?: AnyClient
  /** Whether to connect. Default: true with an address or a client; the provider's client is the provider's affair. */
  enabled?: boolean
  enableLogging?: boolean
}

export interface SSE {
  readonly client: AnyClient
  /** `connected` while events come in, by whatever way; else the client's state. */
  readonly status: 'connected' | State
  readonly isConnected: boolean
  /** Why it is not connected, where there is a reason. */
  readonly error: Status['error']
  /** The handler gets the data, and the event second. It stays the same while the connection is the same. @returns removes the handler. */
  addEventListener<Type extends EventType>(type: Type, handler: (data: RegisteredEvents[Type], event: ServerEvent<RegisteredEvents[Type], Type>) => void, options?: OnOptions): () => void
  connect(): void
  disconnect(): void
  reconnect(): void
  publish<Type extends EventType>(channel: string, type: Type, data?: RegisteredEvents[Type], options?: PublishOptions): Promise<string>
}

/**
 * The connection: the provider's, or the one that all components of this page share for an address. Tokens and other
 * functions are those of the component that asked first; where they change with the user, use a provider. What a function
 * makes of an address is the component's alone.
 */
export function useSSE(target?: string | SSEOptions): SSE
export function useSSE(target: string, options: Omit<SSEOptions, 'url'>): SSE

/** Where the connection stands. Renders only when what is selected changes. */
export function useStatus(): Status
export function useStatus<Selected>(select: (status: Status) => Selected, options?: { client?: AnyClient }): Selected

/** Calls a handler for each event, always the newest handler, and renders nothing. */
export function useEvent<Type extends EventType | '*'>(
  types: Type | readonly Type[],
  handler: (event: EventOf<Type>) => void,
  options?: HookOptions & { enabled?: boolean },
): void

/** State made of all events, however many come between two frames. The reducer must be pure. */
export function useEvents<Type extends EventType | '*', S>(
  types: Type | readonly Type[],
  reducer: (state: S, event: EventOf<Type>) => S,
  initial: S | (() => S),
  options?: HookOptions & { enabled?: boolean },
): S

/** The newest event only, or what is selected of it: for what replaces what came before. Renders when that changes. */
export function useLatestEvent<Type extends EventType | '*', Selected = EventOf<Type>, Initial = null>(
  types: Type | readonly Type[],
  options?: HookOptions & { select?: (event: EventOf<Type>) => Selected; initial?: Initial },
): Selected | Initial

export type Ids = Notification['id'] | readonly Notification['id'][]

export interface NotificationsOptions {
  client?: AnyClient
  /** What the events are called. Default: `notification.created`, `notification.updated`, `notification.deleted`. */
  types?: { created: string | string[]; updated: string | string[]; deleted: string | string[] }
  /** How many are held. Default: 100. */
  cap?: number
  /** What the server has; asked for when the stream is open, and again after a reset. The signal ends it after 30 s. */
  load?: (context: { signal: AbortSignal }) => Snapshot | Promise<Snapshot>
  /** Saves. What it throws or rejects with undoes the change, and becomes `error`. null: all. */
  onRead?: (ids: Notification['id'][] | null) => unknown
  onSeen?: () => unknown
  onRemove?: (ids: Notification['id'][]) => unknown
}

/** A list of notifications, and what can be done with it. */
export interface NotificationSource {
  readonly items: readonly Notification[]
  readonly unread: number
  readonly unseen: number
  readonly isLoading?: boolean
  readonly error?: string | null
  /** Whose tabs speak with one voice: only the leading one plays sounds and notifies. */
  readonly client?: AnyClient
  markRead(ids: Ids): void
  markAllRead(): void
  markSeen(): void
  remove?(ids: Ids): void
  reload?(): void
}

/** A list of notifications that keeps itself up to date. */
export function useNotifications(options?: NotificationsOptions): Notifications & Required<NotificationSource>
