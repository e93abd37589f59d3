// What the compiler lets an application do, and what not. It is only compiled.
import { createElement } from 'react'
import { createClient } from 'headwater'
import { NotificationBell, useNotificationBell } from 'headwater/bell'
import { SSEProvider, useEvent, useEvents, useLatestEvent, useNotifications, useSSE, useStatus } from 'headwater/react'
import { attachSSE, createNotificationsSlice, createStatusSlice, sseCacheEntry } from 'headwater/redux'

interface Order { id: string; total: number }
interface Events { 'order.created': Order; tick: { n: number } }
declare module 'headwater/react' {
  interface Register { events: Events }
}

export const Component = () => {
  const sse = useSSE('/sse', { enableLogging: true })
  useSSE({ url: '/api/v1/events/stream', enabled: true })
  const off: () => void = sse.addEventListener('order.created', (order, { id }) => [order.total.toFixed(2), id.length])
  // @ts-expect-error: there is no such event
  sse.addEventListener('order.craeted', () => {})
  // @ts-expect-error: there is no such property
  sse.addEventListener('tick', ({ m }) => m)
  const status: string = sse.status
  useEvent('tick', ({ data, type }) => [data.n, type satisfies 'tick'])
  useEvent(['tick', 'order.created'], (event) => (event.type === 'tick' ? event.data.n : event.data.total))
  useEvent('*', (event) => (event.type === 'tick' ? event.data.n : event.data.total))
  // @ts-expect-error: there is no such event
  useEvent('tock', () => {})
  const orders: Order[] = useEvents('order.created', (all: Order[], { data }) => [...all, data], () => [])
  const last: number | null = useLatestEvent('tick', { select: ({ data }) => data.n, throttle: 250 })
  const none: { n: number } | undefined = useLatestEvent('tick', { select: ({ data }) => data, initial: undefined })
  const whole: string | undefined = useLatestEvent('tick')?.id
  const attempt: number = useStatus(({ attempt }) => attempt)
  const { retryAt } = useStatus()
  const list = useNotifications({ load: async ({ signal }) => (await fetch('/n', { signal })).json(), onRead: (ids) => ids?.length })
  const bell = useNotificationBell(list, { count: 'unread', labels: { title: 'Nachrichten' } })
  list.markRead([1, 'b'])
  return createElement(
    SSEProvider,
    { endpoint: '/sse', token: () => 'x', enableLogging: false },
    createElement(NotificationBell, { source: list, sound: { src: '/ding.mp3' }, theme: 'dark' }),
    createElement('button', bell.buttonProps),
    `${off} ${status} ${orders} ${last} ${none} ${whole} ${attempt} ${retryAt}`,
  )
}

// @ts-expect-error: the endpoint is an address
createElement(SSEProvider, { endpoint: 7 })

const client = createClient<Events>({ url: '/events' })
const notifications = createNotificationsSlice({ cap: 50 })
const status = createStatusSlice()
declare const store: { dispatch<T>(thunk: (dispatch: (action: unknown) => unknown) => T): T; dispatch(action: { type: string }): void; getState(): unknown }
attachSSE(store, client, { 'order.created': ({ total }) => ({ type: 'x', total }), tick: (data, { id }) => [{ type: 't', n: data.n, id }] }, { status: status.actions.changed })
// @ts-expect-error: there is no such event
attachSSE(store, client, { tock: () => null })
attachSSE(store, createClient(), notifications.map, { load: () => notifications.load(() => []) })
const saved: Promise<boolean> = store.dispatch(notifications.save(notifications.actions.markAllRead(), () => fetch('/read')))
export const unread: number = notifications.selectors.selectUnreadCount(store.getState())
void saved

// What RTK Query makes of it is in docs/howto/redux.md, which is compiled, too.
export const keepUpToDate = sseCacheEntry(client, ['order.created'], (draft: Order[], data, { id }) => void (id && draft.push(data)))
// @ts-expect-error: there is no such event
sseCacheEntry(client, 'tock', () => {})
