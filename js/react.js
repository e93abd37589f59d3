'use client'
// Headwater for React 18 and 19. The client lives outside of React; components hold it while they are mounted (StrictMode
// mounts everything twice: a client that is let go of lasts a second longer), and are told of news once per frame.
// Nothing connects while rendering, so a server can render all of it.

import { createContext, createElement, useContext, useEffect, useInsertionEffect, useMemo, useReducer, useRef, useState, useSyncExternalStore } from 'react'
import { loadWhenLive, nextFrame } from './batch.js'
import { createClient } from './headwater.js'
import { NONE, TYPES, reduce } from './notifications.js'

/** @import { AnyClient, NotificationsOptions, ProviderProps } from './react.d.ts' */
/** @import { Status } from './types.d.ts' */

const LINGER = 2000 // ms for which an address keeps its client when no component needs it; longer than the client's own
const LOAD = 30_000 // ms that a load may take

/** @type {import('react').Context<{client: AnyClient, url: unknown} | null>} */
const Context = createContext(/** @type {any} */ (null))

/** What there is on a server, and before a page is alive. @type {Status} */
const IDLE = { ...createClient().status, since: 0 }

/** @template T @param {T} value @returns {T} */
const same = (value) => value

/** The newest value, for what is called later. @template T @param {T} value */
const useLatest = (value) => {
  const latest = useRef(value)
  useInsertionEffect(() => void (latest.current = value))
  return latest
}

/** @param {AnyClient | undefined} client @param {boolean} isWanted */
const useHeld = (client, isWanted) => useEffect(() => (isWanted ? client?.acquire() : undefined), [client, isWanted])

/** A client's options, of which its functions are always the newest. @param {any} options */
const useFresh = ({ enableLogging, ...options }) => {
  const latest = useLatest(options)
  const fresh = { debug: enableLogging, ...options }
  for (const name of ['url', 'token']) if (options[name]?.call) fresh[name] = (/** @type {any} */ context) => latest.current[name]?.(context)
  return fresh
}

/** @param {any} options */
const keyOf = ({ url, channels, principal }) => JSON.stringify([url, channels, principal])

/** Clients that components asked for by their address, so that all of a page share one connection, and how many have it.
 * @typedef {{client: AnyClient, users: number}} Shared @type {Map<string, Shared>} */
const shared = new Map()

/** Forget a client that nobody has, in a while: it may be that nothing came of a rendering, or that it comes back. @param {string} key @param {Shared} entry */
const dropLater = (key, entry) =>
  setTimeout(() => !entry.users && /idle|closed/.test(entry.client.status.state) && shared.get(key) === entry && shared.delete(key), LINGER)

/** The page's client for an address; for one that a function makes, the component's. @param {any} options null for none. */
const useShared = (options) => {
  const fresh = useFresh(options ?? {})
  const key = options && keyOf(options)
  const known = shared.get(key)
  const entry = useMemo(() => known ?? (key && { client: createClient(fresh), users: 0 }), [key, known])
  const isNew = key && !known && !options.url?.call && globalThis.document // a server shares nothing between its visitors
  if (isNew) {
    shared.set(key, entry)
    dropLater(key, entry)
  }
  useEffect(() => {
    if (!key) return
    entry.users += 1
    return () => {
      entry.users -= 1
      dropLater(key, entry)
    }
  }, [key, entry])
  return entry?.client
}

/** @param {AnyClient | undefined} client @returns {AnyClient} */
const present = (client) => {
  if (client) return client
  throw new Error('neither an SSEProvider above, nor an address or a client')
}

/** The client of a hook. @param {{client?: AnyClient}} [options] */
const useClient = ({ client } = {}) => {
  const context = useContext(Context)
  useHeld(client, true)
  return present(client ?? context?.client)
}

/** Something that changes outside. @param {(notify: () => void) => () => void} subscribe @param {() => any} get @param {(value: any) => any} select
 * @param {() => any} [getServer] */
const useStore = (subscribe, get, select, getServer = get) => {
  const [picked, pickedServer] = useMemo(() => [picking(get, select), picking(getServer, select)], [get, select])
  return useSyncExternalStore(subscribe, picked, pickedServer)
}

/** The same selection as long as it is from the same value: a selector may make a new object each time.
 * @param {() => any} get @param {(value: any) => any} select */
const picking = (get, select) => {
  /** @type {any} */
  let from = useStore
  /** @type {any} */
  let picked
  return () => {
    const now = get()
    if (now !== from) picked = select((from = now))
    return picked
  }
}

const getIdle = () => IDLE

/** @param {AnyClient} client @param {(status: Status) => any} select */
const useStatusOf = (client, select) => {
  const [subscribe, get] = useMemo(
    () => [(/** @type {() => void} */ notify) => client.onStatus(() => nextFrame(notify)), () => client.status],
    [client],
  )
  return useStore(subscribe, get, select, getIdle)
}

/** @param {AnyClient} client @param {string | readonly string[]} types @param {(event: any) => void} handler @param {{throttle?: number}} [options] */
const listen = (client, types, handler, options) => {
  const offs = [types].flat().map((type) => client.on(type, handler, options))
  return () => offs.forEach((off) => off())
}

/** State made of what has come, all of it: what comes between two frames is added at once. @param {(state: any, item: any) => any} reducer
 * @param {any} initial @returns {[any, (item: any) => void]} */
const useBatches = (reducer, initial) => {
  const [state, dispatch] = useReducer(
    (/** @type {any} */ before, /** @type {any[]} */ batch) => batch.reduce((now, item) => reducer(now, item), before),
    initial,
    (given) => (typeof given === 'function' ? given() : given),
  )
  const [add] = useState(() => {
    /** @type {any[]} */
    let waiting = []
    const flush = () => dispatch(waiting.splice(0))
    return (/** @type {any} */ item) => {
      waiting.push(item)
      nextFrame(flush)
    }
  })
  return [state, add]
}

