// What callers hold: handlers and their ends, closing at any moment, iterators, numbers.
import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { createClient } from '../headwater.js'
import { event, inWorld, settle } from './world.mjs'

test('each type has its handlers, and all but the hub\'s own go to *', inWorld(async (world) => {
  const client = await world.opened()
  const seen = []
  for (const type of ['log', 'connected', 'heartbeat', 'reset', '*']) client.on(type, (each) => seen.push([type, each.type, each.data, each.channel]))
  await world.last.send('event: connected\ndata: {}\n\n' + event('1', { n: 1 }) + 'channel: b\ndata: plain {text\n\n' + 'event: heartbeat\ndata: 1\n\n' + 'event: reset\ndata: {"reason":"expired"}\n\n')
  assert.deepEqual(seen, [
    ['connected', 'connected', {}, null], ['log', 'log', { n: 1 }, null], ['*', 'log', { n: 1 }, null], ['*', 'message', 'plain {text', 'b'],
    ['heartbeat', 'heartbeat', 1, null], ['reset', 'reset', { reason: 'expired' }, null],
  ])
}))

test('p18: what the hub names is no news of the connection, whatever it is called', inWorld(async (world) => {
  const client = await world.opened()
  const seen = []
  const { length } = world.statuses
  for (const type of ['open', 'error', 'status', '*', '__proto__']) client.on(type, (event) => seen.push([type, event.type]))
  await world.last.send(['open', 'error', 'status', '*', '__proto__'].map((type) => event('1', 1, type)).join(''))
  const each = ['open', 'error', 'status', '__proto__'].flatMap((type) => [[type, type], ['*', type]])
  each.splice(6, 0, ['*', '*'])
  assert.deepEqual([seen, world.statuses.length], [each, length])
}))

test('p24: fetch is what it is when it is needed: others wrap it late', inWorld(async (world, { mock }) => {
  const client = createClient({ url: '/events' })
  world.clients.push(client)
  mock.method(globalThis, 'fetch', world.fetch)
  client.connect()
  await settle()
  assert.equal(world.asked.length, 1)
}))

test('a handler is called until it is removed, each registration on its own', inWorld(async (world) => {
  const client = await world.opened()
  const seen = []
  const handler = ({ id }) => seen.push(id)
  const controller = new AbortController()
  const offs = [client.on('log', handler), client.on('log', handler), client.on('log', handler, { signal: controller.signal })]
  client.on('log', handler, { signal: AbortSignal.abort() })
  client.once('log', handler)
  await world.last.send(event('1', 1))
  offs[0]()
  offs[0]()
  await world.last.send(event('2', 2))
  controller.abort()
  await world.last.send(event('3', 3))
  offs[1]()
  await world.last.send(event('4', 4))
  assert.deepEqual(seen, ['1', '1', '1', '1', '2', '2', '3'])
}))

test('a handler that was removed or added by another one is not called for the same event', inWorld(async (world) => {
  const client = await world.opened()
  const seen = []
  client.on('log', () => { off(); client.on('log', () => seen.push('late')) })
  const off = client.on('log', () => seen.push('removed'))
  await world.last.send(event('1', 1))
  assert.deepEqual(seen, [])
}))

test('what a handler throws is its own affair', inWorld(async (world) => {
  const thrown = []
  mock.method(globalThis, 'queueMicrotask', (work) => { try { work() } catch (error) { thrown.push(error.message) } })
  const client = await world.opened()
  const seen = []
  client.on('log', () => { throw new Error('mine') })
  client.on('log', ({ id }) => seen.push(id))
  await world.last.send(event('1', 1) + event('2', 2))
  const { handlerErrors, handlerTime } = client.metrics()
  assert.deepEqual([seen, thrown, handlerErrors, client.status.state, handlerTime >= 0], [['1', '2'], ['mine', 'mine'], 2, 'open', true])
}))

test('a throttled handler gets the first of a burst at once and the last at its end', inWorld(async (world) => {
  const client = await world.opened()
  const seen = []
  const off = client.on('log', ({ data }) => seen.push(data), { throttle: 100 })
  await world.last.send(event('1', 1) + event('2', 2) + event('3', 3))
  assert.deepEqual(seen, [1])
  await world.pass(100)
  assert.deepEqual(seen, [1, 3])
  await world.last.send(event('4', 4))
  assert.deepEqual(seen, [1, 3])
  await world.pass(300)
  await world.last.send(event('5', 5) + event('6', 6))
  assert.deepEqual(seen, [1, 3, 4, 5])
  off()
  await world.pass(300)
  assert.deepEqual(seen, [1, 3, 4, 5])
}))

