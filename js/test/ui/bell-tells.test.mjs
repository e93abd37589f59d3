// What the bell says of what is new: to screen readers, by sound, outside of the page, and in its title.
import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { bellOf, item, many } from './bell.mjs'
import { h, settle, show, window } from './page.mjs'
import { NotificationBell } from '../../bell.js'

const heard = (bell) => bell.find('[role=status]').textContent

test('those that come together are told of together', async () => {
  const bell = await bellOf({}, { isStrict: true })
  mock.timers.enable({ apis: ['setTimeout'] })
  await bell.created(item(1, { title: 'New Task' }))
  assert.equal(heard(bell), '')
  await settle(() => mock.timers.tick(1000))
  assert.equal(heard(bell), 'New Task')
  await bell.created(...many(6, { createdAt: 5 }))
  await settle(() => mock.timers.tick(1000))
  assert.equal(heard(bell), '5 new notifications')
  await bell.created(item('last'))
  await bell.end()
  mock.timers.tick(1000)
})

test('what comes while a list is loaded is told of, and the list itself not', async () => {
  let answer
  const bell = await bellOf({ load: () => new Promise((resolve) => (answer = resolve)) })
  mock.timers.enable({ apis: ['setTimeout'] })
  await bell.created(item('new'))
  await settle(() => answer([item('old'), item('older')]))
  await tick(1000)
  assert.deepEqual([heard(bell), bell.badge], ['Title new', '3'])
  await bell.end()
})

test('what was there, or is read already, is not told of', async () => {
  const bell = await bellOf({ load: () => [item(1)] })
  mock.timers.enable({ apis: ['setTimeout'] })
  await bell.created(item(2, { read: true }), item(3, { seen: true }))
  await settle(() => mock.timers.tick(1000))
  assert.equal(heard(bell), '')
  await bell.end()
})

/** Sounds, and notifications outside of the page, as they would be. */
const outside = (permission = 'granted') => {
  const seen = { notes: 0, files: [], shown: [], asked: 0, focused: 0 }
  const param = { setValueAtTime() {}, exponentialRampToValueAtTime() {} }
  globalThis.AudioContext = class {
    createOscillator = () => ({ frequency: {}, connect: (next) => next, start: () => (seen.notes += 1), stop() {} })
    createGain = () => ({ gain: param, connect: (next) => next })
  }
  globalThis.HTMLMediaElement = class {}
  globalThis.Audio = class extends HTMLMediaElement {
    constructor(src) {
      super()
      this.src = src
    }
    play = async () => {
      seen.files.push([this.src, this.volume])
      throw new Error('NotAllowedError')
    }
  }
  globalThis.Notification = class {
    static permission = permission
    static requestPermission = async () => ((seen.asked += 1), (Notification.permission = 'granted'))
    constructor(title, options) {
      if (seen.isAndroid) throw new TypeError('Illegal constructor')
      seen.shown.push([title, options.body, options.tag])
      seen.last = this
    }
    close() {}
  }
  globalThis.focus = () => (seen.focused += 1)
  return seen
}
const touch = () => settle(() => void document.dispatchEvent(new window.Event('pointerdown')))
const tick = (ms) => settle(() => mock.timers.tick(ms))

test('p23: a sound is played after the user has touched the page, and not too often', async () => {
  const seen = outside()
  const bell = await bellOf({ sound: true }, { isStrict: true })
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 10_000 })
  await bell.created(item(1))
  await tick(1000)
  assert.equal(seen.notes, 0)
  await touch()
  for (const [id, wait, notes] of [[2, 1000, 2], [3, 3000, 2], [4, 1000, 4]]) {
    await bell.created(item(id))
    await tick(1000)
    await tick(wait - 1000)
    assert.equal(seen.notes, notes, `after ${id}`)
  }
  await bell.end()
})

test('the sound may be a file, and may fail', async () => {
  const seen = outside()
  const bell = await bellOf({ sound: { src: '/ding.mp3', volume: 0.2 } })
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 10_000 })
  await touch()
  await bell.created(item(1))
  await tick(1000)
  assert.deepEqual(seen.files, [['/ding.mp3', 0.2]])
  await bell.end()
})

