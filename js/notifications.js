// A list of notifications as data, and what can happen to it. Pure: the React hook and the Redux slice stand on it.
// Everything may come twice, and nothing is counted twice. The counts go beyond the list: it holds the newest only, and a
// server may know of more.

/** @import { Notification, NotificationAction, Notifications, Snapshot } from './notifications.d.ts' */

const MAX_HELD = 1000 // of what happens while a snapshot is loaded: more than any list shows

/** @type {Notifications} */
export const NONE = { items: [], unread: 0, unseen: 0, isLoading: false, error: null, more: [0, 0], held: [], undo: {} }

/** What the hub calls them. */
export const TYPES = { created: 'notification.created', updated: 'notification.updated', deleted: 'notification.deleted' }

/** Unread and unseen. @param {readonly Notification[]} items @returns {[number, number]} */
const countsOf = (items) => [items.filter(({ read }) => !read).length, items.filter(({ read, seen }) => !read && !seen).length]

/** @param {readonly number[]} a @param {readonly number[]} b @returns {[number, number]} */
const plus = (a, b, sign = 1) => [Math.max(0, a[0] + sign * b[0]), Math.max(0, a[1] + sign * b[1])]

/** Milliseconds of Unix time; without one it is the newest. @param {Notification} item */
const timeOf = ({ createdAt }) => (createdAt === undefined ? Infinity : +new Date(createdAt))

/** Those that are notifications at all: what comes over the wire may be anything. @param {unknown} given @returns {Notification[]} */
const valid = (given) => /** @type {any[]} */ ([given].flat()).filter((/** @type {any} */ item) => /string|number/.test(typeof item?.id))

/** The same with other items. What there is no room for is counted on. @param {Notifications} state @param {readonly Notification[]} items
 * @param {number} cap @param {readonly [number, number]} [beyond] unread and unseen of those beyond the list. */
const holding = (state, items, cap, beyond = state.more) => {
  const held = items.slice(0, cap)
  const more = plus(beyond, countsOf(items.slice(cap)))
  const [unread, unseen] = plus(more, countsOf(held))
  return { ...state, items: held, more, unread, unseen }
}

/** With one that is new, in its place; one that is known stays read. @param {readonly Notification[]} items @param {Notification} item @param {number} cap */
const received = (items, item, cap) => {
  if (items.some(({ id }) => id === item.id))
    return items.map((old) => (old.id === item.id ? { ...old, ...item, read: old.read || item.read, seen: old.seen || item.seen } : old))
  const place = items.findIndex((other) => !(timeOf(other) > timeOf(item)))
  if (place >= 0) return [...items.slice(0, place), item, ...items.slice(place)]
  return items.length < cap ? [...items, item] : items // older than all that are shown
}

/** @param {any} items notifications, or their ids. @param {unknown} id */
const isAmong = (items, id) => [items].flat().some((item) => (item?.id ?? item) === id)

/** @type {Record<string, (state: Notifications, action: any, cap: number) => Notifications>} */
const CHANGES = {
  created: (state, { items }, cap) => valid(items).reduce((now, item) => holding(now, received(now.items, item, cap), cap), state),
  updated: (state, { items }, cap) => {
    const news = new Map(valid(items).map((item) => [item.id, item]))
    return holding(state, state.items.map((item) => ({ ...item, ...news.get(item.id) })), cap)
  },
  deleted: (state, { items }, cap) => holding(state, state.items.filter(({ id }) => !isAmong(items, id)), cap),
  read: (state, { items }, cap) => {
    const now = state.items.map((item) => (!item.read && (!items || isAmong(items, item.id)) ? { ...item, read: true, seen: true } : item))
    return holding(state, now, cap, items ? state.more : [0, 0])
  },
  seen: (state, _, cap) => holding(state, state.items.map((item) => (item.seen ? item : { ...item, seen: true })), cap, [state.more[0], 0]),
}

/** What it takes to undo a change whose saving fails. @param {Notifications} before @param {Notifications} after */
const undoOf = (before, after) => ({
  items: before.items.filter((item) => !after.items.includes(item)),
  ids: after.items.map(({ id }) => id),
  more: plus(before.more, after.more, -1),
})

/** As it would be had the change not been made, and with all that has come since.
 * @param {Notifications} state @param {ReturnType<typeof undoOf>} change @param {number} cap */
const undone = (state, { items, ids, more }, cap) => {
  let now = state.items
  for (const old of items) {
    const { id, read, seen } = old
    if (now.some((item) => item.id === id)) now = now.map((item) => (item.id === id ? { ...item, read, seen } : item))
    else if (!ids.includes(id)) now = received(now, old, cap) // it was removed by that change
  }
  return holding(state, now, cap, plus(state.more, more))
}

/** @param {Notifications} state @param {Snapshot} snapshot @param {number} cap @returns {Notifications} */
const loaded = (state, snapshot, cap) => {
  const { items, ...told } = Array.isArray(snapshot) ? { items: snapshot } : snapshot
  const all = valid(items).sort((a, b) => timeOf(b) - timeOf(a) || 0)
  const [unread, unseen] = countsOf(all)
  const more = plus([told.unread ?? unread, told.unseen ?? unseen], [unread, unseen], -1)
  const now = { ...holding(state, all, cap, more), held: [], isLoading: false, error: null }
  return state.held.reduce((before, { key, ...action }) => reduce(before, action, cap), now)
}

/**
 * What becomes of the list. While a snapshot is being loaded, what happens is shown, and done again on top of the snapshot.
 * @param {Notifications} state @param {any} action a NotificationAction @param {number} [cap] how many are held. @returns {Notifications}
 */
export const reduce = (state, action, cap = 100) => {
  const { kind, key, error } = action
  if (kind === 'loading') return { ...state, isLoading: true, held: [] }
  if (kind === 'loaded') return loaded(state, action.snapshot, cap)
  if (kind === 'failed') return { ...state, isLoading: false, held: [], error }
  if (kind.endsWith('saved')) {
    const { [key]: change, ...undo } = state.undo
    if (kind === 'saved' || !change) return { ...state, undo }
    return { ...undone(state, change, cap), undo, error, held: state.held.filter((each) => each.key !== key) }
  }
  const now = { ...CHANGES[kind](state, action, cap) }
  if (state.isLoading) now.held = [...state.held, action].slice(-MAX_HELD)
  if (key) now.undo = { ...state.undo, [key]: undoOf(state, now) }
  return now
}
