// A bell on a page, for the tests of what it shows and of what it tells.
import { afterEach, mock } from 'node:test'
import assert from 'node:assert/strict'
import { Hub, complaints, h, settle, show, window } from './page.mjs'
import { StrictMode } from 'react'
import { SSEProvider } from '../../react.js'
import { NotificationBell } from '../../bell.js'

afterEach(() => {
  mock.timers.reset()
  assert.deepEqual(complaints.splice(0), [])
})

/** A bell on a page, with a hub. */
export const bellOf = async (props = {}, { isStrict = false, client: options } = {}) => {
  const hub = new Hub()
  const client = hub.client(options)
  const element = (more) => h(isStrict ? StrictMode : 'main', null, h(SSEProvider, { client }, h(NotificationBell, { ...props, ...more })))
  const page = await show(element())
  const find = (selector) => page.place.querySelector(selector)
  const all = (selector) => [...page.place.querySelectorAll(selector)]
  return {
    hub, client, page, find, all,
    button: find('.hw-bell-button'),
    get badge() { return find('.hw-bell-badge')?.textContent ?? '' },
    get items() { return all('.hw-bell-item').map(({ textContent }) => textContent) },
    set: (more) => page.render(element(more)),
    created: (...items) => hub.send(...items.map((item) => ['notification.created', item])),
    click: (target) => settle(() => (typeof target === 'string' ? find(target) : target).click()),
    key: (key, target = document.activeElement) => settle(() => void target.dispatchEvent(new window.KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }))),
    end: async () => {
      await page.end()
      client.close()
    },
  }
}
export const item = (id, more) => ({ id, title: `Title ${id}`, ...more })
export const many = (count, more) => Array.from({ length: count }, (_, i) => item(i, more))
