// The gallery's home page: the pulse of the hub, a box to publish with, and lines to copy.
//
// Everything it shows comes over one stream of two channels. What strangers publish is shown as text.

import { createClient } from '/client.js'
import { River } from './river.js'
import { byId, clock, make, perFrame, showState, themeButton, whileSeen } from './live.js'

const PULSE = 'gallery:pulse'
const HELLO = 'hello'
const BEAT = 500 // ms
const BEATS = 40 // that a card's chart shows
const MAX_HEARD = 3
const ARMS = [
  { name: 'Rooms', colour: '--accent', own: /^room/ },
  { name: 'Debates', colour: '--info', own: /^debate:/ },
  { name: 'Notifications', colour: '--orange', own: /^(user:|everyone$)/ },
  { name: 'Operations', colour: '--violet', own: /^operations$/ },
  { name: 'Projects', colour: '--good', own: /^project:/ },
  { name: 'Yours', colour: '--warn', own: /^/ },
]

const river = new River(byId('river'), ARMS)
const armOf = (channel) => ARMS.findIndex(({ own }) => own.test(channel))
const cards = ARMS.map(({ name }) => document.querySelector(`.app.${name.toLowerCase()} .teaser`))
const counts = ARMS.map(() => Array(BEATS).fill(0))
const whole = new Intl.NumberFormat('en')

// -- the pulse -----------------------------------------------------------------------------------------------------------

function beat({ events, rate, streams, published, latencyMs }) {
  const others = events.filter(({ channel }) => channel !== HELLO).map((event) => ({ ...event, arm: armOf(event.channel) }))
  river.add(others, BEAT)
  cards.forEach((card, arm) => card && tease(card, counts[arm], others.filter((event) => event.arm === arm)))
  byId('rate').textContent = rate.toFixed(1)
  byId('streams').textContent = whole.format(streams)
  byId('published').textContent = whole.format(published)
  byId('latency').textContent = latencyMs ? `under ${latencyMs} ms` : '–'
  const last = events.at(-1)
  if (!last) return
  byId('last').textContent = `${last.channel.replace(/[\da-f-]{13,}/g, (id) => `${id.slice(0, 8)}…`)} ${last.type}`
  if (!performance.getEntriesByName('live').length) performance.mark('live') // something of the applications is seen
}

/** Show in a card how much has happened, and the last of it: in words where everybody may read them. */
function tease(card, past, events) {
  past.push(events.length)
  past.shift()
  const bars = past.map((count, index) => count && `M${index * 4 + 2} 20v-${Math.min(20, 5 + 4 * count)}`)
  card.querySelector('path').setAttribute('d', bars.filter(Boolean).join(''))
  tell(card, events.findLast(({ text }) => text) ?? events.at(-1))
}

function tell(card, event) {
  if (event) card.querySelector('span').textContent = event.text || `${event.type} · ${event.channel}`
}

/** What there was before anybody looked: an application may be quiet for a while. */
async function remember() {
  const events = await (await fetch('/gallery/latest')).json()
  for (const event of events) {
    const arm = armOf(event.channel)
    if (cards[arm] && !counts[arm].some(Boolean)) tell(cards[arm], event)
  }
}

// -- what is said on hello -----------------------------------------------------------------------------------------------

const said = new Map() // ids of what this page published to when it did
const heard = new Map() // ids of the last that was heard to when it was, and where that is shown
let news = [] // heard since the last picture
const showNews = perFrame(drawNews)

function hear(words, id) {
  news = [...news.slice(1 - MAX_HEARD), { words, id, at: performance.now() }] // others may publish thousands
  showNews()
}

function drawNews() {
  for (const { words, id, at } of news) {
    river.add([{ arm: ARMS.length - 1, type: words.length > 32 ? `${words.slice(0, 31)}…` : words }], 0)
    const time = make('span', 'soft small', clock(Date.now()))
    byId('heard').prepend(make('li', 'new', make('span', 'words', words), time))
    heard.set(id, { at, time })
    settle(id)
  }
  news = []
  while (byId('heard').children.length > MAX_HEARD) byId('heard').lastChild.remove()
  for (const id of [...heard.keys()].slice(0, -20)) heard.delete(id)
  byId('silence').hidden = true
}

/** Say how long something took from this page back to it, once both its answer and the event are here. */
function settle(id) {
  if (!said.has(id) || !heard.has(id)) return
  const { at, time } = heard.get(id)
  time.textContent = `back after ${Math.max(1, Math.round(at - said.get(id)))} ms`
  byId('back').textContent = `Published, and ${time.textContent}`
  said.delete(id)
  heard.delete(id)
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
client.onStatus(({ state }) => showState(byId('state'), state))
client.connect()
remember().catch(() => {}) // then they say so themselves, soon
whileSeen(() => [client])
themeButton(byId('theme'))
byId('theme').addEventListener('click', () => river.recolour())
