// Rooms: the log of one room as it is written, what its agents have made so far, and the other rooms.

import { Live, Tokens, byId, call, make, showState, themeButton } from './live.js'

const API = new URL('api/v1/rooms', document.baseURI).pathname
const AGENTS = ['story', 'asset', 'code', 'deploy', 'orchestrator']
const LEVELS = ['info', 'success', 'warn', 'error']
const WORK = { story: 'writes a ghost story', asset: 'draws the house', code: 'writes a tour and runs it', deploy: 'packs it all' }
const MADE = { story: 'story.md', asset: 'house.svg', code: 'tour.py', deploy: 'room.zip' }
const FILES = Object.values(MADE)
const MAX_LINES = 2000

const tokens = new Tokens(new URL('rooms/dev/token', document.baseURI).pathname)
const shown = { levels: new Set(LEVELS), agent: '', text: '' }
let room = null // the one looked at
let live = null
let lines = [] // { log, element }
let offered = new Set() // its files
let away = null // lines that were there when the connection was lost

const get = async (path = '') => (await call(API + path, { tokens })).json()

// -- one room ------------------------------------------------------------------------------------------------------------

async function look(id) {
  live?.close()
  try {
    room = await get(`/${encodeURIComponent(id)}`)
  } catch (error) {
    return say('bad', error.message)
  }
  history.replaceState(null, '', `#${room.id}`)
  lines = []
  offered = new Set()
  away = null
  byId('lines').replaceChildren()
  byId('empty').hidden = false
  byId('picture').hidden = true
  byId('nothing').hidden = false
  byId('story').textContent = ''
  byId('files').replaceChildren()
  byId('room-title').textContent = room.title
  byId('room-about').textContent = [`room ${room.id}`, ...(room.words.length ? [`words: ${room.words.join(', ')}`] : [])].join(' · ')
  drawStages()
  showStatus()
  markCurrent()
  live = new Live({
    path: `${API}/${room.id}/logs`,
    query: { since: 'all' },
    token: tokens.get,
    types: ['connected', 'log', 'heartbeat', 'reset'],
    onState,
    onEvent: (type, data, event) => {
      if (type === 'log') take(data, event.lastEventId)
      if (type === 'reset') gap(`Older lines are no longer there (${data.reason})`)
    },
  })
  live.open()
}

function onState(state) {
  showState(byId('state'), state)
  if (state === 'waiting' && away === null && lines.length) {
    away = lines.length
    say('warn', 'The connection is lost. It comes back by itself, and no line will be missing.')
  }
  if (state === 'open' && away !== null) setTimeout(welcome, 400)
}

function welcome() {
  if (away === null) return
  const missed = lines.length - away
  say('good', missed ? `Back. ${missed} ${missed === 1 ? 'line was' : 'lines were'} caught up with.` : 'Back. Nothing was missed.')
  away = null
  setTimeout(() => say(''), 6000)
  refresh()
}

function say(look, text = '') {
  byId('banner').textContent = text
  byId('banner').className = `banner ${look}`
  byId('banner').hidden = !text
}

// -- the log -------------------------------------------------------------------------------------------------------------

function take(log, id) {
  const element = line(log)
  element.dataset.id = id
  lines.push({ log, element })
  byId('empty').hidden = true
  byId('lines').append(element)
  if (lines.length > MAX_LINES) lines.shift().element.remove()
  element.hidden = !isShown(log)
  if (log.agentType === 'orchestrator') progress(log)
  else if (log.level === 'success' && log.metadata?.file) offer(log.metadata.file)
  settle()
}

let settling = 0

/** Counts and scrolls once per picture, however many lines came: a replay brings thousands. */
function settle() {
  settling ||= requestAnimationFrame(() => {
    settling = 0
    countLines()
    if (byId('follow').checked) byId('log').scrollTop = byId('log').scrollHeight
  })
}

function line({ timestamp, agentType, level, message, metadata }) {
  const time = make('time', '', new Date(timestamp).toLocaleTimeString([], { hour12: false }))
  time.dateTime = timestamp
  const said = make('span', 'message', message)
  const facts = Object.entries(metadata ?? {}).filter(([name, value]) => !isSaid(name, value, message))
  if (facts.length) said.append(make('span', 'meta', ...facts.map(([name, value]) => make('span', '', `${name} ${brief(value)}`))))
  const element = make('li', `line new ${level}`, time, make('span', `agent ${agentType}`, agentType), said)
  element.title = `${timestamp} ${level}`
  return element
}

