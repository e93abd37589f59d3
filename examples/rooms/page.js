// Rooms: the log of one room as it is written, what its agents have made so far, and the other rooms.

import { createClient } from './client.js'
import { Banner, Feed, Tokens, byId, call, clock, make, showChoices, showState, some, themeButton, whileSeen } from './live.js'

const API = new URL('api/v1/rooms', document.baseURI).pathname
const AGENTS = ['story', 'asset', 'code', 'deploy', 'orchestrator']
const LEVELS = ['info', 'success', 'warn', 'error']
const WORK = { story: 'writes a ghost story', asset: 'draws the house', code: 'writes a tour and runs it', deploy: 'packs it all' }
const MADE = { story: 'story.md', asset: 'house.svg', code: 'tour.py', deploy: 'room.zip' }
const FILES = Object.values(MADE)
const LINES = ['line', 'lines']
const HEARTBEAT = 30_000 // ms, as documented

const tokens = new Tokens(new URL('rooms/dev/token', document.baseURI).pathname)
const wanted = { levels: new Set(LEVELS), agent: '', text: '' }
const banner = new Banner(byId('banner'), LINES)
const log = new Feed({
  box: byId('log'),
  list: byId('lines'),
  below: byId('below'),
  summary: byId('summary'),
  names: LINES,
  draw: (line) => (line.reason ? make('li', 'gap', `Older lines are no longer there (${line.reason})`) : drawLine(line)),
  isShown,
  onDrawn: showCounts,
})
let room = null // the one looked at
let client = null
let levels = {} // how many lines of each
let offered = new Set() // its files
let began = null // when the stream began: by the server's clock, and by ours
let last = null // the last line, and when it came

const get = async (path = '') => (await call(API + path, { tokens })).json()

// -- one room ------------------------------------------------------------------------------------------------------------

async function look(id) {
  const found = await get(`/${encodeURIComponent(id)}`)
  client?.close()
  room = found
  history.replaceState(null, '', `#${room.id}`)
  clear()
  byId('room-title').textContent = room.title
  byId('room-about').textContent = [`room ${room.id}`, ...(room.words.length ? [`words: ${room.words.join(', ')}`] : [])].join(' · ')
  drawStages()
  showStatus()
  refresh()
  follow()
}

function clear() {
  banner.begin()
  levels = Object.fromEntries(LEVELS.map((level) => [level, 0]))
  offered = new Set()
  began = last = null
  log.clear()
  byId('picture').hidden = true
  byId('nothing').hidden = false
  byId('story').textContent = ''
  byId('files').replaceChildren()
}

/** The whole log, and then whatever comes. Streamed while that works, polled while it does not. */
function follow() {
  const mine = createClient({
    url: `${API}/${room.id}/logs?since=all`,
    token: ({ reason }) => tokens.get(reason !== 'connect'),
    silence: 2.5 * HEARTBEAT,
    probeEvery: 5000,
  })
  mine.on('connected', ({ data }) => {
    began = { there: Date.parse(data.timestamp), here: Date.now() } // polls do not tell: then this is NaN
    showCounts()
  })
  mine.on('log', ({ data, id }) => take(data, id))
  mine.onReset(({ reason }) => log.add({ reason }))
  mine.onStatus((status) => {
    showState(byId('state'), status.state)
    banner.onStatus(mine, status, refresh)
  })
  client = mine
  client.connect()
}

function take(data, id) {
  banner.heard()
  levels[data.level] += 1
  last = { id, timestamp: Date.parse(data.timestamp), at: Date.now() }
  log.add({ ...data, message: String(data.message), id })
  if (data.agentType === 'orchestrator') progress(data)
  else if (data.level === 'success' && data.metadata?.file) offer(data.metadata.file)
}

// -- the log -------------------------------------------------------------------------------------------------------------

function drawLine({ id, timestamp, agentType, level, message, metadata }) {
  const time = make('time', '', clock(timestamp))
  time.dateTime = timestamp
  const said = make('span', 'message', message)
  const facts = Object.entries(metadata ?? {}).filter(([name, value]) => !isSaid(name, value, message))
  if (facts.length) said.append(make('span', 'meta', ...facts.map(([name, value]) => make('span', '', `${name} ${brief(value)}`))))
  const element = make('li', `line ${level}`, time, make('span', `agent ${agentType}`, agentType), said)
  element.title = `${timestamp} ${level}`
  element.dataset.id = id
  return element
}

/** Whether the message says it anyway, or it is for programs only. */
const isSaid = (name, value, message) =>
  name === 'agent' || name === 'state' || name === 'finished' || typeof value === 'boolean' || message.includes(brief(value))

function brief(value) {
  const text = typeof value === 'string' ? value : Array.isArray(value) ? value.join(', ') : JSON.stringify(value)
  return text.length > 40 ? `${text.slice(0, 39)}…` : text
}

function isShown({ reason, level, agentType, message, metadata }) {
  const { levels, agent, text } = wanted
  if (reason) return true
  if (!levels.has(level) || (agent && agent !== agentType)) return false
  return !text || `${message} ${JSON.stringify(metadata ?? '')}`.toLowerCase().includes(text)
}

