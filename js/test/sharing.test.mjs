// One connection for all tabs: who leads, what the others hear, and how nothing is lost or doubled when the leader goes.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CONNECTED, inTabs } from './tabs.mjs'
import { event, settle } from './world.mjs'

test('p05: eight tabs have one stream, and all see all of it once', inTabs(async (world) => {
  const tabs = []
  for (let i = 0; i < 8; i += 1) tabs.push(await world.tab())
  await world.last.open(CONNECTED + event('1', 1))
  await world.last.send(event('2', 2) + 'id: 3\nevent: heartbeat\ndata: {}\n\n' + event('4', 4))
  for (const { seen, client } of tabs) assert.deepEqual([seen, client.lastEventId, client.status.state], [['connected', '1', '2', '4'], '4', 'open'])
  assert.equal(world.asked.length, 1)
  assert.deepEqual(tabs.map(({ client }) => client.isLeader), [true, false, false, false, false, false, false, false])
  assert.deepEqual([tabs[0].client.status.transport, tabs[1].client.status.transport], ['sse', 'tab'])
  assert.deepEqual(tabs[1].statuses, ['connecting', 'connecting', 'open'], 'its own, and the leader\'s, once each')
}))

test('a tab that comes late hears connected, and what comes from then on', inTabs(async (world) => {
  await world.tab()
  await world.last.open(CONNECTED + event('1', 1))
  const late = await world.tab()
  let data
  late.client.on('connected', (each) => (data = each.data))
  await world.last.send(event('2', 2))
  assert.deepEqual([late.seen, late.client.status.state, late.client.lastEventId], [['connected', '2'], 'open', '2'])
  void data
}))

test('a tab that comes in the middle of a burst hears how the connection is', inTabs(async (world) => {
  const [one] = [await world.tab()]
  await world.last.open(CONNECTED + event('1', 1))
  one.channel.isFrozen = true // it answers later
  const late = await world.tab()
  await world.lastStream.send(event('2', 2))
  await one.channel.thaw()
  assert.deepEqual([late.client.status.state, late.statuses, late.seen], ['open', ['connecting', 'open'], ['2', 'connected']])
}))

test('when the leader closes, another one goes on from its last id', inTabs(async (world) => {
  const [one, two, three] = [await world.tab(), await world.tab(), await world.tab()]
  await world.last.open(CONNECTED + event('1', 1))
  one.client.close()
  await settle()
  assert.deepEqual([one.client.isLeader, two.client.isLeader, three.client.isLeader], [false, true, false])
  assert.equal(world.last.headers['last-event-id'], '1')
  await world.last.open(CONNECTED.replace('0', '1') + event('2', 2))
  assert.deepEqual([two.seen, three.seen, one.seen], [['connected', '1', 'connected', '2'], ['connected', '1', 'connected', '2'], ['connected', '1']])
  assert.equal(world.streams().length, 1)
}))

test('a new leader that is behind the others doubles nothing for them', inTabs(async (world) => {
  const [one, two, three] = [await world.tab(), await world.tab(), await world.tab()]
  await world.last.open(CONNECTED + event('1', 1))
  two.channel.isFrozen = true
  await world.last.send(event('2', 2) + event('3', 3))
  one.client.close()
  await settle()
  assert.equal(world.last.headers['last-event-id'], '1', 'it thaws as the leader')
  await two.channel.thaw()
  await world.last.open(event('2', 2) + event('3', 3) + event('4', 4))
  assert.deepEqual([two.seen, three.seen], [['connected', '1', '2', '3', '4'], ['connected', '1', '2', '3', '4']])
}))

test('p15: a leader that gives no sign of life loses the lead, and follows when it thaws', inTabs(async (world) => {
  const [one, two, three] = [await world.tab(), await world.tab(), await world.tab()]
  await world.last.open(CONNECTED + event('1', 1))
  await world.pass(40_000)
  await world.last.send(':\n')
  one.channel.isFrozen = true
  await world.pass(9000)
  assert.deepEqual([two.client.isLeader, three.client.isLeader].filter(Boolean).length, 1)
  assert.equal(world.streams().length, 1, 'the stolen lock has ended the old stream')
  await world.lastStream.open(event('2', 2))
  await one.channel.thaw()
  await world.lastStream.send(event('3', 3))
  await settle()
  if (world.lastPoll) {
    await world.lastPoll.polled([['2', 2], ['3', 3]], '3')
    await world.lastPoll.polled([], '3')
  }
  for (const { seen } of [one, two, three]) assert.deepEqual(seen, ['connected', '1', '2', '3'])
  assert.equal(one.client.isLeader, false)
}))

test('a leader that answers keeps the lead', inTabs(async (world) => {
  const [one] = [await world.tab(), await world.tab()]
  await world.last.open(CONNECTED)
  for (let i = 0; i < 10; i += 1) {
    await world.pass(30_000)
    await world.lastStream.send(':\n')
  }
  assert.deepEqual([one.client.isLeader, world.asked.length], [true, 1])
}))

test('a tab that is shown looks at once whether there is a leader', inTabs(async (world) => {
  const [one, two] = [await world.tab(), await world.tab()]
  await world.last.open(CONNECTED)
  one.channel.isDeaf = true
  world.document.hidden = true
  await world.pass(600_000)
  assert.equal(two.client.isLeader, false, 'nobody looks')
  world.document.hidden = false
  two.client.on('*', () => {})
  await world.tell('visibilitychange', {}, world.document)
  await world.pass(3100)
  assert.equal(two.client.isLeader, true)
}))

