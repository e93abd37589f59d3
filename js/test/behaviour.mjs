// Runs the cases of tests/data/client_cases.json and wire_cases.json against this client. Used by Node (with the server's address
// as argument; prints what came out as JSON) and, as a module, by a page in a browser. The tables are judged in Python.
const wanted = ['*', 'reset']

/** One case of whole connections, served by `base`. */
async function behave({ createClient }, base, { name, tokens }, run) {
  const events = []
  let opened = 0
  let next = 0
  const client = createClient({
    url: `${base}/case?name=${encodeURIComponent(name)}&run=${run}`,
    poll: false,
    retry: { base: 10, max: 20 },
    parse: (data) => data,
    token: tokens && (({ reason }) => tokens[(next += reason === 'connect' ? 0 : 1)]),
  })
  for (const type of wanted) client.on(type, (event) => events.push([event.type, event.data, event.id]))
  const final = await new Promise((resolve) => {
    client.onStatus(({ state }) => {
      if (state === 'open') opened += 1
      if (state === 'closed' || state === 'failed') resolve(state)
    })
    client.connect()
  })
  return { events, final, opened }
}

/** Pieces of one to nine bytes, as chance has it, but each time the same. */
const anySize = () => {
  let seed = 1
  return () => 1 + ((seed = (seed * 16_807) % 2_147_483_647) % 9)
}

/** One case of the format: the streams in pieces of so many bytes. */
function decode({ Decoder }, { streams, max_line: max }, size) {
  const events = []
  let last_event_id = ''
  let retry = null
  let error = false
  for (const stream of streams) {
    const decoder = new Decoder({ max, lastEventId: last_event_id })
    const bytes = Uint8Array.from(stream, (character) => character.charCodeAt(0))
    try {
      for (let at = 0, next; at < bytes.length; at = next) {
        next = at + size()
        events.push(...decoder.feed(bytes.subarray(at, next)))
      }
    } catch (fault) {
      if (!(fault instanceof RangeError)) throw fault
      error = true
    }
    last_event_id = decoder.lastEventId
    retry = decoder.retry ?? retry
  }
  return { events, error, last_event_id, retry }
}

/** Everything: `wire` has what came out of each case byte by byte, in pieces and whole, `behaviour` what came out of each, by its run. */
export async function runAll(client, base, { cases, wire, prefix }) {
  const behaviour = await Promise.all(cases.map((each, index) => behave(client, base, each, `${prefix}${index}`)))
  return { behaviour, wire: wire.map((each) => [() => 1, anySize(), () => Infinity].map((size) => decode(client, each, size))) }
}

if (globalThis.process?.argv[2]) {
  const base = process.argv[2]
  const alive = setInterval(() => {}, 1000) // a client keeps no program alive
  const tables = await (await fetch(`${base}/cases.json`)).json()
  console.log(JSON.stringify(await runAll(await import('../headwater.js'), base, tables)))
  clearInterval(alive)
}
