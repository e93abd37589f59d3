// Headwater for Redux, and for RTK Query. Imports neither: a store is what has `dispatch`, a slice what has a reducer.

import { loadWhenLive, nextFrame, whenLive } from './batch.js'
import { NONE, TYPES, reduce } from './notifications.js'

/** @import { AnyAction, Slice } from './redux.d.ts' */
/** @import { ServerEvent, Status } from './types.d.ts' */

const AGAIN = 50 // ms between looks at a query that is loaded anew

/** Redux Toolkit tells its subscribers of such an action later, together with the next one. @param {AnyAction} action */
const quiet = (action) => (typeof action === 'object' ? { ...action, meta: { ...action.meta, RTK_autoBatch: true } } : action)

/** As it can be kept in a store: an error's message is not a property of its own. @param {Status} status */
const plain = ({ error, ...status }) => ({ ...status, error: error && { ...error, message: error.message } })

/** Events become actions, all that come between two frames in one task. @type {typeof import('./redux.d.ts').attachSSE} */
export const attachSSE = (store, client, map, { status, load } = {}) => {
  /** @type {AnyAction[]} */
  let waiting = []
  const flush = () => {
    const batch = waiting
    waiting = []
    batch.forEach((action, i) => {
      try {
        store.dispatch(i < batch.length - 1 ? quiet(action) : action)
      } catch (error) {
        queueMicrotask(() => {
          throw error // its author's to see, and no fault of the others
        })
      }
    })
  }
  const add = (/** @type {any} */ actions) => {
    for (const action of [actions].flat()) if (action) waiting.push(action)
    nextFrame(flush)
  }
  const offs = Object.entries(map).map(([type, make]) => client.on(type, (/** @type {ServerEvent} */ event) => add(make?.(event.data, event))))
  if (status) {
    add(status(plain(client.status)))
    offs.push(client.onStatus((now) => add(status(plain(now)))))
  }
  if (load) offs.push(loadWhenLive(client, () => store.dispatch(load())))
  return () => {
    offs.forEach((off) => off())
    flush()
  }
}

/** @param {string} type @returns {any} */
const creatorOf = (type) =>
  Object.assign((/** @type {unknown} */ payload) => ({ type, payload }), {
    type,
    match: (/** @type {any} */ action) => action?.type === type,
    toString: () => type,
  })

/** @param {string} name @param {readonly string[]} kinds @returns {any} */
const creatorsOf = (name, kinds) => Object.fromEntries(kinds.map((kind) => [kind, creatorOf(`${name}/${kind}`)]))

/** What the payload of an action is. @type {Record<string, string>} */
const PAYLOADS = { created: 'items', updated: 'items', deleted: 'items', read: 'items', seen: '', loading: '', loaded: 'snapshot', failed: 'error', saved: '', unsaved: 'error' }

/** @type {typeof import('./redux.d.ts').createNotificationsSlice} */
export const createNotificationsSlice = ({ name = 'notifications', cap, types = TYPES, selectSlice = (/** @type {any} */ state) => state[name] } = {}) => {
  const { loading, loaded, failed, saved, unsaved, read, ...rest } = creatorsOf(name, Object.keys(PAYLOADS))
  let keys = 0
  let loads = 0
  const actions = { ...rest, loading, loaded, failed, markRead: (/** @type {any} */ ids) => read([ids].flat()), markAllRead: () => read(null), markSeen: () => rest.seen() }
  return {
    name,
    reducerPath: name,
    actions,
    getInitialState: () => NONE,
    reducer(state = NONE, { type, payload, meta }) {
      const kind = `${type}`.startsWith(`${name}/`) ? type.slice(name.length + 1) : ''
      return kind in PAYLOADS ? reduce(state, { kind, [PAYLOADS[kind]]: payload, key: meta?.key }, cap) : state
    },
    map: Object.fromEntries(Object.keys(TYPES).flatMap((kind) => [types[/** @type {'created'} */ (kind)]].flat().map((type) => [type, actions[kind]]))),
    save: (action, work) => async (dispatch) => {
      const meta = { key: `${(keys += 1)}` }
      dispatch({ ...action, meta })
      try {
        await work()
        dispatch({ ...saved(), meta })
        return true
      } catch (error) {
        dispatch({ ...unsaved(`${error}`), meta })
        return false
      }
    },
    load: (work) => async (dispatch) => {
      const own = (loads += 1)
      dispatch(loading())
      try {
        const snapshot = await work()
        if (own === loads) dispatch(loaded(snapshot))
      } catch (error) {
        if (own === loads) dispatch(failed(`${error}`))
      }
    },
    selectors: {
      selectNotifications: (state) => selectSlice(state).items,
      selectUnreadCount: (state) => selectSlice(state).unread,
      selectUnseenCount: (state) => selectSlice(state).unseen,
      selectIsLoading: (state) => selectSlice(state).isLoading,
      selectError: (state) => selectSlice(state).error,
    },
  }
}

/** @type {Status} */
const IDLE = { state: 'idle', previous: 'idle', reason: 'new', attempt: 0, retryAt: null, transport: null, since: 0, error: null }

/** @type {typeof import('./redux.d.ts').createStatusSlice} */
export const createStatusSlice = ({ name = 'sse', selectSlice = (/** @type {any} */ state) => state[name] } = {}) => {
  const changed = creatorOf(`${name}/changed`)
  return {
    name,
    reducerPath: name,
    actions: { changed },
    getInitialState: () => IDLE,
    reducer: (state = IDLE, action) => (changed.match(action) ? action.payload : state),
    selectors: {
      selectStatus: (state) => selectSlice(state),
      selectIsConnected: (state) => !!selectSlice(state).transport,
    },
  }
}

/**
 * For RTK Query's `onCacheEntryAdded`: listens before it waits for the data, and puts on top of them what came meanwhile;
 * also when they are loaded anew, because an answer that is older than an event would undo it.
 * @type {typeof import('./redux.d.ts').sseCacheEntry}
 */
export const sseCacheEntry = (client, types, apply, { reload } = {}) => async (arg, api) => {
  /** @type {ServerEvent[]} */
  let waiting = []
  /** Those that came while an answer was awaited, which may be older. @type {ServerEvent[]} */
  let kept = []
  let isLoaded = false
  /** @type {unknown} */
  let loadedAt
  const flush = () => {
    const { status, fulfilledTimeStamp } = api.getCacheEntry()
    if (!isLoaded) return
    if (loadedAt !== fulfilledTimeStamp) waiting = [...kept, ...waiting]
    if (loadedAt !== fulfilledTimeStamp || status !== 'pending') kept = []
    loadedAt = fulfilledTimeStamp
    const now = waiting
    waiting = []
    if (now.length)
      api.updateCachedData((draft) => {
        for (const event of now) apply(draft, event.data, event, arg)
      })
    if (status === 'pending') kept.push(...now)
    if (kept.length) setTimeout(flush, AGAIN)
  }
  const take = (/** @type {ServerEvent} */ event) => {
    if (!isLoaded && api.getCacheEntry().status !== 'pending') waiting = [] // the next answer will be newer
    else waiting.push(event)
    nextFrame(flush)
  }
  let isNew = true
  const again = () => void (isNew || reload?.(arg, api))
  const offs = [[types].flat().map((type) => client.on(type, take)), client.onReset(again), whenLive(client, again)].flat()
  isNew = false
  if (globalThis.document) offs.push(client.acquire()) // a server loads, and leaves
  try {
    await api.cacheDataLoaded
    isLoaded = true
    flush()
  } catch {} // it was removed before
  await api.cacheEntryRemoved
  isLoaded = false
  offs.forEach((off) => off())
}
