// A program that uses the types as they are meant; each line below an `@ts-expect-error` must be refused. Never run.
import { type AnyEvent, type Client, type Status, createClient, Decoder, delayOf, STATES } from 'headwater'

interface Order {
  id: string
  total: number
}

interface Events {
  'order.created': Order
  tick: { n: number }
}

const events: Client<Events> = createClient<Events>({
  url: () => Promise.resolve(new URL('https://hub.example/events')),
  channels: ['orders'] as const,
  token: async ({ reason, signal }) => (reason === 'connect' && !signal.aborted ? 'token' : null),
  via: 'ticket',
  retry: { base: 500, breaker: 4 },
  poll: false,
  share: true,
  fetch: globalThis.fetch,
  debug: (what, details) => console.log(what, details),
})

const off: () => void = events.on('order.created', ({ data, id, type }) => {
  const total: number = data.total
  const name: 'order.created' = type
  console.log(total, name, id)
  // @ts-expect-error there is no such field
  data.price
})
off()

// @ts-expect-error there is no such event
events.on('order.deleted', () => {})
// @ts-expect-error a handler of another event
events.on('tick', (event: { data: Order }) => event)

events.on('*', (event) => {
  if (event.type === 'tick') event.data.n.toFixed()
  else event.data.total.toFixed()
  // @ts-expect-error not before it is known which
  event.data.n
})
events.once('tick', ({ data }) => data.n, { signal: AbortSignal.abort() })
events.on('tick', () => {}, { throttle: 100 })
events.onReset(({ reason, cursor }) => console.log(reason.length, cursor.length))
events.onStatus(({ state, error, retryAt }: Status) => {
  if (state === 'failed') console.log(error?.status === 403, error?.message)
  console.log((retryAt ?? 0) - Date.now())
  // @ts-expect-error there is no such state
  if (state === 'connected') return
})
// @ts-expect-error a status is read only
events.status.state = 'open'

for await (const { data } of events.events('tick', { max: 10 })) data.n.toFixed()

const id: string = await events.publish('orders', 'order.created', { id: '1', total: 2 }, { permissions: ['orders.read'] })
// @ts-expect-error the data of another event
events.publish('orders', 'tick', { id })
// @ts-expect-error there is no such way
createClient({ via: 'url' })
// @ts-expect-error nor this
createClient({ retry: 5 })

const untyped: Client = createClient()
untyped.on('anything', ({ data }) => data.whatever)
untyped.acquire()()

const any: AnyEvent<Events> = { type: 'tick', data: { n: 1 }, id: '', channel: null, raw: '' }
const messages = new Decoder({ lastEventId: id }).feed(new Uint8Array())
console.log(any, messages[0]?.channel, STATES.open.includes('closed'), delayOf({ failures: 1, base: 1, max: 2 }))
// @ts-expect-error a decoder reads bytes
new Decoder().feed('data: 1')
