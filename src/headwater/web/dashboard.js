// The dashboard: what a hub does, live, from its own stream of samples; lists, a closer look, and explanations on request.
//
// Wires the parts together. The stream is an ordinary one, read with the browser's client: it begins with the last ten minutes,
// resumes by id, and pauses while nobody looks at the page.

import { createClient } from './client.js'
import { Banner, byId, clock, make, perFrame, showState, themeButton } from './parts.js'
import { Chart } from './dashboard-charts.js'
import { Explainer } from './dashboard-explain.js'
import { History, bytes, count, milliseconds, minutes, short } from './dashboard-figures.js'
import { channelList, streamList } from './dashboard-lists.js'
import { Drawer } from './dashboard-look.js'
import { ask, base, onNode, session } from './dashboard-session.js'

const past = new History()
const banner = new Banner(byId('banner'), ['sample', 'samples'])
const explainer = new Explainer()
const drawer = new Drawer(byId('look'), (question) => explainer.open(question))
let client = null

// -- charts and figures --------------------------------------------------------------------------------------------------

const perSecond = (value) => (value == null ? '–' : `${short(value)}/s`)

const charts = [
  ['events', { name: 'Events per second', kind: 'line', format: short, series: [{ key: 'events', name: 'received', look: 'one' }, { key: 'published', name: 'published here', look: 'two' }] }],
  ['deliveries', { name: 'Deliveries per second', kind: 'line', format: short, series: [{ key: 'deliveries', name: 'live', look: 'one' }, { key: 'replayed', name: 'caught up', look: 'three' }] }],
  ['latency', { name: 'Delivery latency', kind: 'line', format: milliseconds, series: [{ key: 'p50', name: 'p50', look: 'one' }, { key: 'p99', name: 'p99', look: 'three' }] }],
  ['streams', { name: 'Open streams', kind: 'stack', format: short, series: [{ key: 'live', name: 'live', look: 'one' }, { key: 'replaying', name: 'catching up', look: 'two' }, { key: 'lagging', name: 'lagging', look: 'four' }] }],
  ['resets', { name: 'Resets and full sockets', kind: 'bars', format: short, series: [{ key: 'resets', name: 'resets', look: 'four' }, { key: 'full', name: 'sockets full', look: 'three' }] }],
  ['rejections', { name: 'Rejections and endings', kind: 'bars', format: short, series: [{ key: 'rejections', name: 'rejected', look: 'four' }, { key: 'ended', name: 'streams ended', look: 'two' }] }],
].map(([id, options]) => new Chart(byId(`chart-${id}`), options))

const range = () => Number(document.querySelector('[name=range]:checked').value)

const draw = perFrame(() => {
  const seconds = past.span(range())
  const points = past.last(seconds)
  for (const chart of charts) chart.show(points, seconds)
  if (past.latest) showSnapshot(past.latest, past.points.at(-1))
})

for (const radio of document.querySelectorAll('[name=range]')) radio.addEventListener('change', draw)

function put(id, words) {
  const element = byId(id)
  if (element.textContent !== words) element.textContent = words
}

function showSnapshot({ node, sample, pulse, refused }, point) {
  const now = sample.statistics
  put('node', `${node.host} · ${node.pid}`)
  put('version', node.version)
  put('figure-events', perSecond(point?.events))
  put('figure-deliveries', perSecond(point?.deliveries))
  put('figure-latency', milliseconds(point?.p99))
  put('figure-streams', count(now.streams))
  put('figure-channels', count(now.channels))
  put('figure-lagging', count(now.lagging))
  put('figure-behind', pulse?.answers ? count(pulse.behind) : '–')
  put('figure-sent', point ? `${bytes(point.bytes)}/s` : '–')
  put('broker-kind', node.broker)
  put('broker-node', pulse?.here ?? `${now.epoch}-${now.position}`)
  put('broker-head', pulse?.head ?? '–')
  put('broker-behind', pulse?.answers ? count(pulse.behind) : '–')
  put('broker-time', milliseconds(pulse?.ms))
  put('broker-can', node.can.join(', ') || 'nothing besides')
  put('ring', bytes(now.ring_bytes))
  put('views', count(now.views))
  const pill = byId('broker-state')
  const [word, look] = now.draining ? ['shutting down', 'warn'] : !pulse ? ['not asked yet', ''] : pulse.answers ? ['answers', 'good'] : ['does not answer', 'bad']
  put('broker-state', word)
  pill.className = `pill ${look}`
  tally('ended', now.ended)
  tally('reset', now.resets)
  tally('rejected', now.rejections)
  tally('limited', refused ?? {})
  if (node.can.includes('count')) tally('troubles', now.broker)
  else tally('troubles', {}, 'not counted by this kind of broker')
}

