// The bell and its list: what is shown, and what a keyboard does.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { bellOf, item, many } from './bell.mjs'
import { Hub, h, settle, use, window } from './page.mjs'
import { useNotificationBell } from '../../bell.js'
import { useNotifications } from '../../react.js'

test('the badge counts what is new, up to nine', async () => {
  const bell = await bellOf()
  assert.deepEqual([bell.badge, bell.button.getAttribute('aria-label')], ['', 'Notifications'])
  await bell.created(...many(9))
  assert.equal(bell.badge, '9')
  await bell.created(item('ten'))
  assert.deepEqual([bell.badge, bell.button.getAttribute('aria-label')], ['9+', 'Notifications, 10 new'])
  await bell.end()
})

test('opening it makes all seen, and reading one makes it read', async () => {
  const bell = await bellOf({ count: 'unseen' })
  await bell.created(item(1), item(2))
  await bell.click(bell.button)
  assert.deepEqual([bell.badge, bell.items.length, bell.all('li[data-unread]').length], ['', 2, 2])
  await bell.created(item(3))
  assert.equal(bell.badge, '') // it came into view
  await bell.click('.hw-bell-item')
  assert.equal(bell.all('li[data-unread]').length, 2)
  await bell.click(bell.all('.hw-bell-tabs button')[1])
  assert.equal(bell.items.length, 2)
  await bell.click('header button')
  assert.equal(bell.all('li').length, 0)
  assert.equal(bell.find('header button').getAttribute('aria-disabled'), 'true')
  await bell.click('header button')
  await bell.end()
})

test('it can count what is unread', async () => {
  const bell = await bellOf({ count: 'unread', max: 2 })
  await bell.created(item(1), item(2), item(3))
  await bell.click(bell.button)
  assert.equal(bell.badge, '2+')
  await bell.click('.hw-bell-item')
  assert.equal(bell.badge, '2')
  await bell.end()
})

test('the list takes the focus, gives it back, and is left with Escape', async () => {
  const bell = await bellOf()
  await bell.created(item(1), item(2), item(3))
  bell.button.focus()
  await bell.click(bell.button)
  const panel = bell.find('[role=dialog]')
  assert.equal(document.activeElement, panel)
  assert.deepEqual([bell.button.getAttribute('aria-expanded'), bell.button.getAttribute('aria-controls')], ['true', panel.id])
  const items = bell.all('.hw-bell-item')
  for (const [key, at] of [['ArrowDown', 0], ['ArrowDown', 1], ['End', 2], ['ArrowDown', 2], ['ArrowUp', 1], ['Home', 0], ['ArrowUp', 0]]) {
    await bell.key(key)
    assert.equal(document.activeElement, items[at], key)
  }
  await bell.key('a')
  await bell.key('Escape')
  assert.equal(bell.find('[role=dialog]'), null)
  assert.equal(document.activeElement, bell.button)
  await bell.end()
})

test('keys on an empty list do nothing', async () => {
  const bell = await bellOf()
  await bell.click(bell.button)
  for (const key of ['ArrowDown', 'End', 'Home']) await bell.key(key)
  assert.equal(bell.find('.hw-bell-note').textContent, 'Nothing here yet')
  await bell.end()
})

test('a click elsewhere and a focus elsewhere close it', async () => {
  const bell = await bellOf()
  const other = document.body.appendChild(document.createElement('button'))
  await bell.click(bell.button)
  await settle(() => void bell.find('h2').dispatchEvent(new window.Event('pointerdown', { bubbles: true })))
  assert.ok(bell.find('[role=dialog]'))
  await settle(() => void other.dispatchEvent(new window.Event('pointerdown', { bubbles: true })))
  assert.equal(bell.find('[role=dialog]'), null)
  await bell.click(bell.button)
  await settle(() => void bell.find('[role=dialog]').dispatchEvent(new window.FocusEvent('focusout', { bubbles: true, relatedTarget: bell.find('header button') })))
  assert.ok(bell.find('[role=dialog]'))
  await settle(() => void bell.find('[role=dialog]').dispatchEvent(new window.FocusEvent('focusout', { bubbles: true, relatedTarget: other })))
  assert.equal(bell.find('[role=dialog]'), null)
  other.remove()
  await bell.end()
})

