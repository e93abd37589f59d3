// The hub's events in a store, of Redux Toolkit's as it is.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { combineSlices, configureStore, createSlice } from '@reduxjs/toolkit'
import { createApi, fakeBaseQuery } from '@reduxjs/toolkit/query'
import { Hub, settle } from './page.mjs'
import { attachSSE, createNotificationsSlice, createStatusSlice, sseCacheEntry } from '../../redux.js'

const orders = createSlice({ name: 'orders', initialState: [], reducers: { created: (state, { payload }) => void state.push(payload.id) } })

const connected = async (options) => {
  const hub = new Hub()
  const client = hub.client(options)
  client.connect()
  await settle()
  return { hub, client }
}

test('events are actions, all of a burst for one look of the subscribers', async () => {
  const { hub, client } = await connected()
  const store = configureStore({ reducer: { orders: orders.reducer } })
  let looks = 0
  store.subscribe(() => (looks += 1))
  const detach = attachSSE(store, client, { 'order.created': orders.actions.created, other: () => null })
  await hub.send(...Array.from({ length: 500 }, (_, id) => ['order.created', { id }]), ['other', 1])
  assert.deepEqual(store.getState().orders, Array.from({ length: 500 }, (_, id) => id))
  assert.equal(looks, 1)
  detach()
  await hub.send(['order.created', { id: 'late' }])
  assert.equal(store.getState().orders.length, 500)
  client.close()
})

test('an event may be several actions, or a thunk, and gives its id', async () => {
  const { hub, client } = await connected()
  const seen = []
  const detach = attachSSE({ dispatch: (action) => seen.push(typeof action === 'function' ? action() : action.type) }, client, {
    a: (data, { id }) => [{ type: `a${data}` }, null, { type: id }],
    '*': () => () => 'thunk',
  })
  await hub.send(['a', 7], ['b', 8])
  assert.deepEqual(seen, ['a7', '1', 'thunk', 'thunk'])
  detach()
  client.close()
})

test('what waits is dispatched before it is detached', async () => {
  const { hub, client } = await connected()
  const seen = []
  const detach = attachSSE({ dispatch: ({ type }) => seen.push(type) }, client, { a: () => ({ type: 'a' }) })
  client.on('a', detach)
  await hub.send(['a', 1])
  assert.deepEqual(seen, ['a'])
  client.close()
})

test('an action that throws keeps none of the others', async (t) => {
  const { hub, client } = await connected()
  const seen = []
  const thrown = new Promise((resolve) => {
    const [listener] = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.once('uncaughtException', (error) => {
      if (listener) process.on('uncaughtException', listener)
      resolve(error)
    })
  })
  const detach = attachSSE({ dispatch: ({ payload }) => (payload === 1 ? assert.fail('one') : seen.push(payload)) }, client, { n: (payload) => ({ type: 'n', payload }) })
  await hub.send(['n', 0], ['n', 1], ['n', 2])
  assert.equal((await thrown).message, 'one')
  assert.deepEqual(seen, [0, 2])
  detach()
  client.close()
})

test('a store says that it is connected once polls are answered, and not before', async () => {
  let answer
  const fetch = (_, { headers }) =>
    headers.get('accept') === 'application/json' ? new Promise((resolve) => (answer = resolve)) : Promise.reject(new TypeError('fetch failed'))
  const slice = createStatusSlice()
  const { selectStatus, selectIsConnected } = slice.selectors
  const store = configureStore({ reducer: combineSlices(slice) })
  const client = new Hub().client({ fetch, poll: { after: 1 }, retry: { base: 1e6 } })
  const detach = attachSSE(store, client, {}, { status: slice.actions.changed })
  const told = () => [selectStatus(store.getState()).state, selectIsConnected(store.getState())]
  client.connect()
  await settle()
  assert.deepEqual(told(), ['polling', false])
  await settle(() => answer(new Response('{"events": [], "cursor": "e-1", "reset": null}')))
  assert.deepEqual(told(), ['polling', true])
  detach()
  client.close()
})

test('the status is in the store, and can be stored', async () => {
  const hub = new Hub()
  const client = hub.client({ poll: false })
  const slice = createStatusSlice()
  const store = configureStore({ reducer: combineSlices(slice) })
  const { selectStatus, selectIsConnected } = slice.selectors
  assert.equal(selectStatus(store.getState()).state, 'idle')
  const errors = []
  const { error } = console
  console.error = (...what) => errors.push(what)
  const detach = attachSSE(store, client, {}, { status: slice.actions.changed })
  client.connect()
  await settle()
  assert.deepEqual([selectStatus(store.getState()).state, selectIsConnected(store.getState())], ['open', true])
  hub.isOpen = false
  await settle(() => hub.streams[0].controller.error(new TypeError('terminated')))
  assert.equal(selectStatus(store.getState()).error.message, 'terminated')
  assert.equal(selectIsConnected(store.getState()), false)
  console.error = error
  assert.deepEqual(errors, [])
  detach()
  client.close()
})

