// The public types of `headwater/redux`. They are those of any Redux.
import type { Notification, Notifications, Snapshot } from './notifications.d.ts'
import type { Client, EventMap, ServerEvent, Status } from './types.d.ts'

export type { Notification, Notifications, Snapshot } from './notifications.d.ts'

/** An action, or whatever else the store's middleware takes: a thunk. */
export type AnyAction = any

export type Actions = AnyAction | readonly AnyAction[] | null | undefined

/** Event types to what makes actions of them: `{ 'order.created': orderCreated }`. `reset` and `*` are types, too. */
export type ActionMap<Events extends EventMap> = {
  [Type in keyof Events & string]?: (data: Events[Type], event: ServerEvent<Events[Type], Type>) => Actions
} & {
  /** Data: `{ reason, cursor }`. */
  reset?: (data: any, event: ServerEvent) => Actions
  '*'?: (data: any, event: ServerEvent) => Actions
}

export interface AttachOptions {
  /** Also dispatch each status of the connection, made serializable: `createStatusSlice().actions.changed`. */
  status?: (status: Status) => AnyAction
  /**
   * What loads the state that the events keep up to date: dispatched when the stream is open, so that nothing is missed
   * between the two, and after each reset.
   */
  load?: () => AnyAction
}

/**
 * Make actions of events. All that come between two frames are dispatched in one task, and with Redux Toolkit subscribers
 * are told once of all. It does not connect: `SSEProvider` or `client.connect()` does.
 * @returns detaches; what waits is dispatched before.
 */
export function attachSSE<Events extends EventMap>(
  store: { dispatch: (action: any) => unknown },
  client: Client<Events>,
  map: ActionMap<Events>,
  options?: AttachOptions,
): () => void

export interface ActionCreator<Payload> {
  (payload: Payload): { type: string; payload: Payload }
  type: string
  match(action: any): boolean
}

/** What `combineReducers` and `combineSlices` take. */
export interface Slice<S> {
  name: string
  reducerPath: string
  reducer: (state: S | undefined, action: any) => S
  getInitialState: () => S
}

export type Ids = Notification['id'] | readonly Notification['id'][]
export type Thunk<Result> = (dispatch: (action: any) => unknown) => Promise<Result>

export interface NotificationsSlice extends Slice<Notifications> {
  actions: {
    /** One or more. What is known already is not counted again. */
    created: ActionCreator<Notification | readonly Notification[]>
    updated: ActionCreator<Notification | readonly Notification[]>
    /** Notifications or ids. */
    deleted: ActionCreator<Notification | readonly Notification[] | Ids>
    markRead: (ids: Ids) => { type: string; payload: any }
    markAllRead: () => { type: string; payload: any }
    markSeen: () => { type: string; payload: any }
    loading: () => { type: string; payload: any }
    loaded: ActionCreator<Snapshot>
    failed: ActionCreator<string>
  }
  /** For `attachSSE`: the three events of notifications to their actions. */
  map: Record<string, (data: any) => AnyAction>
  /** Show a change at once, save it, and take it back if that fails: `dispatch(save(markRead(id), () => api.read(id)))`. @returns whether it was saved. */
  save: (action: { type: string; payload: any }, work: () => unknown) => Thunk<boolean>
  /** Load what the server has. What events bring meanwhile is not lost. */
  load: (work: () => Snapshot | Promise<Snapshot>) => Thunk<void>
  selectors: {
    selectNotifications: (state: any) => readonly Notification[]
    selectUnreadCount: (state: any) => number
    selectUnseenCount: (state: any) => number
    selectIsLoading: (state: any) => boolean
    selectError: (state: any) => string | null
  }
}

export function createNotificationsSlice(options?: {
  /** Default: `notifications`. */
  name?: string
  /** How many are held. Default: 100. */
  cap?: number
  types?: { created: string | string[]; updated: string | string[]; deleted: string | string[] }
  /** Where it lies. Default: under its name. */
  selectSlice?: (state: any) => Notifications
}): NotificationsSlice

export interface StatusSlice extends Slice<Status> {
  actions: { changed: ActionCreator<Status> }
  selectors: { selectStatus: (state: any) => Status; selectIsConnected: (state: any) => boolean }
}

export function createStatusSlice(options?: { /** Default: `sse`. */ name?: string; selectSlice?: (state: any) => Status }): StatusSlice

/** What RTK Query gives to `onCacheEntryAdded`, as far as it is needed. */
export interface CacheLifecycle<Data> {
  cacheDataLoaded: PromiseLike<unknown>
  cacheEntryRemoved: PromiseLike<unknown>
  getCacheEntry: () => { status: string; fulfilledTimeStamp?: number }
  updateCachedData: (recipe: (draft: Data) => void) => unknown
  dispatch: (action: any) => any
}

/**
 * An `onCacheEntryAdded` that keeps a query's data up to date. It listens before the data are there; the client is
 * connected for as long as they are used.
 * @param apply changes the draft, and may be given an event twice.
 * @param options.reload loads anew: called when the stream opened only after the first load began, and after a reset.
 */
export function sseCacheEntry<Events extends EventMap, Type extends keyof Events & string, Data = any, Arg = any>(
  client: Client<Events>,
  types: Type | readonly Type[],
  apply: (draft: Data, data: Events[Type], event: ServerEvent<Events[Type]>, arg: Arg) => void,
  options?: { reload?: (arg: Arg, api: CacheLifecycle<Data>) => void },
): (arg: Arg, api: CacheLifecycle<Data>) => Promise<void>