/** Counts by reason, the largest first. */
function tally(id, counts, none = 'none') {
  const place = byId(`tally-${id}`)
  const rows = Object.entries(counts).filter(([, number]) => number).sort(([, a], [, b]) => b - a)
  const text = JSON.stringify(rows)
  if (place.dataset.shown === text) return
  place.dataset.shown = text
  place.replaceChildren(...(rows.length ? rows.map(([name, number]) => make('div', '', make('dt', '', name.replaceAll('_', ' ')), make('dd', '', count(number)))) : [make('div', 'soft', make('dt', '', none))]))
}

byId('as-table').addEventListener('toggle', () => showTable())

function showTable() {
  if (!byId('as-table').open) return
  const cell = (words) => make('td', 'number', words)
  byId('minutes').replaceChildren(
    ...minutes(past.points).map((row) => {
      const head = make('th', '', clock(row.time).slice(0, 5))
      head.scope = 'row'
      return make('tr', '', head, cell(perSecond(row.events)), cell(perSecond(row.deliveries)), cell(count(row.streams)), cell(milliseconds(row.p99)), cell(count(row.resets)), cell(count(row.rejections)))
    }),
  )
}
setInterval(showTable, 10_000)

// -- lists ---------------------------------------------------------------------------------------------------------------

const orderOf = (name) => () => byId(`${name}-order`).value

const lists = {
  channels: channelList({
    ...{ body: byId('channels-body'), foot: byId('channels-foot'), search: byId('channels-search'), order: orderOf('channels') },
    onOpen: ({ name }) => drawer.open('channel', name),
    onError: listError('channels'),
  }),
  streams: streamList({
    ...{ body: byId('streams-body'), foot: byId('streams-foot'), search: byId('streams-search'), order: orderOf('streams') },
    onOpen: ({ id }) => drawer.open('stream', id),
    onError: listError('streams'),
  }),
}

for (const [name, list] of Object.entries(lists)) byId(`${name}-order`).addEventListener('change', () => list.refresh())

function listError(name) {
  return (error) => (error.status === 401 || error.status === 403 ? refuse(error) : put(`${name}-foot`, error.message))
}

function setLists(isOn) {
  for (const list of Object.values(lists)) list.isOn = isOn
}

// Behind one address there may be several processes, and each request reaches one of them.
const OTHERS = 2 // answers of others until this is told
let own = null
let others = 0

function sampleFrom({ host, pid }) {
  if (own !== `${host}/${pid}`) others = 0 // it was replaced; its successor has answered already
  own = `${host}/${pid}`
  if (!others) byId('several').hidden = true
}

onNode((name) => {
  others += own !== null && name !== own
  if (others >= OTHERS) byId('several').hidden = false
})

// -- who looks -----------------------------------------------------------------------------------------------------------

function connect() {
  client?.close()
  past.clear()
  banner.begin()
  client = createClient({ url: new URL('dashboard/events?since=all', base), token: () => session.token, silence: 20_000 })
  client.on('sample', ({ data }) => {
    banner.heard()
    past.push(data)
    sampleFrom(data.node)
    draw()
  })
  client.onReset(connect) // another life of the process, with a history of its own
  client.onStatus((status) => {
    showState(byId('state'), status.state)
    if (status.state === 'failed') return refuse(status.error)
    banner.onStatus(client, status)
  })
  client.connect()
}

/** Show the page's door, with what is wrong if something is. */
function refuse({ status, message } = {}) {
  setLists(false)
  client?.close()
  const isWrong = Boolean(session.token)
  byId('board').hidden = true
  byId('gate').hidden = false
  byId('leave').hidden = true
  const words = { 401: isWrong ? 'The hub does not accept this token.' : '', 403: 'The hub knows this token, but it does not hold the permission headwater.admin.' }[status] ?? 'The hub does not let you in.'
  const note = byId('refused')
  note.hidden = !words
  note.textContent = [words, status === 401 && !isWrong ? '' : message].filter(Boolean).join(' ')
  showState(byId('state'), 'idle')
  byId('state').textContent = status === 403 ? 'no administrator' : 'token needed'
  byId('state').className = 'pill warn'
  byId('token').focus()
}

async function enter() {
  try {
    await ask('stats')
  } catch (error) {
    if (error.status === 401 || error.status === 403) return refuse(error)
    // Anything else may pass: the client keeps trying, and says so.
  }
  byId('gate').hidden = true
  byId('board').hidden = false
  byId('leave').hidden = !session.token
  connect()
  setLists(true)
  drawer.openFromAddress()
}

byId('gate').addEventListener('submit', (event) => {
  event.preventDefault()
  session.token = byId('token').value.trim()
  byId('token').value = ''
  enter()
})
byId('leave').addEventListener('click', () => {
  session.token = null
  byId('look').close()
  refuse({ status: 401 })
})

document.addEventListener('visibilitychange', () => {
  if (byId('board').hidden || !client) return
  if (document.hidden) client.close()
  else client.connect()
  setLists(!document.hidden)
})

themeButton(byId('theme'))
enter()
