// What browsers say about network and page, and tokens.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { event, inWorld, settle } from './world.mjs'

test('offline ends the stream, online begins the next at once', inWorld(async (world) => {
  const client = await world.opened({}, event('1', 1))
  world.navigator.onLine = false
  await world.tell('offline')
  assert.deepEqual([client.status.state, world.last.isAborted], ['offline', true])
  world.navigator.onLine = true
  await world.tell('online')
  assert.deepEqual(world.states.slice(-1), ['connecting: online'])
  assert.equal(world.last.headers['last-event-id'], '1')
}))

test('a browser that is wrong about the network is doubted now and then', inWorld(async (world) => {
  world.navigator.onLine = false
  const client = world.client()
  client.connect()
  assert.deepEqual([client.status.state, world.asked.length], ['offline', 0])
  await world.pass(30_000)
  await world.last.open()
  assert.equal(client.status.state, 'open')
  await world.last.lose()
  await world.pass(1000)
  assert.equal(client.status.state, 'offline')
}))

test('p01: a hidden page keeps its stream; a page that is shown again looks whether it is alive', inWorld(async (world) => {
  const client = await world.opened()
  await world.show(true)
  await world.pass(40_000)
  assert.equal(client.status.state, 'open')
  await world.show(false)
  await world.pass(2100)
  assert.equal(client.status.state, 'open')
  await world.pass(3000)
  assert.equal(world.statuses[2].reason, 'silence')
}))

for (const [name, wake] of [['a page that is shown', (world) => world.show(false)], ['a network that is back', (world) => world.tell('online')]]) {
  test(`${name} does not wait for the next try`, inWorld(async (world) => {
    const client = world.client()
    client.connect()
    await settle()
    await world.last.lose()
    assert.deepEqual([client.status.state, world.asked.length], ['waiting', 1])
    await wake(world)
    assert.deepEqual([client.status.state, world.asked.length], ['connecting', 2])
    await wake(world)
    await world.pass(1000)
    assert.equal(world.asked.length, 2, 'and does not try twice')
  }))
}

test('p20: a page that is kept holds no connection, and goes on when it is back', inWorld(async (world) => {
  const client = await world.opened({}, event('1', 1))
  await world.tell('pagehide', { persisted: true })
  assert.deepEqual([client.status.state, client.status.reason, world.last.isAborted], ['idle', 'page hidden', true])
  await world.pass(1e6)
  assert.equal(world.asked.length, 1)
  await world.tell('pageshow', { persisted: true })
  assert.equal(world.last.headers['last-event-id'], '1')
  assert.deepEqual(world.states.slice(-1), ['connecting: page shown'])
  assert.equal(client.metrics().attempts, 1, 'what was given up is no failure')
}))

test('a closed client hears nothing of the page', inWorld(async (world) => {
  const client = await world.opened()
  client.close()
  const before = world.states.length
  await world.tell('pagehide')
  await world.tell('pageshow', { persisted: true })
  await world.tell('online')
  await world.show(false)
  assert.deepEqual([world.asked.length, world.states.length], [1, before])
}))

// -- tokens --------------------------------------------------------------------------------------------------------------

const jwt = (sub) => `x.${btoa(JSON.stringify({ sub }))}.y`

for (const [via, seen] of [
  ['header', ({ url, headers }) => [url.search, headers.authorization]],
  ['query', ({ url, headers }) => [url.searchParams.get('token'), headers.authorization]],
]) {
  test(`a token goes by ${via}`, inWorld(async (world) => {
    world.client({ via, token: async () => 'T' }).connect()
    await settle()
    assert.deepEqual(seen(world.last), via === 'header' ? ['?channel=a', 'Bearer T'] : ['T', undefined])
  }))
}

test('a ticket is bought for each request, beside the stream', inWorld(async (world) => {
  const client = world.client({ via: 'ticket', url: '/hub/events', token: () => 'T' })
  client.connect()
  await settle()
  const { url, init, headers } = world.last
  assert.deepEqual([url.href, init.method, headers.authorization], ['http://hub/hub/tickets', 'POST', 'Bearer T'])
  await world.last.answer(201, { ticket: 'once' })
  assert.deepEqual([world.last.url.search, world.last.headers.authorization], ['?channel=a&ticket=once', undefined])
  await world.last.lose()
  await world.pass(1000)
  await world.last.answer(401)
  assert.equal(client.status.state, 'connecting', 'a refused ticket is a refused token')
}))