const item = (id, more) => ({ id, title: `Title ${id}`, createdAt: id, ...more })
const shop = (options) => {
  const slice = createNotificationsSlice(options)
  const store = configureStore({ reducer: combineSlices(slice) })
  const { selectNotifications, selectUnreadCount, selectUnseenCount } = slice.selectors
  return { slice, store, counts: () => [selectNotifications(store.getState()).map(({ id }) => id).join(' '), selectUnreadCount(store.getState()), selectUnseenCount(store.getState())] }
}

test('notifications are counted once, whatever comes twice', async () => {
  const { hub, client } = await connected()
  const { slice, store, counts } = shop({ cap: 2 })
  const detach = attachSSE(store, client, slice.map)
  await hub.send(['notification.created', item(1)], ['notification.created', item(2)], ['notification.created', item(2)], ['notification.created', item(3)])
  assert.deepEqual(counts(), ['3 2', 3, 3])
  await hub.send(['notification.updated', item(3, { read: true })], ['notification.deleted', { id: 2 }])
  assert.deepEqual(counts(), ['3', 1, 1])
  store.dispatch(slice.actions.markSeen())
  assert.deepEqual(counts(), ['3', 1, 0])
  store.dispatch(slice.actions.markAllRead())
  assert.deepEqual(counts(), ['3', 0, 0])
  assert.equal(`${slice.actions.created}`, 'notifications/created')
  assert.ok(slice.actions.created.match({ type: 'notifications/created' }) && !slice.actions.created.match(undefined))
  assert.equal(slice.getInitialState().unread, 0)
  detach()
  client.close()
})

test('foreign actions change nothing', () => {
  const { slice } = shop()
  const state = slice.getInitialState()
  for (const type of ['other/created', 'notifications/unknown', 'notifications', Symbol.for('x').description]) assert.equal(slice.reducer(state, { type }), state)
})

test('a mark is shown at once, and taken back when it cannot be saved', async () => {
  const { slice, store, counts } = shop()
  store.dispatch(slice.actions.created([item(1), item(2)]))
  let answer
  const saving = store.dispatch(slice.save(slice.actions.markRead(1), () => new Promise((_, reject) => (answer = reject))))
  assert.deepEqual(counts(), ['2 1', 1, 1])
  answer(new Error('offline'))
  assert.equal(await saving, false)
  assert.deepEqual([counts(), slice.selectors.selectError(store.getState())], [['2 1', 2, 2], 'Error: offline'])
  assert.equal(await store.dispatch(slice.save(slice.actions.markRead([1, 2]), () => {})), true)
  assert.deepEqual([counts(), store.getState().notifications.undo], [['2 1', 0, 0], {}])
})

test('what is loaded begins when the stream is open, and again after a reset', async () => {
  const hub = new Hub()
  const client = hub.client()
  const { slice, store, counts } = shop()
  const answers = []
  const detach = attachSSE(store, client, slice.map, { load: () => slice.load(() => new Promise((...both) => answers.push(both))) })
  await settle()
  assert.equal(answers.length, 0)
  client.connect()
  await settle()
  assert.deepEqual([answers.length, slice.selectors.selectIsLoading(store.getState())], [1, true])
  await hub.send(['notification.created', item(9)])
  await settle(() => answers[0][0]([item(1)]))
  assert.deepEqual(counts(), ['9 1', 2, 2])
  await hub.send(['reset', { reason: 'expired' }], ['reset', { reason: 'expired' }])
  await settle(() => answers[1][0]([])) // the one before the last is out of date
  assert.deepEqual(counts(), ['9 1', 2, 2])
  await settle(() => answers[2][1](new Error('no')))
  assert.equal(slice.selectors.selectError(store.getState()), 'Error: no')
  await hub.send(['reset', { reason: 'expired' }], ['reset', { reason: 'expired' }])
  await settle(() => answers[3][1](new Error('older')))
  assert.equal(slice.selectors.selectIsLoading(store.getState()), true)
  detach()
  client.close()
})

/** A query whose answers the test gives. */
const queries = (client, { reload } = {}) => {
  const answers = []
  const api = createApi({
    baseQuery: fakeBaseQuery(),
    endpoints: (build) => ({
      orders: build.query({
        queryFn: () => new Promise((resolve) => answers.push(resolve)),
        onCacheEntryAdded: sseCacheEntry(client, 'order', (draft, data) => void (draft.includes(data) || draft.push(data)), {
          reload: reload && ((arg, { dispatch }) => dispatch(api.endpoints.orders.initiate(arg, { forceRefetch: true, subscribe: false }))),
        }),
      }),
    }),
  })
  const store = configureStore({ reducer: { [api.reducerPath]: api.reducer }, middleware: (all) => all().concat(api.middleware) })
  const start = (options) => store.dispatch(api.endpoints.orders.initiate('x', options))
  return { answers, store, start, api, get data() { return api.endpoints.orders.select('x')(store.getState()).data } }
}

