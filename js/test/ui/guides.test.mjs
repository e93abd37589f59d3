// Every example of the guides runs, and does what the guide says.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { afterEach, mock, test } from 'node:test'
import { Hub, complaints, h, settle, show } from './page.mjs'
import { left, run } from './guides.mjs'
import { STATES, createClient } from '../../headwater.js'
import * as react from '../../react.js'
import * as bell from '../../bell.js'
import * as redux from '../../redux.js'

const { SSEProvider } = react
const [BROWSER, REACT, REDUX, README] = ['docs/howto/browser.md', 'docs/howto/react.md', 'docs/howto/redux.md', 'js/README.md']

afterEach(() => assert.deepEqual(complaints.splice(0), []))

/** What the examples have from their application, and a hub behind the page's own fetch. */
const application = (given = {}) => {
  const hub = new Hub()
  const answers = { '/api/orders': [{ id: 'a', total: 1 }], '/notifications': [] }
  globalThis.fetch = async (what, init = what) => {
    const url = new URL(what.url ?? what, location)
    if (init.headers?.get?.('accept') === 'text/event-stream') return hub.isOver ? new Response(null, { status: 204 }) : hub.fetch(url, init)
    return Response.json(answers[url.pathname])
  }
  const seen = []
  const note = (name) => (...what) => void seen.push([name, ...what])
  Object.assign(globalThis, { session: { token: () => 'T' }, append: note('append'), show: note('show'), loadEverythingAnew: note('anew'), ...given })
  return { hub, seen }
}
const console_log = (seen) => mock.method(console, 'log', (...what) => void seen.push(what))

test('browser: the first client', async () => {
  const { hub, seen } = application()
  await run(BROWSER, "channels: ['room:42', 'user:7']", { before: "import { createClient } from 'headwater'\n" })
  await settle()
  assert.equal(hub.streams[0].url.search, '?channel=room%3A42&channel=user%3A7')
  assert.equal(hub.streams[0].headers.get('authorization'), 'Bearer T')
  await hub.send(['log', { n: 1 }], ['reset', { reason: 'expired' }])
  assert.deepEqual(seen, [['append', { n: 1 }], ['anew']])
})

test('browser and README: types', async () => {
  application()
  for (const guide of [BROWSER, README]) await run(guide, 'interface Events {')
})

test('browser: in Node, until the hub says that there is no more', async () => {
  const { hub, seen } = application()
  console_log(seen)
  const end = run(BROWSER, 'https://hub.example/events')
  await settle()
  while (!hub.streams.length) await settle()
  await hub.send(['order.created', { total: 7 }])
  hub.isOver = true
  await settle(() => hub.end())
  await new Promise((resolve) => setTimeout(resolve, 1100)) // the first try again
  await end
  mock.restoreAll()
  assert.deepEqual(seen, [[7]])
})

test('browser: from EventSource', async () => {
  const old = {}
  globalThis.EventSource = class {
    constructor(url) { old.url = url }
    addEventListener = (type, listener) => void (old[type] = listener)
  }
  const { hub, seen } = application()
  await run(BROWSER, '// before', { before: "import { createClient } from 'headwater'\n" })
  await settle()
  old.log({ data: '"old"' })
  await hub.send(['log', 'new'])
  assert.deepEqual([old.url, hub.streams[0].url.href], ['/events?channel=room:42', 'http://hub/events?channel=room%3A42'])
  assert.deepEqual(seen, [['show', 'connecting'], ['show', 'open'], ['append', 'old'], ['append', 'new']])
})

test('README: the first client', async () => {
  const { hub, seen } = application()
  console_log(seen)
  await run(README, "channels: ['room:42']")
  await settle()
  await hub.send(['log', { message: 'Hello' }], ['reset', {}])
  mock.restoreAll()
  assert.deepEqual(seen.map(([what]) => what), ['connecting', 'open', 'Hello', 'anew'])
})

/** An element within a provider, with a hub. */
const provided = async (hub, element) => show(h(SSEProvider, { endpoint: 'http://hub/sse', fetch: hub.fetch }, element))

test('React: a provider, whose token is asked for', async () => {
  const { hub } = application()
  const { Providers } = await run(REACT, 'function Providers')
  const page = await show(h(Providers, null, 'child'))
  assert.deepEqual([page.text, hub.streams[0].url.pathname, hub.streams[0].headers.get('authorization')], ['child', '/api/v1/sse', 'Bearer T'])
  await page.end()
  await run(REACT, 'interface Register')
})

