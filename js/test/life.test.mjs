// One connection's life: when it is tried, when it counts as open, how it ends, and when it is tried again.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Decoder, STATES, createClient, delayOf } from '../headwater.js'
import { event, inWorld, settle } from './world.mjs'

test('nothing happens before connect', inWorld(async (world) => {
  let isAsked = false
  const client = world.client({ token: () => (isAsked = true), url: () => (isAsked = true) })
  client.on('log', () => {})
  await world.pass(100_000)
  await world.tell('online')
  assert.deepEqual([world.asked, world.states, isAsked, client.status.state], [[], [], false, 'idle'])
}))

test('p07: it is open with the first byte, not with the head', inWorld(async (world) => {
  const client = world.client({ url: '/x?y=1', channels: ['a', 'b'], headers: { 'X-Mine': '1' } })
  client.connect()
  client.connect()
  await settle()
  const { url, init, headers } = world.last
  assert.equal(url.href, 'http://hub/x?y=1&channel=a&channel=b')
  assert.deepEqual([init.cache, init.credentials, headers], ['no-store', undefined, { accept: 'text/event-stream', 'x-mine': '1' }])
  await world.last.open('')
  assert.equal(client.status.state, 'connecting')
  await world.last.send(':\n')
  assert.deepEqual(world.states, ['connecting: connect', 'open: first byte'])
  assert.equal(client.status.transport, 'sse')
  assert.equal(world.asked.length, 1)
}))

test('a stable stream is followed by the next at once, from its last id', inWorld(async (world) => {
  const client = await world.opened({}, event('7', 'seven'))
  await world.pass(6000)
  await world.last.send(event('8', 'eight') + 'id: 9\ndata: cut')
  await world.last.end()
  await world.pass(1)
  assert.equal(world.asked.length, 2)
  assert.equal(world.last.headers['last-event-id'], '8')
  assert.deepEqual(world.events, [['7', 'seven'], ['8', 'eight']])
  assert.equal(client.lastEventId, '8')
}))

test('p03: failures are waited for longer and longer, and a part of it by chance', inWorld(async (world) => {
  const client = world.client({ poll: false })
  client.connect()
  for (const delay of [500, 1000, 2000, 4000, 8000, 15000, 15000]) {
    await settle()
    await world.last.lose()
    assert.deepEqual([client.status.state, client.status.retryAt - Date.now()], ['waiting', delay])
    assert.equal(client.status.error.message, 'fetch failed')
    await world.pass(delay)
  }
}))

test('after eight failures tries are rare, until one succeeds and lasts', inWorld(async (world) => {
  const client = world.client({ poll: false })
  client.connect()
  await settle()
  await world.failed(8)
  assert.equal(client.status.state, 'suspended')
  assert.equal(client.status.retryAt - Date.now(), 30_000)
  await world.pass(30_000)
  await world.last.open()
  await world.last.end()
  assert.deepEqual([client.status.state, client.status.attempt], ['suspended', 9], 'a stream that does not last heals nothing')
  await world.pass(30_000)
  await world.last.open()
  await world.pass(6000)
  await world.last.send(':\n')
  await world.last.end()
  assert.deepEqual([client.status.state, client.status.attempt], ['waiting', 0])
}))

test('the stream says how long to wait at first', inWorld(async (world) => {
  const client = await world.opened({}, 'retry: 4000\n\n')
  await world.last.end()
  assert.equal(client.status.retryAt - Date.now(), 2000)
}))

test('a closing stream says when its own turn is; one that always closes is a failure', inWorld(async (world) => {
  const client = await world.opened({}, 'retry: 2000\n\n')
  await world.pass(6000)
  await world.last.send('event: closing\nretry: 3210\ndata: {"reason":"drain"}\n\n')
  await world.last.end()
  assert.deepEqual([client.status.reason, client.status.retryAt - Date.now()], ['closing', 3210])
  await world.pass(3210)
  await world.last.open('retry: 2000\n\nevent: closing\nretry: 0\ndata: {"reason":"drain"}\n\n')
  await world.last.end()
  assert.equal(client.status.retryAt - Date.now(), 0)
  await world.pass(1)
  await world.last.open('event: closing\ndata: {"reason":"admin"}\n\n')
  await world.last.end()
  assert.equal(client.status.retryAt - Date.now(), 2000, 'half of twice the base that the stream set, not what the closing set')
}))