const hide = (isHidden) => Object.defineProperty(document, 'hidden', { value: isHidden, configurable: true })

test('a hidden page notifies outside of itself, and a click leads back', async () => {
  const seen = outside()
  const chosen = []
  const bell = await bellOf({ desktop: true, onActivate: ({ id }) => chosen.push(id) })
  mock.timers.enable({ apis: ['setTimeout'] })
  await bell.created(item(1))
  await tick(1000)
  assert.deepEqual(seen.shown, []) // it is in view
  hide(true)
  await bell.created(item(2, { message: 'Hello' }))
  await tick(1000)
  assert.deepEqual(seen.shown, [['Title 2', 'Hello', '2']])
  await settle(() => seen.last.onclick())
  assert.deepEqual([chosen, seen.focused], [[2], 1])
  await bell.created(item(3), item(4))
  await tick(1000)
  assert.equal(seen.shown.at(-1)[0], '2 new notifications')
  await settle(() => seen.last.onclick())
  assert.ok(bell.find('[role=dialog]'))
  hide(false)
  await bell.end()
})

test('who follows a notification outside of the page comes to where it leads', async () => {
  const seen = outside()
  const visited = []
  mock.method(location, 'assign', (href) => visited.push(href))
  const bell = await bellOf({ desktop: true })
  mock.timers.enable({ apis: ['setTimeout'] })
  hide(true)
  for (const each of [item(1, { href: '/tasks/1' }), item(2), item(3, { href: 'javascript:alert(1)' })]) {
    await bell.created(each)
    await tick(1000)
    await settle(() => seen.last.onclick())
  }
  assert.deepEqual([visited, bell.badge], [['/tasks/1'], ''])
  hide(false)
  mock.restoreAll()
  await bell.end()
})

test('p23: where pages may not notify, their service worker does', async () => {
  const seen = outside()
  seen.isAndroid = true
  const bell = await bellOf({ desktop: true })
  mock.timers.enable({ apis: ['setTimeout'] })
  hide(true)
  await bell.created(item(1))
  await tick(1000) // none here
  const shown = []
  Object.defineProperty(navigator, 'serviceWorker', { value: { getRegistration: async () => ({ showNotification: (...given) => shown.push(given[0]) }) }, configurable: true })
  await bell.created(item(2))
  await tick(1000)
  assert.deepEqual(shown, ['Title 2'])
  hide(false)
  await bell.end()
})

test('only the leading tab is heard', async () => {
  const seen = outside()
  const source = { items: [], unread: 0, unseen: 0, markRead() {}, markAllRead() {}, markSeen() {}, client: { isLeader: false } }
  const page = await show(h(NotificationBell, { source, desktop: true, sound: true }))
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 10_000 })
  await touch()
  hide(true)
  await page.render(h(NotificationBell, { source: { ...source, items: [item(1)], unread: 1, unseen: 1 }, desktop: true, sound: true }))
  await tick(1000)
  assert.deepEqual([seen.notes, seen.shown, page.place.querySelector('[role=status]').textContent], [0, [], 'Title 1'])
  hide(false)
  await page.end()
})

test('p23: permission is asked for from a click, and only where it helps', async () => {
  const seen = outside('default')
  const bell = await bellOf({ desktop: true })
  await bell.click(bell.button)
  assert.equal(seen.asked, 0)
  await bell.click('.hw-bell-wide')
  assert.deepEqual([seen.asked, bell.find('.hw-bell-wide')], [1, null])
  await bell.end()
  outside('denied')
  const other = await bellOf({ desktop: true })
  await other.click(other.button)
  assert.match(other.find('ul + .hw-bell-note, .hw-bell-note + .hw-bell-note').textContent, /blocks/)
  await other.end()
})

test('the title shows the count, and is as it was afterwards', async () => {
  document.title = 'Tasks'
  const bell = await bellOf({ titleBadge: true })
  await bell.created(item(1), item(2))
  assert.equal(document.title, '(2) Tasks')
  await bell.click(bell.button)
  assert.equal(document.title, 'Tasks')
  await bell.click(bell.button)
  await bell.created(...many(12, { createdAt: 1 }))
  assert.equal(document.title, '(9+) Tasks')
  await bell.end()
  assert.equal(document.title, 'Tasks')
})