function showCounts() {
  const kept = log.rows.length
  const all = some(kept, LINES)
  const shown = log.visible === kept ? all : `${log.visible.toLocaleString()} of ${all}`
  byId('count').textContent = log.dropped ? `${shown}, the last of ${(kept + log.dropped).toLocaleString()}` : shown
  byId('empty').hidden = log.visible > 0
  byId('empty').textContent = kept ? 'No line is like that.' : began ? 'Nobody has said anything yet.' : 'Asking for the log …'
  for (const level of LEVELS) byId(`level-${level}`).lastChild.textContent = (levels[level] ?? 0).toLocaleString()
  byId('cursor').textContent = last?.id ?? '–'
  byId('lag').textContent = lag()
}

/** How long the last line took, if it came while we listened. The server's clock may be another one than ours. */
function lag() {
  if (!last || !began || !(last.timestamp >= began.there)) return '–'
  return `${Math.max(1, last.at - began.here - (last.timestamp - began.there))} ms`
}

// -- the agents and what they make ---------------------------------------------------------------------------------------

function drawStages() {
  const stage = (agent) => {
    const made = make('li', '', make('strong', `agent ${agent}`, agent), make('small', '', WORK[agent]))
    made.id = `stage-${agent}`
    return made
  }
  byId('stages').replaceChildren(...AGENTS.slice(0, 4).map(stage))
  showProgress()
}

function progress({ metadata }) {
  const { agent, state, attempt, seconds, finished = [] } = metadata ?? {}
  for (const each of finished.filter((each) => MADE[each])) {
    byId(`stage-${each}`).className = 'done'
    offer(MADE[each])
  }
  if (agent && state && WORK[agent]) {
    const stage = byId(`stage-${agent}`)
    stage.className = state
    const note = { running: attempt > 1 ? `attempt ${attempt}` : WORK[agent], done: `${seconds} s`, failed: 'gave up' }
    stage.lastChild.textContent = note[state]
  } else if (state) {
    room.status = state
    showStatus()
    refresh()
  }
  showProgress()
}

function showProgress() {
  const done = byId('stages').querySelectorAll('.done').length
  byId('progress').value = done
  byId('finished').textContent = `${done} of ${AGENTS.length - 1} agents have finished`
}

function showStatus() {
  const look = { building: 'warn busy', ready: 'good', failed: 'bad' }
  byId('status').textContent = room.status
  byId('status').className = `pill ${look[room.status]}`
}

async function offer(file) {
  const current = room
  if (offered.has(file)) return
  offered.add(file)
  const response = await call(`${API}/${room.id}/files/${encodeURIComponent(file)}`, { tokens }).catch(() => null)
  if (!response || room !== current) return
  const blob = await response.blob()
  const link = make('a', 'button', file)
  link.href = URL.createObjectURL(blob)
  link.download = file
  link.id = file
  const later = FILES.slice(FILES.indexOf(file) + 1).map(byId).find(Boolean)
  byId('files').insertBefore(link, later ?? null)
  byId('nothing').hidden = true
  if (file === 'story.md') byId('story').textContent = (await blob.text()).split('\n').slice(2).join('\n').trim()
  if (file === 'house.svg') {
    byId('picture').src = link.href
    byId('picture').hidden = false
  }
}

// -- all rooms -----------------------------------------------------------------------------------------------------------

async function refresh() {
  const rooms = await get().catch(() => null)
  if (!rooms) return [] // the server is away: what is shown stays
  byId('no-rooms').hidden = rooms.length > 0
  const choices = rooms.map(({ id, title, createdAt, ...each }) => {
    const status = id === room?.id ? room.status : each.status // the log knows first
    return { id, title, look: status, note: `${status} · ${clock(createdAt).slice(0, 5)}` }
  })
  showChoices(byId('list'), choices, room?.id, (id) => attempt(() => look(id)))
  return rooms
}

async function create(title, words) {
  const body = { words, ...(title && { title }) }
  const made = await (await call(API, { tokens, body })).json()
  await look(made.id)
}

/** Do something, and say so if it is refused. */
const attempt = (action) => action().catch((error) => banner.say('bad', error.message))

byId('new').addEventListener('submit', async (event) => {
  event.preventDefault()
  byId('refused').hidden = true
  try {
    await create(byId('title').value.trim(), byId('words').value.split(/[\s,;]+/).filter(Boolean))
    event.target.reset()
  } catch (error) {
    byId('refused').textContent = error.message
    byId('refused').hidden = false
  }
})

// -- start ---------------------------------------------------------------------------------------------------------------

for (const level of LEVELS) {
  const button = make('button', level, `${level} `, make('span', '', '0'))
  button.type = 'button'
  button.id = `level-${level}`
  button.setAttribute('aria-pressed', 'true')
  button.addEventListener('click', () => {
    if (!wanted.levels.delete(level)) wanted.levels.add(level)
    button.setAttribute('aria-pressed', String(wanted.levels.has(level)))
    log.filter()
  })
  byId('levels').append(button)
}
for (const agent of AGENTS) byId('agent').append(make('option', '', agent))
byId('agent').addEventListener('change', () => {
  wanted.agent = byId('agent').value
  log.filter()
})
byId('search').addEventListener('input', () => {
  wanted.text = byId('search').value.toLowerCase()
  log.filter()
})
themeButton(byId('theme'))
drawStages()
showCounts()
whileSeen(() => (client ? [client] : []))
setInterval(() => document.hidden || refresh(), 10_000)

await attempt(async () => {
  await tokens.get()
  const rooms = await refresh()
  const asked = rooms.find(({ id }) => id === location.hash.slice(1)) ?? rooms[0]
  if (asked) await look(asked.id)
  else await create('', [])
})
