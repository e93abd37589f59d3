// On a server there is no page: all of it renders, and nothing connects.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { StrictMode, createElement as h } from 'react'
import { renderToString } from 'react-dom/server'
import { NotificationBell } from '../../bell.js'
import { SSEProvider, useEvent, useEvents, useLatestEvent, useNotifications, useSSE, useStatus } from '../../react.js'

const errors = []
console.error = (...what) => errors.push(what)
const asked = []
const options = { fetch: (url) => asked.push(url), token: () => asked.push('token') }

const Page = () => {
  const { status, isConnected } = useSSE('http://hub/sse')
  const own = useSSE('http://hub/other', options)
  const { since } = useStatus()
  useEvent('a', () => {})
  const count = useEvents('a', (n) => n + 1, 0)
  const last = useLatestEvent('a')
  const { items, isLoading } = useNotifications({ load: () => asked.push('load') })
  return h('p', null, JSON.stringify([status, isConnected, own.status, since, count, last, items, isLoading]))
}

test('p17: everything renders on a server, and nobody is asked for anything', async () => {
  assert.equal(typeof document, 'undefined')
  const page = h(StrictMode, null, h(SSEProvider, { endpoint: 'http://hub/sse', ...options }, h(Page), h(NotificationBell, { sound: true, desktop: true, titleBadge: true, open: true })))
  const html = renderToString(page)
  assert.ok(html.includes('[&quot;idle&quot;,false,&quot;idle&quot;,0,0,null,[],true]'), html)
  assert.ok(html.includes('role="dialog"') && !html.includes('style='))
  await new Promise(setImmediate)
  assert.deepEqual([asked, errors], [[], []])
})

test('a server keeps nothing for the next visitor', () => {
  const clients = []
  const Component = () => void clients.push(useSSE('http://hub/sse', options).client)
  renderToString(h(Component))
  renderToString(h(Component))
  assert.notEqual(clients.at(0), clients.at(-1))
})