/** A client for all below. @param {ProviderProps} props */
export const SSEProvider = ({ client: given, autoConnect = true, endpoint, children, ...more }) => {
  const options = { url: endpoint, ...more }
  const fresh = useFresh(options)
  const client = useMemo(() => given ?? createClient(fresh), [given, keyOf(options)])
  useHeld(client, autoConnect)
  const value = useMemo(() => ({ client, url: options.url }), [client, options.url])
  return createElement(Context.Provider, { value }, children)
}

/** The connection. @param {any} [target] an address, or options with one: the provider's without. @param {any} [options] */
export const useSSE = (target, options) => {
  const { url, enabled, client: given, ...more } = typeof target === 'string' ? { ...options, url: target } : { ...target }
  const context = useContext(Context)
  const isOwn = !given && url !== undefined && url !== context?.url
  const own = useShared(isOwn ? { ...more, url } : null)
  const client = present(given ?? own ?? context?.client)
  useHeld(client, enabled ?? (isOwn || !!given))
  const api = useMemo(
    () => ({
      client,
      addEventListener: (/** @type {string} */ type, /** @type {(data: any, event: any) => void} */ handler, /** @type {any} */ how) =>
        client.on(type, (/** @type {any} */ event) => handler(event.data, event), how),
      connect: client.connect,
      disconnect: client.close,
      reconnect: client.reconnect,
      publish: client.publish,
    }),
    [client],
  )
  const now = useStatusOf(client, same)
  return useMemo(() => {
    const isConnected = !!now.transport
    return { ...api, status: isConnected ? 'connected' : now.state, isConnected, error: now.error }
  }, [api, now])
}

/** @param {(status: Status) => any} [select] @param {{client?: AnyClient}} [options] */
export const useStatus = (select = same, options) => useStatusOf(useClient(options), select)

/** Calls a handler, always the newest, without rendering. @param {string | readonly string[]} types @param {(event: any) => void} handler
 * @param {{client?: AnyClient, throttle?: number, enabled?: boolean}} [options] */
export const useEvent = (types, handler, { client: given, throttle, enabled = true } = {}) => {
  const client = useClient({ client: given })
  const latest = useLatest(handler)
  useEffect(() => {
    if (enabled) return listen(client, types, (event) => latest.current(event), { throttle })
  }, [client, `${types}`, throttle, enabled])
}

/** State made of all events. @param {string | readonly string[]} types @param {(state: any, event: any) => any} reducer
 * @param {any} initial @param {any} [options] */
export const useEvents = (types, reducer, initial, options) => {
  const [state, add] = useBatches(reducer, initial)
  useEvent(types, add, options)
  return state
}

/** The newest event, or what is selected of it. @param {string | readonly string[]} types
 * @param {{client?: AnyClient, select?: (event: any) => any, throttle?: number, initial?: any}} [options] */
export const useLatestEvent = (types, { client: given, select = same, throttle, initial = null } = {}) => {
  const client = useClient({ client: given })
  const [subscribe, get] = useMemo(() => {
    /** @type {any} */
    let latest = null
    const take = (/** @type {() => void} */ notify) => (/** @type {any} */ event) => {
      latest = event
      nextFrame(notify)
    }
    return [(/** @type {() => void} */ notify) => listen(client, types, take(notify), { throttle }), () => latest]
  }, [client, `${types}`, throttle])
  const pick = useMemo(() => (/** @type {any} */ event) => (event ? select(event) : initial), [select])
  return useStore(subscribe, get, pick)
}

/** A list of notifications that keeps itself up to date. @param {NotificationsOptions} [options] */
export const useNotifications = ({ client: given, types = TYPES, cap, ...calls } = {}) => {
  const client = useClient({ client: given })
  const [state, add] = useBatches((before, action) => reduce(before, action, cap), { ...NONE, isLoading: !!calls.load })
  const latest = useLatest(calls)
  for (const kind of Object.keys(TYPES)) useEvent(types[/** @type {'created'} */ (kind)], ({ data }) => add({ kind, items: data }), { client })
  const api = useMemo(() => apiOf(latest, add), [])
  useEffect(() => (calls.load ? loadWhenLive(client, api.reload) : undefined), [client, !calls.load])
  return useMemo(() => ({ ...state, ...api, client }), [state, api, client])
}

/** What a user can do with notifications: shown at once, then saved, and undone when that fails.
 * @param {{current: any}} latest @param {(action: any) => void} add */
const apiOf = (latest, add) => {
  let turn = 0
  let loading = 0
  /** @param {string} name @param {string} kind @param {any} [items] */
  const change = (name, kind, items) => {
    const save = latest.current[name]
    const key = save && `${(turn += 1)}`
    add({ kind, items, key })
    if (save)
      Promise.resolve(items).then(save).then(
        () => add({ kind: 'saved', key }),
        (error) => add({ kind: 'unsaved', key, error: `${error}` }),
      )
  }
  return {
    reload() {
      const own = (loading = turn += 1)
      add({ kind: 'loading' })
      Promise.resolve({ signal: AbortSignal.timeout(LOAD) }).then(latest.current.load).then(
        (snapshot) => own === loading && add({ kind: 'loaded', snapshot }),
        (error) => own === loading && add({ kind: 'failed', error: `${error}` }),
      )
    },
    markRead: (/** @type {any} */ ids) => change('onRead', 'read', [ids].flat()),
    markAllRead: () => change('onRead', 'read', null),
    markSeen: () => change('onSeen', 'seen'),
    remove: (/** @type {any} */ ids) => change('onRemove', 'deleted', [ids].flat()),
  }
}
