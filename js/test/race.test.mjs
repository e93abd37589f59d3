// Tabs, a hub with a log, and chance: streams are cut, requests refused, swallowed or held back, tabs opened, closed, frozen and
// put aside. At any moment each tab has a piece of the log without a gap, a double or a swap; in the end it has all of it.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Locks, channels } from './tabs.mjs'
import { inWorld, settle } from './world.mjs'

const encoder = new TextEncoder()

/** Numbers from 0 to `below`, as chance has it, but each time the same. */
const chance = (seed) => (below) => (seed = (seed * 48_271) % 2_147_483_647) % below

class Hub {
  head = 0
  token = 0
  lag = 0
  streams = new Set()
  polls = new Set()
  manner = 'answers'

  fetch = (url, init) =>
    new Promise((resolve, reject) => {
      const { signal, headers } = init
      signal.addEventListener('abort', () => reject(signal.reason))
      signal.throwIfAborted()
      if (this.manner === 'swallows') return
      if (this.manner === 'refuses') return reject(new TypeError('fetch failed'))
      if (headers.get('authorization') !== `Bearer T${this.token}`) return resolve(Response.json({ title: 'Expired' }, { status: 401 }))
      const from = Number(headers.get('last-event-id') ?? this.head)
      if (headers.get('accept') === 'text/event-stream') this.#open(from, signal, resolve)
      else this.#poll(from, new URL(url).searchParams.get('wait') > 0, signal, resolve)
    })

  #open(from, signal, resolve) {
    const stream = { isStalled: false, late: '' }
    const body = new ReadableStream({ start: (controller) => (stream.controller = controller) })
    stream.send = (text) => {
      if (stream.isStalled) stream.late += text
      else if (text) stream.controller.enqueue(encoder.encode(text))
    }
    stream.end = (how) => this.streams.delete(stream) && how()
    signal.addEventListener('abort', () => stream.end(() => stream.controller.error(signal.reason)))
    this.streams.add(stream)
    stream.send(`id: ${from}\nevent: connected\ndata: {}\n\n${this.#events(from)}`)
    resolve(new Response(body, { headers: { 'content-type': 'text/event-stream' } }))
  }
  #events(from) {
    return Array.from({ length: this.head - from }, (_, n) => `id: ${from + n + 1}\nevent: log\ndata: ${from + n + 1}\n\n`).join('')
  }
  #poll(from, isHeld, signal, resolve) {
    const answer = () => {
      if (isHeld && this.head === from && !this.isTired) return
      this.polls.delete(answer)
      const head = Math.max(from, this.head - (this.lag = (this.lag + 1) % 3)) // answered by a node that is behind
      const events = Array.from({ length: head - from }, (_, n) => ({ id: `${from + n + 1}`, channel: 'a', type: 'log', data: from + n + 1 }))
      resolve(Response.json({ events, cursor: `${head}`, reset: null }))
    }
    this.polls.add(answer)
    signal.addEventListener('abort', () => this.polls.delete(answer))
    answer()
  }
  publish() {
    this.head += 1
    for (const { send } of this.streams) send(this.#events(this.head - 1))
    for (const answer of this.polls) answer()
  }
  beat() {
    for (const { send } of this.streams) send(`id: ${this.head}\nevent: heartbeat\ndata: {}\n\n`)
    this.isTired = true // of held polls
    for (const answer of this.polls) answer()
    this.isTired = false
  }
  cut(text = '') {
    for (const stream of [...this.streams]) {
      stream.send(text)
      stream.end(() => stream.controller.error(new TypeError('terminated')))
    }
  }
  drain() {
    for (const stream of this.streams) {
      stream.isStalled = false
      stream.send(stream.late)
      stream.late = ''
    }
  }
}

/** A tab with a page of its own. */
const open = async (world, hub, tabs, share) => {
  const page = new EventTarget()
  world.put('addEventListener', page.addEventListener.bind(page))
  const tab = { page, from: hub.head, heard: [], isAway: false }
  let kept = `T${hub.token}`
  const token = ({ reason }) => (reason === 'connect' ? kept : (kept = `T${hub.token}`))
  tab.client = world.client({ share, principal: 'p', token, fetch: hub.fetch, lastEventId: `${hub.head}`, connectTimeout: 3000 })
  tab.client.on('log', ({ data }) => {
    const next = tab.from + tab.heard.length + 1
    if (data === next) tab.heard.push(data)
    else world.faults.push(`${data} in place of ${next}`)
  })
  tab.client.onReset(() => world.faults.push('a gap'))
  tabs.push(tab)
  tab.client.connect()
  await settle()
  tab.channel = BroadcastChannel.all.at(-1) ?? { thaw() {} }
}

