// The fallback: when it takes over, what it asks for, and how streaming comes back without a gap or a double.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { event, inWorld, settle } from './world.mjs'

/** A client that polls. */
const polling = async (world, options, first = event('1', 'one')) => {
  const client = await world.opened(options, first)
  await world.failed(3)
  assert.equal(client.status.state, 'polling')
  return client
}

test('after three failures it polls at once, from the last id', inWorld(async (world) => {
  const client = await polling(world)
  assert.deepEqual([client.status.transport, client.status.error.message], [null, 'fetch failed'])
  const { url, headers } = world.last
  assert.deepEqual([headers['last-event-id'], url.search], ['1', '?channel=a&wait=25'])
  await world.last.polled([['2', 'two'], ['3', 42, { text: true, data: '42' }]], '9')
  assert.deepEqual(world.events, [['1', 'one'], ['2', 'two'], ['3', 42]])
  assert.equal(world.last.headers['last-event-id'], '9', 'hidden events are not asked for again')
  assert.equal(client.lastEventId, '9')
}))

test('it counts as connected only while its polls are answered', inWorld(async (world) => {
  const client = await polling(world)
  const { length } = world.statuses
  await world.lastPoll.lose()
  await world.pass(500)
  assert.deepEqual([client.status.transport, world.statuses.length], [null, length])
  await world.lastPoll.polled([['2', 2]], '2')
  await world.lastPoll.polled([['3', 3]], '3')
  await world.lastPoll.answer(503)
  await world.pass(500)
  await world.lastPoll.polled([], '3')
  const told = world.statuses.slice(length - 1).map(({ state, reason, transport, attempt, error }) => [state, reason, transport, attempt, error.message])
  assert.deepEqual(told, [
    ['polling', 'network', null, 3, 'fetch failed'],
    ['polling', 'network', 'poll', 3, 'fetch failed'],
    ['polling', 'network', null, 4, 'fetch failed'],
    ['polling', 'network', 'poll', 3, 'fetch failed'],
  ])
}))

test('who closes as soon as polls are answered is told nothing of them', inWorld(async (world) => {
  const client = await polling(world)
  client.onStatus(({ transport }) => transport && client.close())
  await world.lastPoll.polled([['2', 2]], '2')
  assert.deepEqual([client.status.state, world.events, client.lastEventId], ['closed', [['1', 'one']], '1'])
}))

test('without an id the first poll only finds out where the log is', inWorld(async (world) => {
  const client = world.client()
  const heard = []
  client.on('connected', ({ data }) => heard.push(data))
  client.connect()
  await settle()
  await world.failed(3)
  assert.equal(world.last.url.searchParams.get('wait'), '0')
  await world.last.polled([], '5')
  assert.deepEqual(heard, [{ cursor: '5' }])
  assert.deepEqual([world.last.url.searchParams.get('wait'), world.last.headers['last-event-id']], ['25', '5'])
}))

test('a reset comes before the events that follow it', inWorld(async (world) => {
  const client = await polling(world)
  client.onReset((data) => world.events.push(['reset', data.reason]))
  await world.last.polled([['8', 'eight']], '8', { reason: 'expired', cursor: '8' })
  assert.deepEqual(world.events.slice(1), [['reset', 'expired'], ['8', 'eight']])
}))

test('a hub that does not hold polls is not asked without a pause', inWorld(async (world) => {
  await polling(world)
  const before = world.asked.length
  await world.last.polled([], '1')
  assert.equal(world.asked.length, before)
  await world.pass(1000)
  assert.equal(world.asked.length, before + 1)
  await world.pass(25_000)
  await world.lastPoll.polled([], '1')
  assert.equal(world.lastPoll.headers['last-event-id'], '1')
}))

test('a stream that opens while polls rest takes over, and the poll counts no more', inWorld(async (world) => {
  const client = await polling(world)
  const poll = world.last
  await world.pass(30_000)
  const probe = world.last
  assert.deepEqual([probe.accept, probe.headers['last-event-id'], client.status.state], ['text/event-stream', '1', 'polling'])
  await probe.open('id: 1\nevent: connected\ndata: {}\n\n')
  assert.deepEqual([client.status.state, poll.isAborted], ['open', true])
  await probe.send(event('2', 'two'))
  assert.deepEqual(world.events, [['1', 'one'], ['2', 'two']])
}))