test('p03: delays are what the server asks for, and more where many were asked the same', inWorld((world) => {
  const delay = (random, more) => {
    world.random = random
    return delayOf({ failures: 1, base: 1000, max: 30_000, ...more })
  }
  assert.equal(delay(1, { failures: 0 }), 0)
  assert.equal(delay(0, { retryAfter: 60_000 }), 60_000)
  assert.equal(delay(1, { retryAfter: 60_000 }), 75_000)
  assert.equal(delay(1, { told: 5 }), 5)
  assert.equal(delay(1, { failures: 3, told: 5 }), 4000)
  assert.equal(delay(1, { failures: 2000 }), 30_000)
  assert.equal(delay(1, { base: 60_000 }), 60_000, 'a longer retry: is honoured')
  assert.equal(delay(1, { retryAfter: 1e12 }), 3_600_000, 'nobody is sent away for good')
}))

for (const [header, delay] of [['7', 7000], ['Thu, 01 Jan 1970 00:16:50 GMT', 10_000], ['Thu, 01 Jan 1970 00:00:01 GMT', 0], ['soon', 0], ['-5', 0]]) {
  test(`Retry-After: ${header}`, inWorld(async (world) => {
    const client = world.client()
    client.connect()
    await settle()
    world.random = 0
    await world.last.answer(503, { title: 'Full', detail: 'the hub is full' }, { 'retry-after': header })
    assert.deepEqual([client.status.state, client.status.retryAt - Date.now()], ['waiting', delay])
    assert.deepEqual([client.status.error.status, client.status.error.message, client.status.error.problem.title], [503, 'the hub is full', 'Full'])
    await world.show(false)
    assert.equal(world.asked.length, delay ? 1 : 2, 'who was sent away does not come back for a glance')
  }))
}

for (const [name, options] of [
  ['a token function', { token: () => new Promise(() => {}) }],
  ['an URL function', { url: () => new Promise(() => {}) }],
  ['a fetch that ignores its signal', { fetch: () => new Promise(() => {}) }],
  ['a hub', {}],
]) {
  test(`${name} that hangs is a timeout`, inWorld(async (world) => {
    const client = world.client(options)
    client.connect()
    await world.pass(9900)
    assert.equal(client.status.state, 'connecting')
    await world.pass(200)
    assert.deepEqual([client.status.state, client.status.reason], ['waiting', 'timeout'])
  }))
}

test('a proxy that lets only the head through is a timeout, and three of them are polled around', inWorld(async (world) => {
  const client = world.client()
  client.connect()
  for (let i = 0; i < 3; i += 1) {
    await settle()
    await world.last.open('')
    await world.pass(10_000)
    if (i < 2) await world.pass(client.status.retryAt - Date.now())
  }
  assert.deepEqual([client.status.state, client.status.reason], ['polling', 'timeout'])
  assert.equal(world.last.accept, 'application/json')
}))

test('a stream that falls silent is dead, and that is a failure however long it was open', inWorld(async (world) => {
  const client = await world.opened({ poll: false })
  const [{ init }] = world.asked
  await world.pass(30_000)
  assert.equal(client.status.state, 'open')
  await world.pass(15_100)
  assert.deepEqual([client.status.state, client.status.reason, client.status.attempt], ['waiting', 'silence', 1])
  assert.ok(init.signal.aborted)
}))

