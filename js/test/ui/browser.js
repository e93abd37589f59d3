// What tests/browser/test_react.py drives in Chromium: scenes with components, and what can be counted in them.
import { StrictMode, createElement as h, useEffect } from 'react'
import { flushSync } from 'react-dom'
import { createRoot, hydrateRoot } from 'react-dom/client'
import { renderToString } from 'react-dom/server.browser'
import { createClient } from 'headwater'
import { NotificationBell } from 'headwater/bell'
import { SSEProvider, useEvent, useEvents, useLatestEvent, useSSE } from 'headwater/react'

const place = document.getElementById('place')
const frame = () => new Promise(requestAnimationFrame)
const until = async (condition) => {
  while (!condition()) await frame()
}

/** Components that listen in every way, and count how often they are shown per frame. */
const Counters = ({ seen }) => {
  const all = useEvents('notification.created', ({ count, sum, ids }, { data }) => ({ count: count + 1, sum: sum + data.id, ids: [...ids.slice(-99), data.id] }), { count: 0, sum: 0, ids: [] })
  useEffect(() => {
    seen.all = all
    seen.shown += 1
    seen.most = Math.max(seen.most, seen.shown - seen.before)
  })
  return h('ol', null, all.ids.map((id) => h('li', { key: id }, id)))
}
const Latest = ({ seen }) => {
  seen.latest = useLatestEvent('notification.created', { select: ({ data }) => data.id })
  return h('output', null, seen.latest)
}

/** A burst: what was lost, how often was rendered, and how long the page did not answer. */
window.burst = async (count) => {
  const seen = { shown: 0, before: 0, most: 0, tasks: [], frames: 0 }
  new PerformanceObserver((list) => seen.tasks.push(...list.getEntries().map(({ duration }) => Math.round(duration)))).observe({ type: 'longtask' })
  const client = createClient({ url: '/events' })
  createRoot(place).render(h(SSEProvider, { client }, h(Counters, { seen }), h(Latest, { seen }), h(NotificationBell, { open: true })))
  await until(() => client.status.state === 'open')
  const tick = () => {
    seen.before = seen.shown
    seen.frames += 1
    requestAnimationFrame(tick)
  }
  tick()
  fetch(`/burst?count=${count}`, { method: 'POST' })
  await until(() => seen.all?.count === count && seen.latest === count - 1)
  await frame()
  await frame()
  return { ...seen, badge: document.querySelector('.hw-bell li')?.textContent, rows: document.querySelectorAll('.hw-bell li').length }
}

/** Mounted and unmounted again and again, in StrictMode. */
window.mounts = async (times) => {
  const client = createClient({ url: '/events' })
  let listeners = 0
  const counted = (add) => (...given) => {
    listeners += 1
    const off = add(...given)
    let isOn = true
    return () => {
      listeners -= Number(isOn)
      isOn = false
      off()
    }
  }
  Object.assign(client, { on: counted(client.on), onStatus: counted(client.onStatus) })
  const Component = () => {
    useSSE()
    useEvent('a', () => {})
    useEvents('b', (n) => n + 1, 0)
    useLatestEvent('c')
    return null
  }
  const root = createRoot(place)
  for (let i = 0; i < times; i += 1) {
    flushSync(() => root.render(h(StrictMode, null, h(SSEProvider, { client }, h(Component), h(NotificationBell)))))
    flushSync(() => root.render(null))
    if (i % 50 === 0) await frame()
  }
  window.client = client
  return listeners
}

/** Made on a server, brought to life here. */
window.hydrated = async () => {
  const errors = []
  const Status = () => h('p', { id: 'status' }, useSSE('/events').status)
  const page = h(StrictMode, null, h(SSEProvider, { endpoint: '/events' }, h(Status), h(NotificationBell)))
  place.innerHTML = renderToString(page)
  const before = document.getElementById('status').textContent
  hydrateRoot(place, page, { onRecoverableError: (error) => errors.push(error.message) })
  await until(() => document.getElementById('status').textContent === 'connected')
  return [before, errors]
}

/** A page with a bell. */
window.bell = async ({ share, ...props } = {}) => {
  const client = createClient({ url: '/events', share })
  const saved = []
  window.saved = saved
  const save = (what) => (ids) => void saved.push([what, ids ?? null])
  let isLoaded = false
  const load = async () => {
    const stored = await (await fetch('/notifications')).json()
    isLoaded = true
    return stored
  }
  const own = { load, onRead: save('read'), onSeen: save('seen'), onRemove: save('removed') }
  createRoot(place).render(
    h(SSEProvider, { client }, h('nav', { 'aria-label': 'Main' }, h('a', { href: '#tasks' }, 'Tasks'), h(NotificationBell, { ...own, desktop: true, titleBadge: true, ...props }), h('button', { type: 'button' }, 'Account'))),
  )
  await until(() => isLoaded)
  await frame() // in which it is shown
  await frame()
}
window.isReady = true