test('tabs of two people, or of two streams, share nothing', inTabs(async (world) => {
  const jwt = (sub) => `x.${btoa(JSON.stringify({ sub }))}.y`
  for (const options of [{ token: () => jwt('ada') }, { token: () => jwt('bob') }, { token: () => jwt('ada') }, { channels: ['b'] }, { principal: 'ada', channels: ['c'] }]) await world.tab(options)
  assert.equal(world.streams().length, 4)
  assert.ok(!BroadcastChannel.all.some(({ name }) => name.includes('x.')), 'no token is part of a name')
}))

test('an opaque token without a principal, a page without locks and a page without channels have a stream of their own', inTabs(async (world) => {
  await world.tab({ token: () => 'opaque' })
  await world.tab({ token: () => 'opaque' })
  assert.equal(world.streams().length, 2)
  world.locks.refuses = true
  const tab = await world.tab({ principal: 'x' })
  assert.deepEqual([world.streams().length, tab.client.isLeader], [3, true])
  world.put('BroadcastChannel', class { constructor() { throw new DOMException('no', 'SecurityError') } })
  await world.tab({ principal: 'y' })
  assert.equal(world.streams().length, 4)
  delete world.navigator.locks
  await world.tab({ principal: 'z' })
  assert.equal(world.streams().length, 5)
}))

test('a token function that fails is asked again before anything is shared', inTabs(async (world) => {
  let isReady = false
  const { client, statuses } = await world.tab({ token: () => { if (!isReady) throw new Error('no session'); return '' } })
  assert.deepEqual([statuses, world.asked.length], [['connecting'], 0])
  isReady = true
  await world.pass(1000)
  assert.equal(world.asked.length, 1)
  assert.equal(client.isLeader, true)
}))

test('followers reconnect, go offline and renew tokens through their leader', inTabs(async (world) => {
  const [one, two] = [await world.tab({ token: ({ reason }) => (reason === 'expiring' ? 'new' : ''), principal: 'p' }), await world.tab({ principal: 'p' })]
  await world.last.open(CONNECTED)
  two.client.reconnect()
  await settle()
  assert.deepEqual([world.asked.length, one.client.status.reason, two.client.status.reason], [2, 'reconnect', 'reconnect'])
  await world.last.open()
  await world.pass(5000)
  await world.last.send('event: token_expiring\ndata: {}\n\n')
  assert.equal(world.streams().length, 1)
  assert.equal(one.client.status.reason, 'token expiring')
  await world.last.open()
  world.navigator.onLine = false
  await world.tell('offline')
  assert.deepEqual([one.client.status.state, two.client.status.state, world.streams().length], ['offline', 'offline', 0])
  world.navigator.onLine = true
  await world.tell('online')
  assert.equal(world.streams().length, 1)
}))

test('what the leader was refused for, followers are told', inTabs(async (world) => {
  const [, two] = [await world.tab(), await world.tab()]
  await world.last.answer(403, { detail: 'not yours' })
  assert.deepEqual([two.client.status.state, two.client.status.error], ['failed', { message: 'not yours', status: 403 }])
  two.client.connect()
  await settle()
  assert.equal(world.streams().length, 1)
}))

test('a follower minds the time of the next try where the leader\'s timers are late', inTabs(async (world, { mock }) => {
  const [, two] = [await world.tab(), await world.tab()]
  await world.last.open(CONNECTED)
  const { setTimeout: real } = globalThis
  const slowed = mock.method(globalThis, 'setTimeout', (work, delay) => real(work, delay + 60_000))
  const lost = world.last.lose()
  slowed.mock.restore()
  await lost
  assert.equal(two.client.status.state, 'waiting')
  await world.pass(1000)
  assert.equal(world.asked.length, 2)
}))

test('a page that is kept gives the lead away, and comes back as a follower', inTabs(async (world) => {
  const one = await world.tab()
  await world.last.open(CONNECTED + event('1', 1))
  await world.tell('pagehide')
  assert.deepEqual([one.client.status.state, one.client.isLeader, world.streams().length], ['idle', false, 0])
  const two = await world.tab({ lastEventId: '1' })
  await world.last.open(event('2', 2))
  await world.tell('pageshow', { persisted: true })
  assert.equal(world.streams().length, 1)
  await world.lastPoll.polled([['2', 2]], '2')
  await world.lastPoll.polled([], '2')
  assert.deepEqual([one.seen, two.client.isLeader], [['connected', '1', 'connected', '2'], true])
}))

test('a leader that polls tells what it gets', inTabs(async (world) => {
  const tabs = [await world.tab(), await world.tab()]
  await world.last.open(CONNECTED + event('1', 1))
  await world.failed(3)
  const told = () => [tabs[1].client.status.state, tabs[1].client.status.transport]
  assert.deepEqual(told(), ['polling', null])
  await world.lastPoll.polled([['2', 2]], '3')
  assert.deepEqual(told(), ['polling', 'tab'])
  await world.lastPoll.polled([['4', 4]], '4', { reason: 'overflow', cursor: '4' })
  for (const { seen } of tabs) assert.deepEqual(seen, ['connected', '1', '2', 'reset', '4'])
  tabs[0].client.close()
  await settle()
  assert.equal(world.last.headers['last-event-id'], '4')
}))
