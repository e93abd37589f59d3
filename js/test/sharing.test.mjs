// One connection for all tabs: who leads, what the others hear, and how nothing is lost or doubled when the leader goes.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Locks, channels } from './tabs.mjs'
import { event, inWorld, settle } from './world.mjs'

const inTabs = (work) =>
  inWorld(async (world, t) => {
    world.put('BroadcastChannel', channels())
    world.locks = world.navigator.locks = new Locks()
    /** A tab, with what it has seen. */
    world.tab = async (options) => {
      const client = world.client({ share: true, url: '/events', channels: ['a'], ...options })
      const seen = []
      const statuses = []
      for (const type of ['*', 'connected', 'reset']) client.on(type, ({ type: what, id }) => seen.push(what === 'log' ? id : what))
      client.onStatus(({ state }) => statuses.push(state))
      client.connect()
      await settle()
      return { client, seen, statuses, channel: BroadcastChannel.all?.at(-1) }
    }
    world.streams = () => world.asked.filter(({ accept, isAborted }) => accept === 'text/event-stream' && !isAborted)
    await work(world, t)
  })

const CONNECTED = 'id: 0\nevent: connected\ndata: {"x":1}\n\n'

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

test('a tab that comes with a place of its own gets what lies between from the hub', inTabs(async (world) => {
  await world.tab()
  await world.last.open(CONNECTED + event('5', 5))
  const late = await world.tab({ lastEventId: '3' })
  assert.deepEqual([world.lastPoll.headers['last-event-id'], world.lastPoll.url.searchParams.get('wait')], ['3', '0'])
  await world.lastStream.send(event('6', 6))
  await world.lastPoll.polled([['4', 4], ['5', 5], ['6', 6]], '7')
  await world.lastPoll.polled([], '7')
  await world.lastStream.send(event('8', 8))
  assert.deepEqual(late.seen, ['connected', '4', '5', '6', '8'])
  assert.equal(world.asked.filter(({ accept }) => accept === 'application/json').length, 1, 'no further poll once that is reached, nor for the hidden 7')
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

test('a tab that missed a note fills the gap', inTabs(async (world) => {
  const [, two] = [await world.tab(), await world.tab()]
  await world.last.open(CONNECTED + event('1', 1))
  two.channel.isDeaf = true
  await world.lastStream.send(event('2', 2))
  two.channel.isDeaf = false
  await world.lastStream.send(event('3', 3))
  assert.deepEqual(two.seen, ['connected', '1'])
  await world.lastPoll.lose()
  await world.lastStream.send(event('4', 4))
  await world.pass(1000)
  await world.lastPoll.polled([['2', 2], ['3', 3]], '3', null)
  await world.lastPoll.polled([['4', 4]], '4')
  await world.lastPoll.polled([], '4')
  assert.deepEqual(two.seen, ['connected', '1', '2', '3', '4'])
}))

/** Two tabs, of which the second one missed event 2, and then hears of 3. */
const gap = async (world, ids = ['2', '3']) => {
  const [one, two] = [await world.tab(), await world.tab()]
  await world.last.open(CONNECTED + event('1', 1))
  two.channel.isDeaf = true
  for (const id of ids.slice(0, -1)) await world.lastStream.send(event(id, +id))
  two.channel.isDeaf = false
  await world.lastStream.send(event(ids.at(-1), +ids.at(-1)))
  return [one, two]
}
const polls = ({ asked }) => asked.filter(({ accept }) => accept === 'application/json').length

test('a gap is filled with one question, however many events come meanwhile', inTabs(async (world) => {
  const [, two] = await gap(world)
  for (let n = 4; n <= 50; n += 1) {
    await world.lastStream.send(event(`${n}`, n))
    if (n < 6) continue
    const { lastPoll } = world
    if (lastPoll.isAnswered) continue
    lastPoll.isAnswered = true
    const from = +lastPoll.headers['last-event-id']
    await lastPoll.polled(Array.from({ length: n - 1 - from }, (_, i) => [`${from + 1 + i}`, from + 1 + i]), `${n - 1}`)
  }
  assert.equal(polls(world), 1)
  assert.deepEqual(two.seen, ['connected', ...Array.from({ length: 50 }, (_, i) => `${i + 1}`)])
}))

test('what came when a gap was found is told after it, also if the hub that fills it does not have that yet', inTabs(async (world) => {
  const [, two] = await gap(world)
  await world.lastStream.send(event('4', 4))
  await world.lastPoll.polled([['2', 2]], '2') // by a node that is behind the leader's
  assert.deepEqual([two.seen, polls(world)], [['connected', '1', '2', '3', '4'], 1])
  await world.lastStream.send(event('5', 5))
  assert.deepEqual([two.seen.at(-1), polls(world)], ['5', 1])
}))

test('a hub that does not have what was missed is asked again, and nothing after it is told before', inTabs(async (world) => {
  const [, two] = await gap(world, ['2', '3', '4'])
  await world.lastPoll.polled([['2', 2]], '2')
  await world.lastPoll.polled([], '2')
  assert.deepEqual([two.seen, polls(world)], [['connected', '1', '2'], 2])
  await world.pass(500)
  await world.lastPoll.polled([], '2')
  await world.pass(900)
  assert.equal(polls(world), 3, 'ever more rarely')
  await world.pass(100)
  await world.lastPoll.polled([['3', 3]], '3')
  assert.deepEqual([two.seen, polls(world)], [['connected', '1', '2', '3', '4'], 4])
}))

test('a status tells of a gap, too, and the hub is asked until it is filled', inTabs(async (world) => {
  const [one, two] = [await world.tab(), await world.tab()]
  await world.last.open(CONNECTED + event('1', 1))
  two.channel.isDeaf = true
  await world.lastStream.send(event('2', 2))
  two.channel.isDeaf = false
  one.client.reconnect()
  await settle()
  await world.lastPoll.polled([], '1')
  await world.pass(500)
  await world.lastPoll.polled([['2', 2]], '7')
  assert.deepEqual([two.seen, polls(world)], [['connected', '1', '2'], 2])
}))

test('a second gap among what was told while the first one was filled is filled, too', inTabs(async (world) => {
  const [, two] = await gap(world)
  two.channel.isDeaf = true
  await world.lastStream.send(event('4', 4))
  two.channel.isDeaf = false
  await world.lastStream.send(event('5', 5) + event('6', 6))
  await world.lastPoll.polled([['2', 2], ['3', 3]], '3')
  assert.deepEqual(two.seen, ['connected', '1', '2', '3'])
  await world.lastPoll.polled([['4', 4], ['5', 5]], '5')
  assert.deepEqual([two.seen, polls(world)], [['connected', '1', '2', '3', '4', '5', '6'], 2])
}))

test('a new log is a gap for who has not heard of it, and what an older one still had is not told', inTabs(async (world) => {
  const [one, two] = [await world.tab(), await world.tab()]
  await world.last.open('id: a-0\nevent: connected\ndata: {}\n\n' + event('a-9', 9))
  two.channel.isDeaf = true
  await world.lastStream.send('id: b-1\nevent: reset\ndata: {}\n\n')
  two.channel.isDeaf = false
  await world.lastStream.send(event('b-2', 2))
  await world.lastPoll.polled([], 'b-2', { reason: 'epoch_changed', cursor: 'b-2' })
  await world.lastStream.send(event('b-3', 3))
  assert.deepEqual([one.seen, two.seen], [['connected', 'a-9', 'reset', 'b-2', 'b-3'], ['connected', 'a-9', 'reset', 'b-3']])
}))

test('a log that has lost its end is told by all tabs from where it goes on', inTabs(async (world) => {
  const tabs = [await world.tab(), await world.tab()]
  await world.last.open(CONNECTED + event('8', 8) + 'id: 5\nevent: reset\ndata: {}\n\n' + event('6', 6) + event('7', 7))
  await world.failed(3)
  await world.lastPoll.polled([], '5', { reason: 'unknown_id', cursor: '5' })
  await world.pass(1000)
  await world.lastPoll.polled([['6', 6]], '6')
  for (const { seen } of tabs) assert.deepEqual(seen, ['connected', '8', 'reset', '6', '7', 'reset', '6'])
}))

test('a leader that has just come, without a place, tells others of a gap', inTabs(async (world) => {
  const [one, two] = [await world.tab(), await world.tab()]
  await world.last.open('id: a-1\nevent: connected\ndata: {}\n\n' + event('a-3', 3))
  two.channel.onmessage({ data: { message: { type: 'connected', data: '{}', id: 'a-5', channel: null }, at: '' } })
  await settle()
  await world.lastPoll.polled([['a-4', 4]], 'a-5')
  assert.deepEqual([two.seen, one.seen], [['connected', 'a-3', 'a-4', 'connected'], ['connected', 'a-3']])
}))

test('a tab that is ahead of its leader hears nothing of what it has behind it', inTabs(async (world) => {
  await world.tab({ lastEventId: '1' })
  const two = await world.tab({ lastEventId: '4' })
  await world.lastStream.open(event('2', 2) + event('3', 3) + event('4', 4))
  await world.lastStream.send(event('5', 5))
  assert.deepEqual([two.seen, polls(world)], [['connected', '5'], 0])
}))

test('a gap that the hub cannot fill is a reset', inTabs(async (world) => {
  const [, two] = [await world.tab(), await world.tab()]
  await world.last.open(CONNECTED + event('1', 1))
  two.channel.isDeaf = true
  await world.lastStream.send(event('2', 2))
  two.channel.isDeaf = false
  await world.lastStream.send(event('3', 3))
  await world.lastPoll.polled([['3', 3]], '9', { reason: 'expired', cursor: '9' })
  await world.lastPoll.polled([], '9')
  assert.deepEqual(two.seen, ['connected', '1', 'reset', '3'])
}))

test('what a tab missed may be no event: it asks once, and goes on', inTabs(async (world) => {
  const [, two] = [await world.tab(), await world.tab()]
  await world.last.open(CONNECTED + event('1', 1))
  two.channel.isDeaf = true
  await world.lastStream.send('id: 4\nevent: heartbeat\ndata: {}\n\n')
  two.channel.isDeaf = false
  await world.lastStream.send(event('5', 5))
  await world.lastPoll.polled([['5', 5]], '5')
  await world.lastPoll.polled([], '6')
  await world.lastStream.send(event('7', 7))
  assert.deepEqual([two.seen, world.asked.filter(({ accept }) => accept === 'application/json').length], [['connected', '1', '5', '7'], 1])
}))

test('a close in the middle of a filled gap leaves the rest for later', inTabs(async (world) => {
  const [, two] = [await world.tab(), await world.tab()]
  await world.last.open(CONNECTED + event('1', 1))
  two.channel.isDeaf = true
  await world.lastStream.send(event('2', 2))
  two.channel.isDeaf = false
  two.client.on('log', ({ id }) => id === '2' && two.client.close())
  await world.lastStream.send(event('3', 3))
  await world.lastPoll.polled([['2', 2], ['3', 3]], '3')
  assert.deepEqual([two.seen, two.client.lastEventId, two.client.status.state], [['connected', '1'], '2', 'closed'], 'even * was not told any more')
  two.client.connect()
  await settle()
  await world.lastPoll.polled([['3', 3]], '3')
  await world.lastPoll.polled([], '3')
  assert.deepEqual(two.seen, ['connected', '1', 'connected', '3'])
}))

test('a follower whose gap is refused fails, rather than to leave it', inTabs(async (world) => {
  const [, two] = [await world.tab(), await world.tab()]
  await world.last.open(CONNECTED + event('1', 1))
  two.channel.isDeaf = true
  await world.lastStream.send(event('2', 2))
  two.channel.isDeaf = false
  await world.lastStream.send(event('3', 3))
  await world.lastPoll.answer(403, { detail: 'not yours' })
  assert.deepEqual([two.client.status.state, two.client.status.error.message, two.seen], ['failed', 'not yours', ['connected', '1']])
}))

test('a follower whose token has expired fills its gap with a new one', inTabs(async (world) => {
  const reasons = []
  await world.tab({ principal: 'p' })
  const two = await world.tab({ principal: 'p', token: ({ reason }) => (reasons.push(reason), reason === 'unauthorized' ? 'new' : 'old') })
  await world.last.open(CONNECTED + event('1', 1))
  two.channel.isDeaf = true
  await world.lastStream.send(event('2', 2))
  two.channel.isDeaf = false
  await world.lastStream.send(event('3', 3))
  await world.lastPoll.answer(401)
  assert.deepEqual([world.lastPoll.headers.authorization, reasons.at(-1)], ['Bearer new', 'unauthorized'])
  await world.lastPoll.polled([['2', 2], ['3', 3]], '3')
  await world.lastPoll.polled([], '3')
  assert.deepEqual([two.seen, two.client.status.state], [['connected', '1', '2', '3'], 'open'])
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
