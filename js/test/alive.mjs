// A program that leaves clients in every state in which they wait for something, and ends all the same: no timer and no
// channel keeps it alive. Prints the states; whoever starts it sees to it that it ends.
import { setImmediate as turn } from 'node:timers/promises'
import { createClient } from '../headwater.js'
import { attachSSE } from '../redux.js'

const settle = async () => {
  for (let i = 0; i < 20; i += 1) await turn()
}
const never = () => new Promise(() => {})
const lose = () => Promise.reject(new TypeError('fetch failed'))
const refuse = async () => new Response(null, { status: 503, headers: { 'retry-after': '3600' } })
const stream = async () => new Response(new ReadableStream({ start: (body) => body.enqueue(new TextEncoder().encode('event: log\ndata: 1\n\nevent: log\ndata: 2\n\n')) }), { headers: { 'content-type': 'text/event-stream' } })
Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { locks: { request: (name, options, work) => work() } } })

const hour = 3_600_000
const clients = Object.entries({
  connecting: { fetch: never },
  open: { fetch: stream, silence: hour },
  waiting: { fetch: refuse },
  polling: { fetch: lose, poll: { after: 1 }, retry: { base: hour } },
  suspended: { fetch: lose, poll: false, retry: { breaker: 1 }, probeEvery: hour },
  shared: { fetch: stream, share: true, principal: 'p', silence: hour },
  token: { fetch: stream, token: never },
}).map(([name, options]) => {
  const client = createClient({ url: 'http://hub/events', connectTimeout: hour, ...options })
  client.on('log', () => {}, { throttle: hour })
  client.publish('a', 'b').catch(() => {})
  client.connect()
  return [name, client]
})
const let_go = createClient({ url: 'http://hub/events', fetch: stream })
let_go.acquire()()
attachSSE({ dispatch() {} }, createClient(), {}, { load: () => ({ type: 'load' }) })
await settle()
process.on('exit', () => console.log(JSON.stringify(Object.fromEntries([...clients, ['let go', let_go]].map(([name, { status }]) => [name, status.state])))))
