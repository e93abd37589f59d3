// What a tab has missed of what its leader said: it is had from the hub, in its place, once, and with as few questions as it needs.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CONNECTED, inTabs } from './tabs.mjs'
import { event, settle } from './world.mjs'

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