test('cookies are sent along if they are to speak', inWorld(async (world) => {
  world.client({ via: 'cookie', url: 'http://other/events' }).connect()
  await settle()
  assert.equal(world.last.init.credentials, 'include')
}))

test('p12: a refused token is renewed once; the second refusal is final', inWorld(async (world) => {
  const reasons = []
  const client = world.client({ token: ({ reason }) => (reasons.push(reason), 'T') })
  client.connect()
  await settle()
  await world.last.answer(401)
  assert.deepEqual(world.states, ['connecting: connect', 'connecting: unauthorized'])
  await world.last.answer(401, { detail: 'expired' })
  assert.deepEqual([client.status.state, client.status.reason, client.status.error.message], ['failed', 'status', 'expired'])
  client.connect()
  await settle()
  await world.last.open()
  await world.last.end()
  await world.pass(5000)
  await world.last.answer(401)
  assert.equal(client.status.state, 'connecting', 'after a stream there is another chance')
  assert.deepEqual(reasons, ['connect', 'unauthorized', 'unauthorized', 'connect', 'unauthorized'])
}))

test('without a token a refusal is final at once', inWorld(async (world) => {
  const client = world.client()
  client.connect()
  await settle()
  await world.last.answer(401)
  assert.equal(client.status.state, 'failed')
}))

test('a token function that throws is tried again', inWorld(async (world) => {
  const client = world.client({ token: () => Promise.reject(new Error('no session')) })
  client.connect()
  await settle()
  assert.deepEqual([client.status.state, client.status.error.message, world.asked.length], ['waiting', 'no session', 0])
}))

test('before its token expires a stream goes on with a new one, from its last id', inWorld(async (world) => {
  let token = 'old'
  const reasons = []
  const client = await world.opened({ token: ({ reason }) => (reasons.push(reason), token) }, event('1', 1))
  token = 'new'
  await world.pass(5000)
  await world.last.send('event: token_expiring\ndata: {}\n\n')
  assert.deepEqual(world.states.slice(-1), ['connecting: token expiring'])
  assert.deepEqual([world.last.headers.authorization, world.last.headers['last-event-id']], ['Bearer new', '1'])
  assert.deepEqual(reasons, ['connect', 'expiring', 'connect'])
  await world.last.open('event: token_expiring\ndata: {}\n\n')
  assert.deepEqual([client.status.state, world.asked.length], ['open', 2], 'a token of a few seconds is not renewed again and again')
}))

test('a stream that ended because of its token begins with a new one', inWorld(async (world) => {
  const reasons = []
  await world.opened({ token: ({ reason }) => (reasons.push(reason), 'T') })
  await world.pass(6000)
  for (const why of ['expired', 'revoked']) {
    await world.last.send(`event: closing\ndata: {"reason":"${why}"}\n\n`)
    await world.last.end()
    await world.pass(5000)
    assert.equal(reasons.at(-1), 'unauthorized')
    await world.last.open()
  }
}))

test('p13: two warnings at once make one new stream, and a late answer none', inWorld(async (world) => {
  const answers = []
  const client = await world.opened({ token: ({ reason }) => (reason === 'expiring' ? new Promise((resolve) => answers.push(resolve)) : 'T') })
  await world.pass(5000)
  await world.last.send('event: token_expiring\ndata: {}\n\nevent: token_expiring\ndata: {}\n\n')
  answers[0]('new')
  await settle()
  assert.equal(world.asked.length, 2)
  await world.last.open()
  answers[1]('newer')
  await settle()
  assert.deepEqual([client.status.state, world.asked.length], ['open', 2])
}))

test('a renewal that fails or hangs leaves the stream alone', inWorld(async (world) => {
  let renew = () => Promise.reject(new Error('no'))
  const client = await world.opened({ token: ({ reason }) => (reason === 'expiring' ? renew() : jwt('ada')) })
  await world.pass(5000)
  await world.last.send('event: token_expiring\ndata: {}\n\n')
  renew = () => new Promise(() => {})
  await world.last.send('event: token_expiring\ndata: {}\n\n')
  assert.deepEqual([client.status.state, world.asked.length], ['open', 1])
}))

test('an address may be made anew for each try', inWorld(async (world) => {
  let n = 0
  await world.opened({ url: async () => `/events?n=${++n}` })
  await world.last.end()
  await world.pass(1000)
  assert.equal(world.last.url.search, '?n=2&channel=a')
}))