test('a throttled handler is not called after close, and works again after connect', inWorld(async (world) => {
  const client = await world.opened()
  const seen = []
  client.on('log', ({ data }) => seen.push(data), { throttle: 100 })
  await world.last.send(event('1', 1) + event('2', 2))
  client.close()
  await world.pass(300)
  assert.deepEqual(seen, [1])
  client.connect()
  await settle()
  await world.last.open(event('3', 3))
  assert.deepEqual(seen, [1, 3])
}))

test('a close within a handler is the end of it', inWorld(async (world) => {
  const client = await world.opened()
  const seen = []
  client.on('log', ({ id }) => { seen.push(id); client.close() })
  client.on('log', () => seen.push('second'))
  client.on('*', () => seen.push('any'))
  await world.last.send(event('1', 1) + event('2', 2))
  assert.deepEqual([seen, client.lastEventId, world.last.isAborted], [['1'], '1', true])
  assert.deepEqual(world.statuses.at(-1).state, 'closed')
}))

for (const at of ['connecting', 'open', 'waiting', 'polling', 'suspended', 'offline', 'failed', 'idle']) {
  test(`a close on becoming ${at} is the last thing that is told, and nothing happens after it`, inWorld(async (world) => {
    const client = createClient({ fetch: world.fetch, retry: { breaker: 5 }, url: '/e' })
    const told = []
    client.onStatus(({ state }) => state === at && client.close())
    client.onStatus(({ state }) => told.push(state))
    client.on('*', () => told.push('event'))
    client.connect()
    await settle()
    world.clients.push(client)
    if (at === 'open') await world.last.open(event('1', 1))
    if (at === 'failed') await world.last.answer(403)
    if (at === 'offline') await world.tell('offline')
    if (at === 'idle') await world.tell('pagehide')
    if (['waiting', 'polling', 'suspended'].includes(at)) {
      for (let i = 0; i < 8 && client.status.state !== 'closed'; i += 1) {
        await world.last.lose()
        if (client.status.state !== 'closed') await world.pass(30_000)
      }
    }
    assert.equal(told.at(-1), 'closed')
    assert.ok(!told.includes(at), 'who is told second is not told what is over')
    const [asked, heard] = [world.asked.length, told.length]
    await world.pass(1e6)
    await world.tell('online')
    assert.deepEqual([world.asked.length, told.length], [asked, heard])
    assert.ok(world.asked.every(({ isAborted, accept }) => isAborted || accept === undefined || at === 'failed' || at === 'waiting' || at === 'polling' || at === 'suspended'))
  }))
}

test('p02: a reconnect within onStatus leaves one connection', inWorld(async (world) => {
  const client = world.client()
  let times = 0
  client.onStatus(({ state }) => state === 'open' && times++ < 1 && client.reconnect())
  client.connect()
  await settle()
  const [first] = world.asked
  await first.open(event('1', 1))
  assert.deepEqual([first.isAborted, world.asked.length, world.events], [true, 2, []])
  await world.last.open(event('1', 1))
  assert.deepEqual([world.events, client.status.state], [[['1', 1]], 'open'])
}))

test('a closed client goes on from where it was', inWorld(async (world) => {
  const client = await world.opened({}, event('1', 1))
  client.close()
  client.close()
  client.connect()
  await settle()
  assert.equal(world.last.headers['last-event-id'], '1')
  assert.deepEqual(world.states, ['connecting: connect', 'open: first byte', 'closed: closed', 'connecting: connect'])
  client.close()
  client.reconnect()
  await settle()
  assert.equal(client.status.state, 'connecting')
}))

test('it begins where it is told to', inWorld(async (world) => {
  world.client({ lastEventId: '41' }).connect()
  await settle()
  assert.equal(world.last.headers['last-event-id'], '41')
}))