/** What may happen to them. */
const stepsOf = (world, hub, tabs, below, share) => {
  const any = () => tabs[below(tabs.length)]
  const publish = () => {
    for (let i = below(5); i >= 0; i -= 1) hub.publish()
  }
  return {
    publish, again: publish, more: publish,
    open: () => tabs.length < 5 && open(world, hub, tabs, share),
    close: () => tabs.length > 1 && tabs.splice(below(tabs.length), 1)[0].client.close(),
    cut: () => hub.cut(),
    cutInFrame: () => hub.cut(`id: ${hub.head + 1}\nevent: log\ndata: ${hub.head}`),
    end: () => [...hub.streams].forEach((stream) => stream.end(() => stream.controller.close())),
    stall: () => hub.streams.forEach((stream) => (stream.isStalled = true)),
    drain: () => hub.drain(),
    refuse: () => void (hub.manner = 'refuses'),
    swallow: () => void (hub.manner = 'swallows'),
    answer: () => void (hub.manner = 'answers'),
    expire: () => void (hub.token += 1),
    warn: () => hub.streams.forEach(({ send }) => send(`id: ${hub.head}\nevent: token_expiring\ndata: {}\n\n`)),
    freeze: () => void (any().channel.isFrozen = true),
    thaw: () => Promise.all(tabs.map(({ channel }) => channel.thaw())),
    leave: () => leave(any()),
    back: () => Promise.all(tabs.map(back)),
    reconnect: () => any().client.reconnect(),
    wait: () => world.pass(10 * below(300)),
    long: () => world.pass(15_000),
    beat: () => hub.beat(),
  }
}
const leave = (tab) => {
  if (tab.isAway) return
  tab.isAway = true
  tab.page.dispatchEvent(new Event('pagehide'))
}
const back = async (tab) => {
  if (!tab.isAway) return
  tab.isAway = false
  tab.page.dispatchEvent(new Event('pageshow'))
  await settle()
  tab.channel = BroadcastChannel.all.at(-1) ?? tab.channel
}

/** All is well again, and enough time passes for whatever waits. */
const heal = async (world, hub, tabs) => {
  hub.manner = 'answers'
  hub.drain()
  for (const tab of tabs) {
    await back(tab)
    if (tab.client.status.state === 'failed') tab.client.connect() // refused twice, because its token expired again meanwhile
  }
  for (const channel of BroadcastChannel.all) await channel.thaw()
  for (let i = 0; i < 20; i += 1) {
    await world.pass(14_000)
    hub.beat()
    await settle()
  }
  hub.publish()
  await settle()
}

/** @param {number} seed @param {boolean} share one connection for all tabs. */
const badDay = (seed, share) =>
  inWorld(async (world) => {
    world.put('BroadcastChannel', channels())
    world.navigator.locks = new Locks()
    const [hub, tabs, below] = [new Hub(), [], chance(seed * 7919)]
    world.random = 0.3
    world.faults = []
    await open(world, hub, tabs, share)
    const steps = Object.entries(stepsOf(world, hub, tabs, below, share))
    const done = []
    for (let i = 0; i < 60; i += 1) {
      const [name, step] = steps[below(steps.length)]
      done.push(name)
      await step()
      if (below(2)) await settle()
      assert.deepEqual(world.faults, [], done.join(' '))
    }
    await heal(world, hub, tabs)
    assert.deepEqual(world.faults, [], done.join(' '))
    for (const { from, heard, client } of tabs) assert.deepEqual([client.status.state, heard.length], ['open', hub.head - from], done.join(' '))
    const connections = share ? 1 : tabs.length
    assert.deepEqual([hub.streams.size, tabs.filter(({ client }) => client.isLeader).length, hub.polls.size], [connections, connections, 0])
  })

for (let seed = 1; seed <= 20; seed += 1) test(`tabs on a bad day (${seed})`, badDay(seed, true))
for (let seed = 1; seed <= 5; seed += 1) test(`a page on a bad day (${seed})`, badDay(seed, false))
