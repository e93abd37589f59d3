// The list as data: what comes twice, in any order, and beyond the list's end.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NONE, reduce } from '../../notifications.js'

const after = (actions, cap = 3, state = NONE) => actions.reduce((now, action) => reduce(now, action, cap), state)
const created = (...items) => ({ kind: 'created', items })
const item = (id, more) => ({ id, createdAt: id, ...more })
const shown = ({ items, unread, unseen }) => [items.map(({ id, read }) => (read ? `${id}r` : `${id}`)).join(' '), unread, unseen]

test('the newest is first, however they come', () => {
  assert.deepEqual(shown(after([created(item(2)), created(item(3)), created(item(1))])), ['3 2 1', 3, 3])
  assert.deepEqual(shown(after([created({ id: 'a' }), created({ id: 'b' })])), ['b a', 2, 2])
})

test('what comes twice is counted once, and stays read', () => {
  const twice = after([created(item(1)), { kind: 'read', items: [1] }, created(item(1, { read: false, title: 'new' }))])
  assert.deepEqual(shown(twice), ['1r', 0, 0])
  assert.equal(twice.items[0].title, 'new')
})

test('what does not fit is counted on, but not what is older than all', () => {
  const full = after([created(item(2), item(3), item(4), item(5))])
  assert.deepEqual(shown(full), ['5 4 3', 4, 4])
  assert.deepEqual(shown(after([created(item(1))], 3, full)), ['5 4 3', 4, 4])
})

test('what is no notification is ignored', () => {
  assert.deepEqual(shown(after([{ kind: 'created', items: [null, 'text', 7, {}, { id: {} }] }, { kind: 'created', items: undefined }])), ['', 0, 0])
})

test('an update changes what is known, and nothing else', () => {
  const now = after([created(item(1), item(2)), { kind: 'updated', items: item(1, { read: true }) }, { kind: 'updated', items: item(9) }])
  assert.deepEqual(shown(now), ['2 1r', 1, 1])
  assert.deepEqual(shown(after([{ kind: 'updated', items: item(1, { read: false }) }], 3, now)), ['2 1', 2, 2])
})

test('a deletion names notifications or ids, known or not', () => {
  const now = after([created(item(1), item(2), item(3)), { kind: 'deleted', items: [2, { id: 3 }, 9] }])
  assert.deepEqual(shown(now), ['1', 1, 1])
  assert.deepEqual(shown(after([{ kind: 'deleted', items: 1 }], 3, now)), ['', 0, 0])
})

test('seen is less than read', () => {
  const now = after([created(item(1), item(2)), { kind: 'seen' }, created(item(3))])
  assert.deepEqual(shown(now), ['3 2 1', 3, 1])
  assert.deepEqual(shown(after([{ kind: 'read', items: null }], 3, now)), ['3r 2r 1r', 0, 0])
})

test('a snapshot replaces all, with the counts that the server knows', () => {
  const now = after([created(item(9)), { kind: 'loading' }, { kind: 'loaded', snapshot: { items: [item(1), item(2, { read: true })], unread: 40, unseen: 4 } }])
  assert.deepEqual([shown(now), now.isLoading], [['2r 1', 40, 4], false])
  assert.deepEqual(shown(after([{ kind: 'read', items: [1] }], 3, now)), ['2r 1r', 39, 3])
  assert.deepEqual(shown(after([{ kind: 'loading' }, { kind: 'loaded', snapshot: [item(1)] }], 3, now)), ['1', 1, 1])
})

test('what happens during a load is shown, and is there after it', () => {
  const during = after([{ kind: 'loading' }, created(item(3)), { kind: 'updated', items: item(1, { title: 'new' }) }, { kind: 'deleted', items: 2 }, { kind: 'read', items: [3] }])
  assert.deepEqual([shown(during), during.isLoading], [['3r', 0, 0], true])
  const now = after([{ kind: 'loaded', snapshot: [item(1), item(2)] }], 3, during)
  assert.deepEqual([shown(now), now.items[1].title, now.held], [['3r 1', 1, 1], 'new', []])
})

test('a failed load leaves what there was', () => {
  const now = after([created(item(1)), { kind: 'loading' }, { kind: 'failed', error: 'no' }])
  assert.deepEqual([shown(now), now.error, now.isLoading], [['1', 1, 1], 'no', false])
})

test('at most a thousand actions are held during a load', () => {
  const many = Array.from({ length: 1500 }, (_, i) => created(item(i)))
  assert.equal(after([{ kind: 'loading' }, ...many]).held.length, 1000)
})

test('a change that cannot be saved is undone, and what has come since stays', () => {
  const start = after([created(item(1), item(2, { seen: true }))])
  const marked = after([{ kind: 'read', items: [1, 2], key: 'a' }, created(item(3)), { kind: 'deleted', items: 1 }], 3, start)
  assert.deepEqual(shown(marked), ['3 2r', 1, 1])
  const now = after([{ kind: 'unsaved', key: 'a', error: 'offline' }], 3, marked)
  assert.deepEqual([shown(now), now.error, now.undo], [['3 2', 2, 1], 'offline', {}])
})

test('a removal that cannot be saved puts back what was removed', () => {
  const now = after([created(item(1), item(2)), { kind: 'deleted', items: [1], key: 'a' }, { kind: 'unsaved', key: 'a', error: 'no' }])
  assert.deepEqual(shown(now), ['2 1', 2, 2])
})

test('all of them, also those beyond the list', () => {
  const start = after([{ kind: 'loaded', snapshot: { items: [item(1)], unread: 7, unseen: 5 } }])
  for (const [kind, counts] of [['read', [0, 0]], ['seen', [7, 0]]]) {
    const now = after([{ kind, items: null, key: 'a' }], 3, start)
    assert.deepEqual([now.unread, now.unseen], counts)
    const undone = after([{ kind: 'unsaved', key: 'a', error: 'no' }], 3, now)
    assert.deepEqual([undone.unread, undone.unseen], [7, 5])
  }
})

test('what is saved is not undone any more, and what is unknown not at all', () => {
  const saved = after([created(item(1)), { kind: 'read', items: [1], key: 'a' }, { kind: 'saved', key: 'a' }, { kind: 'unsaved', key: 'a', error: 'late' }])
  assert.deepEqual([shown(saved), saved.error], [['1r', 0, 0], null])
})

test('a change during a load that cannot be saved is not done again', () => {
  const now = after([created(item(1)), { kind: 'loading' }, { kind: 'read', items: [1], key: 'a' }, { kind: 'unsaved', key: 'a', error: 'no' }, { kind: 'loaded', snapshot: [item(1)] }])
  assert.deepEqual(shown(now), ['1', 1, 1])
})

test('ten thousand in a row take no time', () => {
  const begun = performance.now()
  const now = after(Array.from({ length: 10_000 }, (_, i) => created(item(i))), 100)
  assert.deepEqual([now.items.length, now.unread], [100, 10_000])
  assert.ok(performance.now() - begun < 2000)
})
