// Publishing: in order, each event once, whatever is lost on the way.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inWorld, settle } from './world.mjs'

test('an event is published where the stream is, with a key of its own', inWorld(async (world) => {
  const client = world.client({ url: '/hub/events?x=1', token: () => 'T', headers: { 'X-Mine': '1' } })
  const id = client.publish('room:1', 'said', { text: 'hi' }, { permissions: ['p'] })
  await settle()
  const { url, init, headers } = world.last
  assert.deepEqual([url.pathname + url.search, init.method, JSON.parse(init.body)], ['/hub/events', 'POST', { channel: 'room:1', type: 'said', data: { text: 'hi' }, permissions: ['p'] }])
  assert.deepEqual([headers['content-type'], headers.authorization, headers['x-mine']], ['application/json', 'Bearer T', '1'])
  assert.match(headers['idempotency-key'], /^\d+-\d+-\d+-\d+$/, 'also where crypto.randomUUID is missing')
  await world.last.answer(201, { ids: ['e-7'] })
  assert.equal(await id, 'e-7')
}))

test('events go one after the other, and again under the same key when the answer was lost', inWorld(async (world) => {
  const client = world.client()
  const ids = Promise.all([client.publish('a', 'x', 1, { idempotencyKey: 'K1' }), client.publish('a', 'x', 2), client.publish('a', 'x')])
  await settle()
  assert.deepEqual([world.asked.length, client.metrics().queued], [1, 3])
  await world.last.lose()
  await world.pass(500)
  assert.deepEqual(world.asked.map(({ headers }) => headers['idempotency-key']), ['K1', 'K1'])
  await world.last.answer(503, null, { 'retry-after': '5' })
  await world.pass(4900)
  assert.equal(world.asked.length, 2)
  await world.pass(1200)
  await world.last.answer(201, { ids: ['1'] })
  await world.last.answer(201, { ids: ['2'] })
  assert.equal(JSON.parse(world.last.init.body).data, null)
  await world.last.answer(201, { ids: ['3'] })
  assert.deepEqual([await ids, client.metrics().queued], [['1', '2', '3'], 0])
}))

test('what waits is sent as soon as the stream is open', inWorld(async (world) => {
  const client = world.client()
  const id = client.publish('a', 'x')
  await settle()
  for (let i = 0; i < 5; i += 1) {
    await world.last.lose()
    await world.pass(9000)
  }
  client.connect()
  await settle()
  const before = world.asked.length
  await world.lastStream.open()
  if (world.asked.length === before) assert.ok(world.last.init.method === 'POST' || world.asked.some(({ init, isAborted }) => init.method === 'POST' && !isAborted))
  await world.asked.findLast(({ init }) => init.method === 'POST').answer(201, { ids: ['1'] })
  assert.equal(await id, '1')
}))

test('a refused event is given back, and the next one is sent', inWorld(async (world) => {
  const client = world.client()
  const [one, two] = [client.publish('a', 'connected'), client.publish('a', 'x')]
  await settle()
  const refused = assert.rejects(one, { status: 400, message: 'a reserved type' })
  await world.last.answer(400, { detail: 'a reserved type' })
  await refused
  await world.last.answer(201, { ids: ['1'] })
  assert.equal(await two, '1')
}))

test('a refused token is renewed once for each event', inWorld(async (world) => {
  const client = world.client({ token: ({ reason }) => reason })
  for (const last of [201, 401]) {
    const id = client.publish('a', 'x')
    await settle()
    assert.equal(world.last.headers.authorization, 'Bearer connect')
    await world.last.answer(401)
    assert.equal(world.last.headers.authorization, 'Bearer unauthorized')
    const outcome = last === 201 ? id : assert.rejects(id, { status: 401 })
    await world.last.answer(last, { ids: ['1'] })
    await outcome
  }
}))

test('no more wait than may, and a hub that hangs is one that failed', inWorld(async (world) => {
  const client = world.client({ maxQueue: 1 })
  const one = client.publish('a', 'x')
  await assert.rejects(client.publish('a', 'x'), RangeError)
  await settle()
  await world.pass(11_000)
  assert.ok(world.asked[0].isAborted)
  assert.equal(world.asked.length, 2)
  await world.last.answer(201, { ids: ['1'] })
  assert.equal(await one, '1')
}))

test('a close gives back what waits, and what comes after it is sent', inWorld(async (world) => {
  const client = world.client()
  const [one, two] = [client.publish('a', 'x', 1), client.publish('a', 'x', 2)]
  await settle()
  const given = Promise.all([assert.rejects(one, { name: 'AbortError' }), assert.rejects(two, { name: 'AbortError' })])
  client.close()
  await given
  assert.ok(world.last.isAborted)
  const three = client.publish('a', 'x', 3)
  await settle()
  await world.pass(10)
  assert.equal(JSON.parse(world.last.init.body).data, 3)
  await world.last.answer(201, { ids: ['3'] })
  assert.equal(await three, '3')
}))