test('when what had the focus is gone, the list has it', async () => {
  const bell = await bellOf({ onRemove: () => {} })
  await bell.created(item(1), item(2))
  await bell.click(bell.button)
  const cross = bell.find('.hw-bell-remove')
  assert.equal(cross.getAttribute('aria-label'), 'Remove: Title 2')
  cross.focus()
  await bell.click(cross)
  assert.deepEqual([bell.items.length, document.activeElement], [1, bell.find('[role=dialog]')])
  await bell.end()
})

test('whatever a notification says is text', async () => {
  const bell = await bellOf()
  const hostile = [
    item(1, { title: '<img src=x onerror=alert(1)>', message: '<script>alert(2)</script>', href: 'javascript:alert(3)' }),
    item(2, { title: { toString: 1 }, message: ['x'], createdAt: 'never', href: ' java\nscript:alert(4)' }),
    item(3, { title: 7, href: 'data:text/html,x' }),
    item('3b', { href: 'http://[' }),
    item(4, { href: '/tasks/4', createdAt: Date.now() - 3 * 60_000 }),
    item(5, { href: { toString: () => '/' }, title: null }),
  ]
  await bell.created(...hostile)
  await bell.click(bell.button)
  assert.equal(bell.all('img, script').length, 0)
  assert.deepEqual(bell.all('a').map((link) => link.getAttribute('href')), ['/tasks/4'])
  assert.ok(bell.items.includes('Unread: <img src=x onerror=alert(1)><script>alert(2)</script>'))
  assert.equal(bell.find('time').textContent, '3 minutes ago')
  await bell.end()
})

test('times are in the user’s language, and so is the rest', async () => {
  const labels = { title: 'Nachrichten', button: (n) => `Nachrichten: ${n}`, unread: 'Ungelesen' }
  const bell = await bellOf({ labels, locale: 'de' })
  await bell.created(item(1, { createdAt: new Date(Date.now() - 86_400_000).toISOString() }), item(2, { createdAt: Date.now() - 7_200_000 }), item(3, { createdAt: Date.now() }), item(4, { createdAt: Date.now() - 3 * 365.25 * 86_400_000 }))
  assert.equal(bell.button.getAttribute('aria-label'), 'Nachrichten: 4')
  await bell.click(bell.button)
  assert.deepEqual(bell.all('time').map(({ textContent }) => textContent), ['jetzt', 'vor 2 Stunden', 'gestern', 'vor 3 Jahren'])
  assert.equal(bell.find('h2').textContent, 'Nachrichten')
  await bell.end()
})

test('a link closes the list and tells; a row may look as one likes', async () => {
  const chosen = []
  const bell = await bellOf({ onActivate: ({ id }, event) => (event.preventDefault(), chosen.push(id)), renderItem: ({ id }) => h('b', null, `No. ${id}`), footer: h('em', null, 'end') })
  await bell.created(item(1, { href: 'https://example.org/' }))
  await bell.click(bell.button)
  assert.deepEqual([bell.find('a b').textContent, bell.find('em').textContent], ['No. 1', 'end'])
  await bell.click('a')
  assert.deepEqual([chosen, bell.find('[role=dialog]'), document.activeElement], [[1], null, bell.button])
  await bell.end()
})

test('somebody else may decide whether it is open', async () => {
  const asked = []
  const bell = await bellOf({ open: false, onOpenChange: (isOpen) => asked.push(isOpen), theme: 'dark', align: 'start', className: 'mine' })
  await bell.click(bell.button)
  assert.deepEqual([asked, bell.find('[role=dialog]')], [[true], null])
  await bell.set({ open: true })
  assert.ok(bell.find('.hw-bell.mine[data-theme=dark][data-align=start] [role=dialog]'))
  await bell.end()
})

