// A Node program with a real hub: `node node.mjs ways '<json>'` hears events in every way a token can travel; `storm` publishes
// and hears many through a network that breaks. Prints what came out as JSON.
import { createClient } from '../headwater.js'

const [, , mode, options] = process.argv
const { url, token, cookie, count, headers } = JSON.parse(options)

/** The first so many events of a client. */
const hear = async (client, wanted) => {
  const heard = []
  for await (const { data } of client.events('n')) if (heard.push(data) === wanted) break
  return heard
}
/** When a client's stream is open. */
const opened = (client) => new Promise((resolve) => void client.onStatus(({ state }) => state === 'open' && resolve()))

const ways = async () => {
  const how = { header: { token: () => token }, query: { token: () => token }, ticket: { token: () => token }, cookie: { headers: { ...headers, cookie } } }
  const clients = Object.entries(how).map(([via, more]) => createClient({ url, channels: ['a', 'b'], via, poll: false, ...more }))
  const heard = clients.map((client) => hear(client, 3))
  const open = clients.map(opened)
  for (const client of clients) client.connect()
  await Promise.all(open)
  const [{ publish }] = clients
  const ids = [await publish('a', 'n', 1), await publish('b', 'n', { two: 2 }), await publish('a', 'n', 'drei', { idempotencyKey: 'k' })]
  const again = await publish('a', 'n', 'drei', { idempotencyKey: 'k' })
  const result = { heard: await Promise.all(heard), isRepeated: again === ids[2], last: clients.map((client) => client.lastEventId === again) }
  for (const client of clients) client.close()
  return result
}

const storm = async () => {
  const client = createClient({ url, channels: ['a'], retry: { base: 10, max: 50 }, maxQueue: count, probeEvery: 100, connectTimeout: 2000 })
  const heard = hear(client, count)
  const open = opened(client)
  client.connect()
  await open
  const ids = await Promise.all(Array.from({ length: count }, (_, n) => client.publish('a', 'n', n)))
  const all = await heard
  const { opened: streams, polls, queued } = client.metrics()
  const result = { heard: all, ids: new Set(ids).size, reads: streams + polls, queued }
  client.close()
  return result
}

const alive = setInterval(() => {}, 1000) // a client keeps no program alive, not even one that waits for its events
console.log(JSON.stringify(await { ways, storm }[mode]()))
clearInterval(alive)