test('any byte is a sign of life, and silence may be allowed', inWorld(async (world) => {
  const client = await world.opened()
  for (let i = 0; i < 5; i += 1) {
    await world.pass(40_000)
    await world.last.send(':\n')
  }
  assert.equal(client.status.state, 'open')
  const quiet = await world.opened({ silence: 0 })
  await world.pass(1_000_000)
  assert.equal(quiet.status.state, 'open')
}))

for (const frozen of [400_000, 46_000]) test(`time for which the page was frozen is not silence: ${frozen} ms`, inWorld(async (world, { mock }) => {
  const client = await world.opened()
  const now = Date.now()
  const { Date: Real } = globalThis
  mock.method(Real, 'now', () => now + frozen) // the clock went on, the timers did not
  await world.pass(45_000)
  assert.equal(client.status.state, 'open', 'it looks a second time')
  await world.last.send(event('1', 'buffered'))
  await world.pass(2100)
  assert.equal(client.status.state, 'open')
}))

for (const status of [400, 403, 404, 406, 410, 205, 210, 299, 304]) {
  test(`${status} is final`, inWorld(async (world) => {
    const client = world.client()
    client.connect()
    await settle()
    await world.last.raw({ status, statusText: '', headers: new Headers(), json: () => Promise.reject(new Error()) })
    assert.deepEqual([client.status.state, client.status.reason, client.status.error.status], ['failed', 'status', status])
    await world.tell('online')
    await world.show(false)
    await world.pass(1_000_000)
    assert.equal(world.asked.length, 1)
    client.connect()
    await settle()
    assert.equal(world.asked.length, 2, 'unless somebody asks for it')
  }))
}

test('204 means that there is no more', inWorld(async (world) => {
  const client = world.client()
  client.connect()
  await settle()
  await world.last.answer(204)
  assert.deepEqual([client.status.state, client.status.reason], ['closed', 'no content'])
  await world.tell('online')
  await world.pass(100_000)
  assert.equal(world.asked.length, 1)
}))

test('an answer that is no event stream is final', inWorld(async (world) => {
  const client = world.client()
  client.connect()
  await settle()
  await world.last.open('<html>', { type: 'text/html' })
  assert.deepEqual([client.status.state, client.status.error.message], ['failed', 'text/html is no event stream'])
}))

test('p25: an event that is too long is a failure with a reason', inWorld(async (world) => {
  const client = await world.opened({}, `data: ${'x'.repeat(1 << 20)}`)
  assert.match(client.status.error.message, /over 1048576 characters/)
}))

test('p25: a long event in many pieces is put together, and looked through once', () => {
  const decoder = new Decoder()
  const piece = new TextEncoder().encode('x'.repeat(16))
  decoder.feed(new TextEncoder().encode('data:'))
  const begun = performance.now()
  for (let i = 0; i < 65_000; i += 1) decoder.feed(piece)
  assert.ok(performance.now() - begun < 3000)
  assert.equal(decoder.feed(new TextEncoder().encode('\n\n'))[0].data.length, 65_000 * 16)
})

test('an id that is no ASCII is sent back as the bytes it came in; an empty one is not sent', inWorld(async (world) => {
  const client = await world.opened({}, 'id: …\ndata: 1\n\n')
  await world.last.end()
  await world.pass(1000)
  assert.equal(world.last.headers['last-event-id'], String.fromCharCode(...new TextEncoder().encode('…')))
  await world.last.open('id\ndata: 2\n\n')
  await world.last.end()
  await world.pass(2000)
  assert.deepEqual([client.lastEventId, 'last-event-id' in world.last.headers], ['', false])
}))

test('every state of the table is one, and leads only to such', () => {
  for (const next of Object.values(STATES).flat()) assert.ok(STATES[next], next)
})

test('a program is not kept alive, and an address outside a page must be whole', inWorld(async (world) => {
  delete globalThis.location
  const client = createClient({ url: '/events', fetch: world.fetch })
  client.connect()
  await settle()
  assert.equal(client.status.error.code, 'ERR_INVALID_URL')
  client.close()
}))
