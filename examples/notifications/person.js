// One user as a page knows them: their notifications, who else is there, workflows and announcements, and all that happens.
//
// What is there is loaded once; the stream goes on from the cursor that came with it. Nothing is asked for again while the
// stream is open, and nothing is counted twice: `notifications.js`, which the React hook stands on, too, sees to that.

import { createClient } from './client.js'
import { Tokens } from './live.js'
import { NONE, reduce } from './notifications.js'

const API = new URL('api/v1', document.baseURI).pathname
const HERE = new URL('notifications', document.baseURI).pathname
const RUNS = 20
const PATIENCE = [500, 1000, 2000, 4000] // ms between attempts to load, while there is no server
const AGAIN = 10_000 // ms
const NOTIFICATIONS = { 'notification.created': 'created', 'notification.updated': 'updated', 'notification.deleted': 'deleted' }
const WORKFLOWS = ['workflow.started', 'workflow.completed', 'workflow.failed']

/** What may be refused, because a user need not hold every permission. */
const allowed = (error) => {
  if (error.status === 403) return null
  throw error
}

const byId = (items) => new Map(items.map((item) => [item.id, item]))

/** For a request that may be repeated; there is no `crypto.randomUUID` over plain HTTP. */
export const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')

export class Person {
  inbox = NONE
  me = null
  users = new Map()
  workflows = null // null: not for this user to know
  runs = new Map()
  announcements = new Map()
  client = null
  #tokens
  #watch
  #asked = null // the load that counts
  #saves = 0
  #seenAgain = 0 // when it may be tried again to mark them as seen, which nobody asks for but the page itself

  /**
   * @param {string} id
   * @param {object} watch
   * @param {(what: string) => void} watch.onChange inbox, users, runs or announcements.
   * @param {(client: object, status: object) => void} watch.onStatus
   * @param {(notification: object) => void} [watch.onArrival]
   * @param {(event: object) => void} [watch.onEvent]
   */
  constructor(id, watch) {
    this.id = id
    this.#tokens = new Tokens(`${HERE}/dev/token/${encodeURIComponent(id)}`)
    this.#watch = { onArrival() {}, onEvent() {}, ...watch }
  }

  /** Load, then listen from there. Tries until there is a server, or somebody calls `leave`. */
  async enter() {
    const cursor = await this.load()
    if (cursor !== null) this.#listen(cursor)
  }

  leave() {
    this.#asked = null
    this.client?.close()
    this.client = null
    this.#watch = { onChange() {}, onStatus() {}, onArrival() {}, onEvent() {} }
  }

  /** All there is; the cursor that belongs to what was asked for first. Null if nobody waits for it any more. */
  async load() {
    const asked = (this.#asked = {})
    this.#apply({ kind: 'loading' })
    for (let failures = 0; ; failures++) {
      try {
        const inbox = await this.request('GET', '/notifications')
        const paths = ['/users/me', '/users', '/announcements', '/workflows']
        const [me, users, announcements, workflows] = await Promise.all(paths.map((path) => this.request('GET', path).catch(allowed)))
        if (asked !== this.#asked) return null
        this.me = me
        this.users = byId(users.items)
        this.announcements = byId(announcements.items)
        this.workflows = workflows?.items ?? null
        this.runs = byId(workflows?.runs ?? [])
        this.#apply({ kind: 'loaded', snapshot: { items: inbox.items, unread: inbox.unread, unseen: inbox.unseen } })
        for (const what of ['users', 'announcements', 'runs']) this.#watch.onChange(what)
        return inbox.cursor
      } catch (error) {
        if (error.status && error.status < 500 && error.status !== 429) throw error
        await new Promise((resolve) => setTimeout(resolve, PATIENCE[Math.min(failures, PATIENCE.length - 1)]))
        if (asked !== this.#asked) return null
      }
    }
  }

  #listen(cursor) {
    const client = (this.client = createClient({
      url: `${API}/sse`,
      token: ({ reason }) => this.#tokens.get(reason !== 'connect'),
      lastEventId: cursor,
      probeEvery: 5000,
    }))
    const on = (type, take) => client.on(type, (event) => (take(event.data), this.#watch.onEvent(event)))
    for (const [type, kind] of Object.entries(NOTIFICATIONS)) on(type, (data) => this.#notified(kind, data))
    for (const type of ['user.updated', 'user.status_changed']) on(type, (data) => this.#merge('users', { name: data.id, ...this.users.get(data.id), ...data }))
    for (const type of WORKFLOWS) on(type, (data) => this.#merge('runs', data))
    for (const type of ['system.announcement', 'system.maintenance']) on(type, (data) => this.#merge('announcements', data))
    for (const type of ['connection_established', 'heartbeat']) on(type, () => {})
    // Events are gone that we have not seen: what is there has them. Whoever is refused is told by the stream, too.
    client.onReset(() => this.load().catch(() => {}))
    client.onStatus((status) => this.#watch.onStatus(client, status))
    client.connect()
  }

  #notified(kind, data) {
    const isNew = kind === 'created' && !this.inbox.items.some(({ id }) => id === data.id)
    this.#apply({ kind, items: data })
    if (isNew) this.#watch.onArrival(data)
  }

  #merge(what, data) {
    const map = this[what]
    map.set(data.id, { ...map.get(data.id), ...data })
    if (what === 'runs') for (const id of map.keys()) if (map.size > RUNS && id < data.id) map.delete(id)
    this.#watch.onChange(what)
  }

  #apply(action) {
    this.inbox = reduce(this.inbox, action)
    this.#watch.onChange('inbox')
  }

  /** Show a change at once, and undo it if it cannot be saved. */
  async #save(action, method, path, body) {
    const key = `${(this.#saves += 1)}`
    this.#apply({ ...action, key })
    try {
      await this.request(method, path, body)
      this.#apply({ kind: 'saved', key })
    } catch (error) {
      if (action.kind === 'seen') this.#seenAgain = Date.now() + AGAIN
      this.#apply({ kind: 'unsaved', key, error: error.message })
    }
  }

  markSeen = () => this.inbox.unseen && Date.now() > this.#seenAgain && this.#save({ kind: 'seen' }, 'POST', '/notifications/seen')
  markRead = (id) => this.#save({ kind: 'read', items: [id] }, 'POST', `/notifications/${id}/read`)
  markAllRead = () => this.#save({ kind: 'read', items: null }, 'POST', '/notifications/read')
  remove = (id) => this.#save({ kind: 'deleted', items: [id] }, 'DELETE', `/notifications/${id}`)

  may(permission) {
    return this.me?.permissions.includes(permission) ?? false
  }

  /** Calls the API; what it refuses is an Error with the server's own words, and its status. */
  async request(method, path, body, key) {
    const send = async (fresh) => {
      const headers = { Authorization: `Bearer ${await this.#tokens.get(fresh)}` }
      if (body !== undefined) headers['Content-Type'] = 'application/json'
      if (key) headers['Idempotency-Key'] = key
      return fetch(API + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) })
    }
    let response = await send(false)
    if (response.status === 401) response = await send(true)
    const answer = response.status === 204 ? null : await response.json().catch(() => ({}))
    if (!response.ok) throw Object.assign(new Error(answer.detail ?? `${response.status} ${response.statusText}`), { status: response.status })
    return answer
  }
}
