// The hooks: who connects when, who is told what, and how often something is rendered.
import assert from 'node:assert/strict'
import { afterEach, mock, test } from 'node:test'
import { Hub, act, complaints, h, settle, show, use, version } from './page.mjs'
import { StrictMode } from 'react'
import { SSEProvider, useEvent, useEvents, useLatestEvent, useSSE, useStatus } from '../../react.js'

afterEach(() => {
  mock.timers.reset()
  assert.deepEqual(complaints.splice(0), [])
})

test('it is the React that is asked for', () => assert.equal(version.split('.')[0], process.env.REACT ?? '19'))

const inside = (hub, props = {}) => ({ wrap: (element) => h(SSEProvider, { endpoint: 'http://hub/sse', fetch: hub.fetch, ...props }, element) })

test('a provider connects, and the hook says so', async () => {
  const hub = new Hub()
  const page = await use(() => useSSE('http://hub/sse'), inside(hub))
  assert.equal(page.seen.current.status, 'connected')
  assert.equal(page.seen.current.isConnected, true)
  assert.equal(hub.streams.length, 1)
  assert.equal(hub.streams[0].url.href, 'http://hub/sse')
  await page.end()
})

test('a provider that shall not connect leaves it to its children', async () => {
  const hub = new Hub()
  const page = await use(() => useSSE(), inside(hub, { autoConnect: false }))
  assert.deepEqual([page.seen.current.status, hub.asked], ['idle', 0])
  await settle(() => page.seen.current.connect())
  assert.equal(page.seen.current.status, 'connected')
  await settle(() => page.seen.current.disconnect())
  assert.deepEqual([page.seen.current.status, hub.streams.length], ['closed', 0])
  await page.end()
})

test('a listener gets data and event, and nothing after it is removed', async () => {
  const hub = new Hub()
  const page = await use(() => useSSE(), inside(hub))
  const heard = []
  const { addEventListener } = page.seen.current
  const off = addEventListener('notification.created', (data, { id }) => heard.push([data.title, id]))
  await hub.send(['notification.created', { title: 'New Task' }])
  off()
  await hub.send(['notification.created', { title: 'Another' }])
  assert.deepEqual(heard, [['New Task', '1']])
  assert.equal(page.seen.current.addEventListener, addEventListener)
  await page.end()
})

test('without a provider all components of a page share the connection of an address', async () => {
  const hub = new Hub()
  const options = { fetch: hub.fetch }
  const pages = [await use(() => useSSE('http://hub/one', options)), await use(() => useSSE({ url: 'http://hub/one', enabled: true, ...options }))]
  assert.equal(hub.streams.length, 1)
  assert.equal(pages[0].seen.current.client, pages[1].seen.current.client)
  const third = await use(() => useSSE({ url: 'http://hub/one', channels: ['b'], ...options }))
  assert.equal(hub.streams.length, 2)
  for (const page of [...pages, third]) await page.end()
})

test('a component that only listens has the client of the others for as long as it is there', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  const hub = new Hub()
  const options = { url: 'http://hub/later', fetch: hub.fetch }
  const listener = await use(() => useSSE({ ...options, enabled: false }))
  const heard = []
  listener.seen.current.addEventListener('a', (data) => heard.push(data))
  await settle(() => mock.timers.tick(2100)) // longer than an address keeps a client that nobody has
  const page = await use(() => useSSE(options))
  await hub.send(['a', 1])
  assert.deepEqual([heard, page.seen.current.client === listener.seen.current.client], [[1], true])
  await page.end()
  await listener.end()
})

test('addresses that functions make are not taken for one another', async () => {
  const hub = new Hub()
  let n = 0
  const pages = []
  for (const name of ['x', 'y']) pages.push(await use(() => useSSE({ url: () => `http://hub/${name}?${n}`, fetch: hub.fetch })))
  assert.deepEqual(hub.streams.map(({ url }) => url.pathname), ['/x', '/y'])
  n = 1
  await pages[0].render({})
  assert.equal(hub.asked, 2, 'a function is a new one each time')
  await settle(() => pages[0].seen.current.reconnect())
  assert.equal(hub.streams.at(-1).url.search, '?1')
  for (const page of pages) await page.end()
})