test('it loads what there was, when the stream is open, and again after a reset', async () => {
  let loads = 0
  const bell = await bellOf({ load: async ({ signal }) => (signal.throwIfAborted(), { items: [item(`load ${(loads += 1)}`)], unread: 12, unseen: 11 }) })
  assert.deepEqual([bell.badge, loads, bell.button.getAttribute('aria-label')], ['9+', 1, 'Notifications, 11 new'])
  await bell.hub.send(['reset', { reason: 'expired' }])
  assert.equal(loads, 2)
  await bell.end()
})

test('a failed load is said, and can be tried again', async () => {
  let isBroken = true
  const bell = await bellOf({ load: () => { if (isBroken) throw new Error('broken'); return [item(1)] } })
  await bell.click(bell.button)
  assert.match(bell.find('[role=alert]').textContent, /did not work/)
  isBroken = false
  await bell.click('[role=alert] button')
  assert.deepEqual([bell.find('[role=alert]'), bell.items.length], [null, 1])
  await bell.end()
})

test('while it loads it says so', async () => {
  let answer
  const bell = await bellOf({ load: () => new Promise((resolve) => (answer = resolve)) })
  await bell.click(bell.button)
  assert.equal(bell.find('.hw-bell-note').textContent, 'Loading…')
  await settle(() => answer([item(1)]))
  assert.equal(bell.items.length, 1)
  await bell.end()
})

test('what cannot be saved is undone, and not tried for ever', async () => {
  const calls = []
  const fail = (name) => (...given) => (calls.push([name, ...given]), Promise.reject(new Error('no')))
  const bell = await bellOf({ onRead: fail('read'), onSeen: fail('seen'), onRemove: fail('remove') })
  await bell.created(item(1), item(2))
  await bell.click(bell.button)
  await bell.click('.hw-bell-item')
  await bell.click('header button')
  await bell.click('.hw-bell-remove')
  await settle()
  assert.deepEqual(calls, [['seen', undefined], ['read', [2]], ['read', null], ['remove', [2]]])
  assert.deepEqual([bell.badge, bell.all('li[data-unread]').length], ['2', 2])
  await bell.end()
})

test('updates and deletions from elsewhere', async () => {
  const bell = await bellOf({ types: { created: ['new', 'notification.created'], updated: 'changed', deleted: 'gone' } })
  await bell.created(item(1), item(2), item(3))
  await bell.hub.send(['changed', { id: 1, read: true }], ['gone', { id: 2 }], ['gone', 9], ['new', item(4)])
  assert.equal(bell.badge, '2')
  await bell.end()
})

test('all of it without a look', async () => {
  const hub = new Hub()
  const client = hub.client()
  const page = await use(() => useNotificationBell(useNotifications({ client }), { max: 99 }))
  await hub.send(...many(12).map((each) => ['notification.created', each]))
  const bell = page.seen.current
  assert.deepEqual([bell.badge, bell.count, bell.isOpen, bell.visible.length], ['12', 12, false, 12])
  await settle(() => bell.open())
  assert.deepEqual([page.seen.current.isOpen, page.seen.current.count], [true, 0])
  await settle(() => page.seen.current.toggle())
  assert.equal(page.seen.current.isOpen, false)
  await settle(() => page.seen.current.reload())
  await page.end()
  client.close()
})

test('its look has no variables that a page may have, too: one that is set to itself would be none', () => {
  const names = readFileSync(new URL('../../bell.css', import.meta.url), 'utf8').match(/--[\w-]+/g)
  assert.ok(names.length > 50)
  assert.deepEqual(names.filter((name) => !name.startsWith('--hw-')), [])
})