test('React: hearing events in every way', async () => {
  const { hub, seen } = application()
  const { Orders } = await run(REACT, 'function Orders')
  const page = await provided(hub, h(Orders, { refresh: () => seen.push('refresh') }))
  await hub.send(['order.created', { id: 'a' }], ['order.created', { id: 'b' }], ['tick', { n: 3 }], ['workflow.completed', { status: 'completed' }])
  assert.deepEqual([page.text, seen], ['open: 2 orders, tick 3', ['refresh']])
  await page.end()
})

test('React: the connection', async () => {
  const { hub, seen } = application()
  const { Workflows } = await run(REACT, 'function Workflows')
  const page = await provided(hub, h(Workflows, { refreshDashboard: () => seen.push('refresh') }))
  await hub.send(['workflow.completed', { status: 'completed' }], ['workflow.completed', { status: 'failed' }])
  assert.deepEqual([page.text, seen], ['Live', ['refresh']])
  hub.isOpen = false
  await settle(() => hub.end())
  assert.match(page.text, /Try now/)
  hub.isOpen = true
  await settle(() => page.place.querySelector('button').click())
  assert.equal(page.text, 'Live')
  await page.end()
})

test('React: without a provider', async () => {
  const { hub } = application()
  mock.method(console, 'debug', () => {})
  const { Live } = await run(REACT, 'function Live')
  const page = await show(h(Live, { isVisible: false }))
  assert.equal(page.text, 'false connected')
  await page.render(h(Live, { isVisible: true }))
  mock.restoreAll()
  assert.deepEqual([page.text, hub.streams.map(({ url }) => url.pathname)], ['true connected', ['/sse', '/api/v1/events/stream']])
  await page.end()
})

test('React: the bell', async () => {
  const calls = []
  const { hub } = application({ api: async (path, { method, body } = {}) => (calls.push([path, method, body]), method ? {} : [{ id: 1, title: 'Stored' }]) })
  const { Header } = await run(REACT, 'function Header')
  const page = await provided(hub, h(Header))
  await hub.send(['notification.created', { id: 2, title: 'New', createdAt: Date.now() }])
  await settle(() => page.place.querySelector('.hw-bell-button').click())
  assert.match(page.text, /Stored.*New/)
  for (const selector of ['.hw-bell-item', '.hw-bell-remove']) await settle(() => page.place.querySelector(selector).click())
  assert.deepEqual(calls, [['/notifications', undefined, undefined], ['/notifications/read', 'POST', '[1]'], ['/notifications/1', 'DELETE', undefined]])
  await page.end()
})

test('React: a bell of one’s own', async () => {
  const { hub } = application()
  const { MyBell } = await run(REACT, 'function MyBell')
  const page = await provided(hub, h(MyBell))
  await hub.send(['notification.created', { id: 1, title: 'One' }])
  assert.equal(page.place.querySelector('button').textContent, '🔔 1')
  await settle(() => page.place.querySelector('button').click())
  assert.equal(page.place.querySelector('[role=dialog]').textContent, 'One')
  await page.end()
})

test('React: components are tested like this', async () => {
  application()
  const { hub } = await run(REACT, 'export function hub')
  const { Orders } = await run(REACT, 'function Orders')
  const { wrapper, send } = hub()
  const page = await show(h(wrapper, null, h(Orders, { refresh() {} })))
  await settle(() => send('order.created', { id: 'x', total: 1 }))
  assert.equal(page.text, 'open: 1 orders, tick –')
  await page.end()
})

test('README: React', async () => {
  const { hub } = application()
  const { App } = await run(README, 'export const App')
  const page = await show(h(App))
  assert.equal(hub.streams[0].url.search, '?channel=orders&channel=user%3A7')
  await hub.send(['order.created', { total: 2 }], ['order.created', { total: 3 }])
  assert.match(page.text, /open: 5/)
  await page.end()
})

test('Redux: events become actions', async () => {
  const { hub } = application()
  const { events, store, selectIsConnected } = await run(REDUX, 'stale: () => ({})')
  events.connect()
  await settle()
  await hub.send(['order.created', { id: 'a', total: 1 }])
  assert.deepEqual([store.getState().orders, selectIsConnected(store.getState())], [{ a: { id: 'a', total: 1 } }, true])
  await hub.send(['reset', {}])
  assert.deepEqual(store.getState().orders, {})
  await settle(() => events.close())
})