test('while nothing answers it is not connected, and by polls it is once they are answered', async () => {
  let answer
  const fetch = (_, { headers }) =>
    headers.get('accept') === 'application/json' ? new Promise((resolve) => (answer = resolve)) : Promise.reject(new TypeError('fetch failed'))
  const page = await use(() => useSSE(), inside({ fetch }, { poll: { after: 1 }, retry: { base: 1e6 } }))
  const { status, isConnected, error } = page.seen.current
  assert.deepEqual([status, isConnected, error.message], ['polling', false, 'fetch failed'])
  await settle(() => answer(new Response('{"events": [], "cursor": "e-1", "reset": null}')))
  assert.deepEqual([page.seen.current.status, page.seen.current.isConnected], ['connected', true])
  await page.end()
})

test('what is not enabled is not connected', async () => {
  const hub = new Hub()
  const page = await use(({ enabled }) => useSSE({ url: 'http://hub/two', enabled, fetch: hub.fetch }), { props: { enabled: false } })
  assert.deepEqual([page.seen.current.isConnected, hub.asked], [false, 0])
  await page.render({ enabled: true })
  assert.equal(page.seen.current.isConnected, true)
  await page.end()
})

test('a hook without a client says what it needs', async () => {
  const caught = []
  for (const hook of [() => useSSE(), () => useStatus()]) {
    const Component = () => {
      try {
        hook()
      } catch (error) {
        caught.push(error.message)
        throw error
      }
    }
    await assert.rejects(show(h(Component)))
  }
  assert.match(caught[0], /neither an SSEProvider above, nor/)
  complaints.splice(0)
})

test('the newest token function is asked', async () => {
  const hub = new Hub()
  const api = {}
  const Component = () => void (api.sse = useSSE())
  const at = (token) => h(SSEProvider, { endpoint: 'http://hub/sse', fetch: hub.fetch, token: () => token }, h(Component))
  const page = await show(at('one'))
  assert.equal(hub.streams[0].headers.get('authorization'), 'Bearer one')
  await page.render(at('two'))
  await settle(() => api.sse.reconnect())
  assert.equal(hub.streams[0].headers.get('authorization'), 'Bearer two')
  await page.end()
})

test('a new address is a new connection', async () => {
  const hub = new Hub()
  const at = (endpoint, channels) => h(SSEProvider, { endpoint, channels, fetch: hub.fetch })
  const page = await show(at('http://hub/1'))
  await page.render(at('http://hub/1', ['a']))
  await page.render(at('http://hub/1', ['a']))
  assert.deepEqual([hub.asked, hub.streams.at(-1).url.href], [2, 'http://hub/1?channel=a'])
  await page.end()
})

test('p11: the handler is the newest, and nothing is rendered', async () => {
  const hub = new Hub()
  const heard = []
  const page = await use(({ name }) => useEvent(['a', 'b'], ({ type, data }) => heard.push([name, type, data])), { ...inside(hub), props: { name: 'one' } })
  const { renders } = page.seen
  await hub.send(['a', 1])
  assert.equal(page.seen.renders, renders)
  await page.render({ name: 'two' })
  await hub.send(['b', 2], ['c', 3])
  assert.deepEqual(heard, [['one', 'a', 1], ['two', 'b', 2]])
  await page.end()
  await hub.send(['a', 4])
  assert.equal(heard.length, 2)
})

test('p09, p10: no event of a burst is lost, and all of it is one update', async () => {
  const hub = new Hub()
  const page = await use(() => useEvents('n', (sum, { data }) => sum + data, 0), inside(hub))
  const { renders } = page.seen
  await hub.send(...Array.from({ length: 10_000 }, (_, i) => ['n', i]))
  assert.equal(page.seen.current, 49_995_000)
  assert.equal(page.seen.renders, renders + 1)
  await page.end()
})

test('the first state may be made', async () => {
  const page = await use(() => useEvents('n', (list, { data }) => [...list, data], () => ['made']), inside(new Hub()))
  assert.deepEqual(page.seen.current, ['made'])
  await page.end()
})