/** Whether the message says it anyway, or it is for programs only. */
const isSaid = (name, value, message) =>
  ['agent', 'state', 'finished'].includes(name) || (name === 'attempt' && value === 1) || message.includes(brief(value))

function brief(value) {
  const text = typeof value === 'string' ? value : Array.isArray(value) ? value.join(', ') : JSON.stringify(value)
  return text.length > 40 ? `${text.slice(0, 39)}…` : text
}

function gap(text) {
  byId('lines').append(make('li', 'gap', text))
}

const isShown = ({ level, agentType, message, metadata }) =>
  shown.levels.has(level) &&
  (!shown.agent || shown.agent === agentType) &&
  (!shown.text || `${message} ${JSON.stringify(metadata ?? '')}`.toLowerCase().includes(shown.text))

function filter() {
  for (const { log, element } of lines) element.hidden = !isShown(log)
  countLines()
}

function countLines() {
  const visible = lines.filter(({ log }) => isShown(log)).length
  const all = `${lines.length} ${lines.length === 1 ? 'line' : 'lines'}`
  byId('count').textContent = visible === lines.length ? all : `${visible} of ${all}`
  for (const level of LEVELS) {
    byId(`level-${level}`).textContent = `${level} ${lines.filter(({ log }) => log.level === level).length}`
  }
}

// -- the agents and what they make ---------------------------------------------------------------------------------------

function drawStages() {
  byId('stages').replaceChildren(
    ...AGENTS.slice(0, 4).map((agent) => {
      const stage = make('li', '', make('strong', '', agent), make('small', '', WORK[agent]))
      stage.id = `stage-${agent}`
      return stage
    }),
  )
}

function progress({ metadata }) {
  const { agent, state, attempt, seconds, finished = [] } = metadata ?? {}
  for (const each of finished) {
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
  byId('list').replaceChildren(
    ...rooms.map((each) => {
      const time = new Date(each.createdAt).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hour12: false })
      const name = make('span', '', make('strong', '', each.title), make('small', '', `${each.status} · ${time}`))
      const button = make('button', '', make('span', 'dot'), name)
      button.type = 'button'
      button.dataset.id = each.id
      button.addEventListener('click', () => look(each.id))
      return make('li', each.status, button)
    }),
  )
  markCurrent()
  return rooms
}

function markCurrent() {
  for (const button of byId('list').querySelectorAll('button')) {
    button.setAttribute('aria-current', String(button.dataset.id === room?.id))
  }
}

async function create(title, words) {
  const body = { words, ...(title && { title }) }
  const made = await (await call(API, { tokens, body })).json()
  await refresh()
  await look(made.id)
}

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
  const button = make('button', level, level)
  button.type = 'button'
  button.id = `level-${level}`
  button.setAttribute('aria-pressed', 'true')
  button.addEventListener('click', () => {
    if (!shown.levels.delete(level)) shown.levels.add(level)
    button.setAttribute('aria-pressed', String(shown.levels.has(level)))
    filter()
  })
  byId('levels').append(button)
}
for (const agent of AGENTS) byId('agent').append(make('option', '', agent))
byId('agent').addEventListener('change', () => {
  shown.agent = byId('agent').value
  filter()
})
byId('search').addEventListener('input', () => {
  shown.text = byId('search').value.toLowerCase()
  filter()
})
byId('log').addEventListener('wheel', () => {
  const log = byId('log')
  byId('follow').checked = log.scrollTop + log.clientHeight > log.scrollHeight - 80
})
themeButton(byId('theme'))
drawStages()
countLines()
setInterval(() => document.hidden || refresh(), 10_000)

try {
  await tokens.get()
  const rooms = await refresh()
  const wanted = location.hash.slice(1)
  if (wanted) await look(wanted)
  else if (rooms.length) await look(rooms[0].id)
  else await create('', [])
} catch (error) {
  say('bad', error.message)
}
