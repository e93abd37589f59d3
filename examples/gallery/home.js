// The gallery's home page: the pulse of the hub, a box to publish with, and lines to copy.
//
// Everything it shows comes over one stream of two channels. What strangers publish is shown as text.

import { createClient } from '/client.js'
import { River } from './river.js'
import { byId, make, themeButton } from './live.js'

const PULSE = 'gallery:pulse'
const HELLO = 'hello'
const BEAT = 500 // ms
const MAX_HEARD = 6
const ARMS = [
  { name: 'Rooms', colour: '--accent', prefix: 'room' },
  { name: 'Debates', colour: '--info', prefix: 'debate:' },
  { name: 'Operations', colour: '--violet', prefix: 'operations' },
  { name: 'Projects', colour: '--good', prefix: 'project:' },
  { name: 'Yours', colour: '--warn', prefix: '' },
]
const STATES = { connecting: ['connecting', 'warn busy'], open: ['live', 'good'], polling: ['polling', 'warn'], waiting: ['reconnecting', 'warn busy'], closed: ['paused', ''], failed: ['refused', 'bad'] }

const river = new River(byId('river'), ARMS)
const armOf = (channel) => ARMS.findIndex(({ prefix }) => channel.startsWith(prefix))
const whole = new Intl.NumberFormat('en')

// -- the pulse -----------------------------------------------------------------------------------------------------------

function beat({ events, rate, streams, published, latencyMs }) {
  river.add(events.map(({ channel, type }) => ({ arm: armOf(channel), type })), BEAT)
  byId('rate').textContent = rate.toFixed(1)
  byId('streams').textContent = whole.format(streams)
  byId('published').textContent = whole.format(published)
  byId('latency').textContent = latencyMs ? `under ${latencyMs} ms` : '–'
  const last = events.at(-1)
  if (last) byId('last').firstElementChild.textContent = `${last.channel} ${last.type}`
}

// -- what is said on hello -----------------------------------------------------------------------------------------------

const said = new Map() // ids of what this page published to when it did
const waiting = new Map() // ids of what arrived before the answer to its own publishing

function hear(data, id) {
  const now = performance.now()
  const time = make('span', 'soft small', new Date().toLocaleTimeString([], { hour12: false }))
  const line = make('li', 'new', make('span', 'words', data), time)
  byId('heard').prepend(line)
  byId('heard').children[MAX_HEARD]?.remove()
  byId('silence').hidden = true
  waiting.set(id, { now, time })
  if (waiting.size > 20) waiting.delete(waiting.keys().next().value)
  settle(id)
}

/** Say how long something took from this page back to it, once both its answer and the event are here. */
function settle(id) {
  if (!said.has(id) || !waiting.has(id)) return
  const { now, time } = waiting.get(id)
  time.textContent = `back after ${Math.max(1, Math.round(now - said.get(id)))} ms`
  said.delete(id)
  waiting.delete(id)
}

byId('say').addEventListener('submit', async (event) => {
  event.preventDefault()
  byId('refused').hidden = true
  const begun = performance.now()
  try {
    const response = await fetch(`/channels/${HELLO}`, { method: 'POST', headers: { 'Content-Type': 'text/plain' }, body: byId('words').value })
    const answer = await response.json()
    if (!response.ok) throw new Error(answer.detail)
    said.set(answer.ids[0], begun)
    settle(answer.ids[0])
  } catch (error) {
    byId('refused').textContent = error.message
    byId('refused').hidden = false
  }
})

// -- lines to copy -------------------------------------------------------------------------------------------------------

for (const button of document.querySelectorAll('.copy')) {
  button.addEventListener('click', async () => {
    const code = button.parentElement.querySelector('code')
    try {
      await navigator.clipboard.writeText(code.textContent)
      button.textContent = 'Copied'
    } catch {
      getSelection().selectAllChildren(code) // not allowed to write: the reader's own copy command does it
      button.textContent = 'Selected'
    }
    setTimeout(() => (button.textContent = 'Copy'), 1500)
  })
}

// -- start ---------------------------------------------------------------------------------------------------------------

const client = createClient({ channels: [PULSE, HELLO], probeEvery: 10_000 })
client.on('*', ({ type, data, raw, id, channel }) => {
  if (channel === PULSE && type === 'beat') beat(data)
  if (channel === HELLO) hear(raw, id)
})
client.onStatus(({ state }) => {
  const [word, look] = STATES[state] ?? STATES.waiting
  byId('state').textContent = word
  byId('state').className = `pill ${look}`
})
client.connect()

// A browser has six connections to one host (HTTP/1.1): nobody looks, so another page may have this one.
document.addEventListener('visibilitychange', () => (document.hidden ? client.close() : client.connect()))
themeButton(byId('theme'))
byId('theme').addEventListener('click', () => river.recolour())