test('the newest event is selected of, and only a change is rendered', async () => {
  const hub = new Hub()
  const page = await use(({ of = 'n' }) => useLatestEvent('tick', { select: ({ data }) => data[of], initial: 'none' }), inside(hub))
  assert.equal(page.seen.current, 'none')
  await hub.send(['tick', { n: 1, m: 5 }], ['tick', { n: 2, m: 6 }])
  assert.equal(page.seen.current, 2)
  const { renders } = page.seen
  await hub.send(['tick', { n: 2, m: 7 }])
  assert.equal(page.seen.renders, renders)
  await page.render({ of: 'm' })
  assert.equal(page.seen.current, 7)
  await page.end()
})

test('without a selector it is the event itself, and null before', async () => {
  const hub = new Hub()
  const page = await use(() => useLatestEvent(['a', 'b']), inside(hub))
  assert.equal(page.seen.current, null)
  await hub.send(['b', 'x'])
  assert.deepEqual([page.seen.current.type, page.seen.current.data], ['b', 'x'])
  await page.end()
})

test('a selector of the status may make new objects', async () => {
  const hub = new Hub()
  const page = await use(() => useStatus(({ state, transport }) => ({ state, transport })), inside(hub))
  assert.deepEqual(page.seen.current, { state: 'open', transport: 'sse' })
  const { renders } = page.seen
  await settle(() => hub.end())
  assert.notEqual(page.seen.current.state, 'open')
  assert.ok(page.seen.renders - renders < 4)
  await page.end()
})

test('the whole status', async () => {
  const page = await use(() => useStatus(), inside(new Hub()))
  assert.equal(page.seen.current.reason, 'first byte')
  await page.end()
})

test('a client of one’s own is connected while a component uses it', async () => {
  const hub = new Hub()
  const client = hub.client()
  const page = await use(() => useStatus(({ state }) => state, { client }))
  assert.equal(page.seen.current, 'open')
  const other = await use(() => useSSE({ client }))
  assert.equal(other.seen.current.client, client)
  assert.equal(hub.streams.length, 1)
  await page.end()
  await other.end()
  client.close()
})

test('p08: mounted and unmounted many times under StrictMode, there is one connection at most, and no listener', async () => {
  const hub = new Hub()
  const client = hub.client()
  let listeners = 0
  const { on, onStatus } = client
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
  Object.assign(client, { on: counted(on), onStatus: counted(onStatus) })
  const Component = () => {
    useSSE()
    useEvent('a', () => {})
    useEvents('b', (n) => n + 1, 0)
    useLatestEvent('c')
    return null
  }
  const page = await show(null)
  for (let i = 0; i < 100; i += 1) {
    await act(() => void page.root.render(h(StrictMode, null, h(SSEProvider, { client }, h(Component)))))
    await act(() => void page.root.render(null))
  }
  assert.equal(listeners, 0)
  assert.ok(hub.streams.length <= 1)
  await page.end()
  client.close()
})

for (const isStrict of [false, true])
  test(`whoever comes and goes, a page has one connection for an address, and none when all are gone (${isStrict ? 'strict' : 'not strict'})`, async () => {
    mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1e6 })
    const hub = new Hub()
    let seed = 11
    const below = (limit) => (seed = (seed * 48_271) % 2_147_483_647) % limit
    const Component = ({ url, enabled }) => h('i', null, useSSE({ url, enabled, fetch: hub.fetch }).status)
    const page = await show(null)
    const open = () => hub.streams.map(({ url }) => url.pathname).sort()
    const shown = new Map()
    for (let i = 0; i < 60; i += 1) {
      const key = below(6)
      if (below(3)) shown.set(key, { key, url: `http://hub/${key % 2}${isStrict}`, enabled: below(3) > 0 })
      else shown.delete(key)
      const all = h('p', null, [...shown.values()].map((props) => h(Component, props)))
      await page.render(isStrict ? h(StrictMode, null, all) : all)
      const wanted = new Set([...shown.values()].filter(({ enabled }) => enabled).map(({ url }) => new URL(url).pathname))
      assert.ok([...wanted].every((each) => open().includes(each)), 'whoever is there is connected')
      assert.equal(new Set(open()).size, open().length, 'and with all others of the address')
      if (below(2)) await settle(() => mock.timers.tick(below(2500)))
    }
    await page.end()
    await settle(() => mock.timers.tick(2500))
    assert.deepEqual(open(), [])
  })