test('who holds on keeps it connected, and a second longer', inWorld(async (world) => {
  const client = world.client()
  const [one, two] = [client.acquire(), client.acquire()]
  await settle()
  assert.equal(world.asked.length, 1)
  await world.last.open()
  one()
  one()
  await world.pass(2000)
  assert.equal(client.status.state, 'open')
  two()
  await world.pass(500)
  const three = client.acquire()
  await world.pass(2000)
  assert.deepEqual([client.status.state, world.asked.length], ['open', 1])
  three()
  await world.pass(1000)
  assert.equal(client.status.state, 'closed')
  client.acquire()()
  client.connect()
  await world.pass(2000)
  assert.equal(client.status.state, 'connecting', 'connect is for good')
}))

test('each who lets go gives the next one a whole second', inWorld(async (world) => {
  const client = world.client()
  const one = client.acquire()
  await settle()
  await world.last.open()
  one()
  await world.pass(900)
  client.acquire()()
  await world.pass(900)
  assert.equal(client.status.state, 'open', 'the first one\'s timer is not the second one\'s')
  const two = client.acquire()
  await world.pass(5000)
  assert.equal(client.status.state, 'open')
  two()
  await world.pass(900)
  two()
  await world.pass(200)
  assert.equal(client.status.state, 'closed', 'who lets go twice lets go once')
}))

test('who holds on does not shorten a wait', inWorld(async (world) => {
  const client = world.client()
  client.acquire()
  await settle()
  await world.last.lose()
  for (let i = 0; i < 10; i += 1) client.acquire()
  client.connect()
  await settle()
  assert.deepEqual([client.status.state, world.asked.length], ['waiting', 1])
}))

test('events can be iterated over, until close, abort or a refusal', inWorld(async (world) => {
  const client = await world.opened()
  const seen = []
  const collect = async (options) => {
    for await (const { id } of client.events('log', options)) seen.push(id)
    seen.push('end')
  }
  const closed = collect()
  const controller = new AbortController()
  const aborted = collect({ signal: controller.signal })
  await world.last.send(event('1', 1) + event('2', 2))
  controller.abort()
  await aborted
  client.close()
  await closed
  assert.deepEqual(seen.sort(), ['1', '1', '2', '2', 'end', 'end'])
  client.connect()
  await settle()
  const refused = assert.rejects(collect(), { message: 'not yours', status: 403 })
  await world.last.answer(403, { detail: 'not yours' })
  await refused
  const small = client.events('log', { max: 1 })
  client.connect()
  await settle()
  const overrun = assert.rejects(small.next(), RangeError)
  await world.last.open(event('1', 1) + event('2', 2))
  await overrun
}))

test('numbers', inWorld(async (world) => {
  const client = await world.opened({}, event('1', 1) + 'event: heartbeat\ndata: 1\n\n')
  await world.pass(30_000)
  await world.last.send(event('2', 2))
  await world.pass(31_000)
  const { attempts, opened, polls, successRate, openSeconds, events, eventsPerMinute, queued } = client.metrics()
  assert.deepEqual([attempts, opened, polls, successRate, openSeconds, events, Math.round(eventsPerMinute * 100), queued], [1, 1, 0, 1, 61, 2, 96, 0])
  await world.last.lose()
  await world.pass(1)
  await world.last.lose()
  const after = client.metrics()
  assert.deepEqual([after.successRate, after.openSeconds, world.client().metrics().successRate], [0.5, 61, 1])
}))

test('what happens can be logged, and parsed otherwise', inWorld(async (world) => {
  const logged = []
  await world.opened({ debug: (what, details) => logged.push([what, details.state ?? details.data]), parse: (data) => `<${data}>` }, event('1', 1))
  assert.deepEqual(logged, [['status', 'connecting'], ['status', 'open'], ['event', '<1>']])
  const log = mock.method(console, 'debug', () => {})
  await world.opened({ debug: true })
  assert.deepEqual([log.mock.calls[0].arguments[0], world.events], ['[SSE]', [['1', '<1>']]])
}))

test('options that are undefined are not given', inWorld(async (world) => {
  const client = world.client({ url: undefined, silence: undefined, retry: { base: undefined }, poll: { after: undefined }, token: undefined })
  client.connect()
  await settle()
  assert.equal(world.last.url.pathname, '/events')
  await world.failed(3)
  assert.equal(client.status.state, 'polling')
}))