test('p16: nothing is lost between load and stream', async () => {
  const { hub, client } = await connected()
  const shop = queries(client)
  const query = shop.start()
  await hub.send(['order', 1], ['order', 2])
  await settle(() => shop.answers[0]({ data: [1] }))
  assert.deepEqual(shop.data, [1, 2])
  await hub.send(['order', 3])
  assert.deepEqual(shop.data, [1, 2, 3])
  query.unsubscribe()
  shop.store.dispatch(shop.api.util.resetApiState())
  await hub.send(['order', 4])
  client.close()
})

test('an answer that is older than an event does not undo it', async () => {
  const { hub, client } = await connected()
  const shop = queries(client)
  shop.start()
  await settle(() => shop.answers[0]({ data: [1] }))
  shop.start({ forceRefetch: true })
  await hub.send(['order', 2])
  assert.deepEqual(shop.data, [1, 2])
  await settle(() => shop.answers[1]({ data: [1] }))
  await settle(() => new Promise((resolve) => setTimeout(resolve, 60)))
  assert.deepEqual(shop.data, [1, 2])
  shop.store.dispatch(shop.api.util.resetApiState())
  client.close()
})

test('a refetch that fails changes nothing', async () => {
  const { hub, client } = await connected()
  const shop = queries(client)
  shop.start()
  await settle(() => shop.answers[0]({ data: [1] }))
  shop.start({ forceRefetch: true })
  await hub.send(['order', 2])
  await settle(() => shop.answers[1]({ error: 'no' }))
  await settle(() => new Promise((resolve) => setTimeout(resolve, 60)))
  assert.deepEqual(shop.data, [1, 2])
  shop.store.dispatch(shop.api.util.resetApiState())
  client.close()
})

test('what came while nothing was asked is in the next answer', async () => {
  const { hub, client } = await connected()
  const shop = queries(client)
  shop.start()
  await settle(() => shop.answers[0]({ error: 'no' }))
  await hub.send(['order', 1])
  shop.start({ forceRefetch: true })
  await settle(() => shop.answers[1]({ data: [] }))
  assert.deepEqual(shop.data, [])
  shop.store.dispatch(shop.api.util.resetApiState())
  client.close()
})

test('when the stream opens after the load began, and after a reset, it is loaded again', async () => {
  const hub = new Hub()
  hub.isOpen = false
  const client = hub.client()
  const shop = queries(client, { reload: true })
  shop.start()
  await settle(() => shop.answers[0]({ data: [1] }))
  await settle(() => {
    hub.streams[0].open()
    hub.push(['connected', {}])
  })
  await settle(() => shop.answers[1]({ data: [1, 2] }))
  assert.deepEqual(shop.data, [1, 2])
  await hub.send(['reset', {}])
  assert.equal(shop.answers.length, 3)
  shop.store.dispatch(shop.api.util.resetApiState())
  client.close()
})

test('a query that is given up before its answer leaves no listener', async () => {
  const { hub, client } = await connected()
  const shop = queries(client)
  shop.start().unsubscribe()
  shop.store.dispatch(shop.api.util.resetApiState())
  await hub.send(['order', 1])
  assert.equal(shop.data, undefined)
  client.close()
})

/** Numbers from 0 to `below`, as chance has it, but each time the same. */
const chance = (seed) => (below) => (seed = (seed * 48_271) % 2_147_483_647) % below

for (const seed of Array.from({ length: 20 }, (_, n) => n + 1)) {
  test(`p16: whatever races, the data are the server's in the end (${seed})`, async () => {
    const { hub, client } = await connected()
    const shop = queries(client)
    const below = chance(seed * 7919)
    const stored = []
    const asked = new Map() // from a query's number to what the server read when it got to it
    const steps = [
      () => hub.push(['order', stored[stored.push(stored.length) - 1]]),
      () => void shop.start({ forceRefetch: true }),
      () => shop.answers.forEach((_, n) => asked.has(n) || asked.set(n, [...stored])), // and answers later
      () => shop.answers.forEach((answer, n) => asked.has(n) && answer({ data: asked.get(n) })),
      () => settle(),
      () => new Promise((resolve) => setTimeout(resolve, below(20))),
    ]
    shop.start()
    for (let i = 0; i < 30; i += 1) {
      await steps[below(steps.length)]()
      if (below(2)) await new Promise(setImmediate)
    }
    await settle()
    steps[2]()
    steps[3]()
    await settle()
    await settle(() => new Promise((resolve) => setTimeout(resolve, 60)))
    assert.deepEqual([...shop.data].sort((a, b) => a - b), stored)
    shop.store.dispatch(shop.api.util.resetApiState())
    client.close()
  })
}