test('Redux: notifications, and the bell that shows them', async () => {
  const read = []
  application({ api: { list: async () => [{ id: 'a', title: 'A' }], read: async (ids) => read.push(...ids) } })
  const { markRead, selectUnreadCount, selectUnseenCount, selectNotifications } = await run(REDUX, 'export const markRead')
  assert.equal(await settle(() => markRead('a')), undefined)
  assert.deepEqual(read, ['a'])
  const state = { notifications: { items: [{ id: 1, title: 'Held' }], unread: 1, unseen: 1 } }
  const marks = { markRead() {}, markAllRead() {}, markSeen() {} }
  const { hub } = application({ useAppSelector: (select) => select(state), selectNotifications, selectUnreadCount, selectUnseenCount, marks })
  const { Bell } = await run(REDUX, 'export function Bell')
  const page = await provided(hub, h(Bell))
  assert.equal(page.place.querySelector('.hw-bell-badge').textContent, '1')
  await page.end()
  await run(README, 'attachSSE(store', { before: 'const store = { dispatch() {} }\n' })
})

test('Redux: RTK Query', async () => {
  const { Request: Real } = globalThis
  globalThis.Request = class extends Real { constructor(what, init) { super(new URL(what, location), init) } } // as a page does it
  const { hub } = application()
  const { api } = await run(REDUX, 'sseCacheEntry(')
  const { configureStore } = await import('@reduxjs/toolkit')
  const store = configureStore({ reducer: { [api.reducerPath]: api.reducer }, middleware: (all) => all().concat(api.middleware) })
  store.dispatch(api.endpoints.orders.initiate())
  await settle()
  await hub.send(['order.created', { id: 'b', total: 2 }], ['order.changed', { id: 'a', total: 3 }])
  const { data } = api.endpoints.orders.select()(store.getState())
  assert.deepEqual(data, [{ id: 'a', total: 3 }, { id: 'b', total: 2 }])
  await settle(() => void store.dispatch(api.util.resetApiState()))
  globalThis.Request = Real
})

/** The names in the first column of the tables of a guide. */
const named = (guide) => [...readFileSync(new URL(`../../../${guide}`, import.meta.url), 'utf8').matchAll(/^\| `(\w+)/gm)].map(([, name]) => name)

/** The names that an interface declares. */
const declared = (file, name) => {
  const [, body] = new RegExp(`interface ${name}\\b.*?\\{\n(.*?)\n\\}`, 's').exec(readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8'))
  return [...body.matchAll(/^ {2}(?:readonly )?(\w+)/gm)].map(([, each]) => each)
}

test('browser: every state, option and number is documented, with its default', () => {
  const text = readFileSync(new URL(`../../../${BROWSER}`, import.meta.url), 'utf8')
  const names = named(BROWSER)
  for (const name of [...Object.keys(STATES), ...declared('types.d.ts', 'ClientOptions')]) assert.ok(names.includes(name), name)
  for (const name of [...Object.keys(createClient().metrics()), ...declared('types.d.ts', 'Client')]) assert.ok(text.includes(`\`${name}`) || text.includes(`events.${name}`), name)
  const source = readFileSync(new URL('../../headwater.js', import.meta.url), 'utf8')
  const [, defaults] = /const DEFAULTS = \{\n(.*?)\n\}/s.exec(source)
  const given = [...defaults.matchAll(/^ {2}(\w+): ([\d_]+),/gm)].map(([, name, value]) => [name, value.replaceAll('_', '')])
  assert.equal(given.length, 10)
  for (const [name, value] of given) assert.match(text, new RegExp(`(\\| \`${name}\` \\| ${value} \\||\\b${name}: ${value}\\b)`), name)
})

test('React and Redux: every export is documented', () => {
  const text = readFileSync(new URL(`../../../${REACT}`, import.meta.url), 'utf8') + readFileSync(new URL(`../../../${REDUX}`, import.meta.url), 'utf8')
  for (const name of [...Object.keys(react), ...Object.keys(bell), ...Object.keys(redux)]) assert.ok(text.includes(name), name)
  for (const name of [...declared('bell.d.ts', 'BellOptions'), ...declared('bell.d.ts', 'BellProps')]) assert.ok(text.includes(name), name)
})

test('no example is left', () => assert.deepEqual(left(BROWSER, REACT, REDUX, README), []))