test('p06: a stream that opens after polls have moved on is opened anew, from there', inWorld(async (world) => {
  const client = await polling(world)
  await world.pass(30_000)
  const probe = world.last
  await world.lastPoll.polled([['2', 'two']], '2')
  await probe.open(event('2', 'two'))
  assert.ok(probe.isAborted)
  assert.deepEqual([client.status.state, world.last.accept, world.last.headers['last-event-id']], ['connecting', 'text/event-stream', '2'])
  await world.last.open(event('3', 'three'))
  assert.deepEqual(world.events, [['1', 'one'], ['2', 'two'], ['3', 'three']])
  assert.equal(client.status.state, 'open')
  assert.ok(world.asked.every(({ isAborted, accept }) => isAborted || accept !== 'application/json'), 'polls and streams do not run side by side')
}))

test('a probe that fails is repeated, and what has opened and failed again is polled for at once', inWorld(async (world) => {
  const client = await polling(world)
  for (let i = 0; i < 3; i += 1) {
    const { lastStream } = world
    for (let s = 0; world.lastStream === lastStream; s += 1) await world.pass(1000)
    await world.lastStream.lose()
    assert.equal(client.status.state, 'polling')
  }
  const { lastStream } = world
  for (; world.lastStream === lastStream; ) await world.pass(1000)
  await world.lastStream.open()
  await world.lastStream.lose()
  assert.deepEqual(world.states.slice(-2), ['open: first byte', 'polling: network'])
}))

test('polls that fail are tried ever later, then rarely, and come back', inWorld(async (world) => {
  const client = await polling(world)
  for (const delay of [500, 1000, 2000, 4000]) {
    const before = world.asked.length
    await world.lastPoll.lose()
    await world.pass(delay - 100)
    assert.equal(world.asked.length, before)
    await world.pass(100)
    assert.equal(world.asked.length, before + 1)
  }
  await world.lastPoll.lose()
  assert.equal(client.status.state, 'suspended')
  await world.pass(30_000)
  assert.equal(client.status.state, 'connecting', 'half open: one stream, then one poll')
  await world.last.lose()
  assert.equal(client.status.state, 'polling')
  await world.last.polled([['2', 'two']], '2')
  assert.equal(client.status.state, 'polling')
  await world.last.answer(429, null, { 'retry-after': '20' })
  const before = world.asked.filter(({ accept }) => accept === 'application/json').length
  await world.pass(19_000)
  assert.equal(world.asked.filter(({ accept }) => accept === 'application/json').length, before)
}))

test('a poll that hangs is a failure after its time', inWorld(async (world) => {
  await polling(world, { probeEvery: 1e6 })
  const poll = world.last
  await world.pass(37_000)
  assert.ok(poll.isAborted)
  assert.notEqual(world.last, poll)
}))

test('an answer that is no JSON is a failure', inWorld(async (world) => {
  await polling(world)
  await world.last.raw(new Response('<html>'))
  const before = world.asked.length
  await world.pass(500)
  assert.equal(world.asked.length, before + 1)
}))

test('a refused poll asks for a new token once, and then fails', inWorld(async (world) => {
  const reasons = []
  const client = await polling(world, { token: ({ reason }) => (reasons.push(reason), reason) })
  await world.last.answer(401)
  assert.equal(reasons.at(-1), 'unauthorized')
  await world.last.polled([], '1')
  await world.pass(1000)
  assert.equal(reasons.at(-1), 'connect')
  await world.lastPoll.answer(403)
  assert.deepEqual([client.status.state, client.status.error.status], ['failed', 403])
  await world.pass(1e6)
  assert.equal(client.status.state, 'failed')
}))

test('p19: a fetch that cannot stream polls after the first try', inWorld(async (world) => {
  const client = world.client()
  client.connect()
  await settle()
  await world.last.raw({ status: 200, headers: new Headers({ 'content-type': 'text/event-stream' }), body: undefined })
  assert.equal(client.status.state, 'polling')
}))

test('without polls failures lead to a pause only', inWorld(async (world) => {
  await world.opened({ poll: false })
  await world.failed(7)
  assert.ok(world.asked.every(({ accept }) => accept === 'text/event-stream'))
  assert.ok(!world.states.some((state) => state.startsWith('polling')))
}))

test('when to poll, and for how long, may be said', inWorld(async (world) => {
  await world.opened({ poll: { after: 1, wait: 5 } }, event('1', 1))
  await world.failed(1)
  assert.equal(world.last.url.searchParams.get('wait'), '5')
}))

test('a close among the events of a poll leaves the rest for later', inWorld(async (world) => {
  const client = await polling(world)
  client.on('log', ({ id }) => id === '2' && client.close())
  await world.last.polled([['2', 'two'], ['3', 'three']], '3')
  assert.deepEqual([client.lastEventId, client.status.state], ['2', 'closed'])
  await world.pass(1e6)
  assert.equal(world.last.accept, 'application/json')
  client.connect()
  await settle()
  assert.equal(world.last.headers['last-event-id'], '2')
}))
