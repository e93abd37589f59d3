// Web Locks and BroadcastChannel as a browser has them, for tabs that are clients of one process. A tab can be frozen: it then
// hears nothing until it thaws. What a real browser does about it is tested in tests/browser.
import { inWorld, settle } from './world.mjs'

export class Locks {
  #locks = new Map()
  refuses = false

  request = async (name, { signal, steal = false }, work) => {
    if (this.refuses) throw new DOMException('not here', 'SecurityError')
    signal?.throwIfAborted()
    const lock = this.#locks.get(name) ?? { holder: null, queue: [] }
    this.#locks.set(name, lock)
    return new Promise((resolve, reject) => {
      const entry = { resolve, reject, work }
      signal?.addEventListener('abort', () => {
        if (!lock.queue.includes(entry)) return
        lock.queue.splice(lock.queue.indexOf(entry), 1)
        reject(signal.reason)
      })
      if (steal) {
        lock.holder?.reject(new DOMException('stolen', 'AbortError'))
        this.#grant(lock, entry)
      } else if (lock.holder) lock.queue.push(entry)
      else this.#grant(lock, entry)
    })
  }
  #grant(lock, entry) {
    lock.holder = entry
    queueMicrotask(async () => {
      if (lock.holder !== entry) return // stolen at once
      entry.resolve(await entry.work())
      if (lock.holder !== entry) return
      lock.holder = null
      const next = lock.queue.shift()
      if (next) this.#grant(lock, next)
    })
  }
}

/** Makes BroadcastChannels; `frozen` is a set of those that hear later, `deaf` of those that do not hear at all. */
export const channels = () => {
  const open = new Map()
  return class Channel {
    static all = []
    static notes = []
    isFrozen = false
    isDeaf = false
    #late = []
    constructor(name) {
      this.name = name
      if (!open.has(name)) open.set(name, new Set())
      open.get(name).add(this)
      Channel.all.push(this)
    }
    postMessage(data) {
      Channel.notes.push(data)
      for (const other of open.get(this.name)) {
        if (other === this) continue
        const copy = structuredClone(data)
        queueMicrotask(() => other.#hear(copy))
      }
    }
    #hear(data) {
      if (this.isFrozen) this.#late.push(data)
      else if (!this.isDeaf && open.get(this.name).has(this)) this.onmessage?.({ data })
    }
    async thaw() {
      this.isFrozen = false
      for (const data of this.#late.splice(0)) this.#hear(data)
      await settle()
    }
    close() {
      open.get(this.name).delete(this)
    }
  }
}

/** `test` with tabs that share a connection, and a hub. */
export const inTabs = (work) =>
  inWorld(async (world, t) => {
    world.put('BroadcastChannel', channels())
    world.locks = world.navigator.locks = new Locks()
    /** A tab, with what it has seen. */
    world.tab = async (options) => {
      const client = world.client({ share: true, url: '/events', channels: ['a'], ...options })
      const seen = []
      const statuses = []
      for (const type of ['*', 'connected', 'reset']) client.on(type, ({ type: what, id }) => seen.push(what === 'log' ? id : what))
      client.onStatus(({ state }) => statuses.push(state))
      client.connect()
      await settle()
      return { client, seen, statuses, channel: BroadcastChannel.all?.at(-1) }
    }
    world.streams = () => world.asked.filter(({ accept, isAborted }) => accept === 'text/event-stream' && !isAborted)
    await work(world, t)
  })

export const CONNECTED = 'id: 0\nevent: connected\ndata: {"x":1}\n\n'
