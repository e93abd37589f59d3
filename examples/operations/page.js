// Operations: what three users see of one channel at the same time, and the channel itself.
//
// Each user has a stream of their own with their own token. Nothing here decides who sees what: the hub does.

import { createClient } from './client.js'
import { Tokens, byId, call, make, themeButton } from './live.js'

const base = (path) => new URL(path, document.baseURI).pathname
const API = base('api/v1')
const USERS = [
  { role: 'operator', name: 'Olga, operator' },
  { role: 'developer', name: 'Dan, developer' },
  { role: 'support', name: 'Sara, support' },
]
const PARTS = { servers: 'servers.read', incidents: 'incidents.read', automations: 'automations.read', logs: 'logs.read' }
const MAX_EVENTS = 60
const MAX_LINES = 80
const NEXT = { OPEN: 'INVESTIGATING', INVESTIGATING: 'RESOLVED', RESOLVED: 'OPEN' }
const STEP = { OPEN: 'Investigate', INVESTIGATING: 'Resolve', RESOLVED: 'Reopen' }
const LOOK = {
  UNKNOWN: '', SUCCESS: 'good', FAILED: 'bad', OPEN: 'bad', INVESTIGATING: 'warn', RESOLVED: 'good', RUNNING: 'warn busy', COMPLETED: 'good',
}
const STATES = { connecting: ['connecting', 'warn busy'], open: ['live', 'good'], waiting: ['reconnecting', 'warn busy'], polling: ['polling', 'warn'], closed: ['paused', ''], failed: ['refused', 'bad'] }

const time = (iso) => new Date(iso).toLocaleTimeString([], { hour12: false })

function pill(status) {
  return make('span', `pill ${LOOK[status] ?? ''}`, status.toLowerCase())
}

function button(text, label, action) {
  const made = make('button', 'button quiet', text)
  made.type = 'button'
  made.setAttribute('aria-label', label)
  made.addEventListener('click', () => act(action))
  return made
}

/** Do something as the operator, and say so if it is refused. */
async function act(action) {
  byId('banner').hidden = true
  try {
    await action()
  } catch (error) {
    byId('banner').textContent = error.message
    byId('banner').hidden = false
  }
}

// -- one user ------------------------------------------------------------------------------------------------------------

class User {
  constructor({ role, name }) {
    this.role = role
    this.held = new Set()
    this.waiting = null // events that came while the state was loaded
    this.rows = { servers: new Map(), incidents: new Map(), automations: new Map() }
    this.card = byId('user').content.firstElementChild.cloneNode(true)
    this.card.classList.add(role)
    this.card.setAttribute('aria-label', name)
    this.part('avatar').textContent = name[0]
    this.card.querySelector('h2').textContent = name
    byId('users').append(this.card)
    // Streamed while that works, polled while it does not.
    this.client = createClient({
      url: `${API}/events/stream`,
      token: ({ reason }) => this.token(reason !== 'connect'),
      probeEvery: 5000,
    })
    this.client.on('connected', () => this.isLoaded || act(() => this.load()))
    this.client.onReset(() => act(() => this.load()))
    this.client.on('*', ({ data, id }) => this.take(data, id))
    this.client.onStatus(({ state }) => this.showState(state))
  }

  part(name) {
    return this.card.querySelector(`.${name}`)
  }

  /** The token at hand, or a new one after the hub has refused it. */
  token(refresh) {
    if (refresh || !this.tokens) this.tokens = new Tokens(base(`operations/dev/token/${this.role}`))
    return this.tokens.get()
  }

  can(permission) {
    return this.held.has(permission)
  }

  async start() {
    const claims = JSON.parse(atob((await this.token()).split('.')[1].replaceAll('-', '+').replaceAll('_', '/')))
    this.held = new Set(claims.permissions)
    this.part('held').textContent = claims.permissions.join(' · ')
    for (const [part, permission] of Object.entries(PARTS)) {
      const place = this.part(part)
      place.classList.toggle('locked', !this.can(permission))
      if (!this.can(permission)) place.lastElementChild.replaceChildren(make('li', 'empty', `needs ${permission}`))
    }
    this.client.connect()
  }

  showState(state) {
    const shown = this.part('pill')
    const [word, look] = STATES[state] ?? STATES.waiting
    shown.textContent = word
    shown.className = `pill ${look}`
  }

  take(event, id) {
    record(id, event, this.role)
    if (this.waiting) this.waiting.push(event)
    else this.apply(event)
    if (this.role === 'operator' && !event.type.startsWith('log')) refreshStats()
  }

  apply(event) {
    HANDLERS[event.type]?.(this, event.data, event)
  }

  /** What there is now, with the events on top that came meanwhile: some of them are in it already, and do no harm. */
  async load() {
    this.isLoaded = true
    this.waiting ??= []
    try {
      await this.loadAll()
    } finally {
      const events = this.waiting
      this.waiting = null
      events.forEach((event) => this.apply(event))
    }
  }

  async loadAll() {
    const load = async (part, put) => {
      if (!this.can(PARTS[part])) return
      const found = await (await call(`${API}/${part}`, { tokens: this.tokens })).json()
      this.rows[part].clear()
      for (const each of found) put(each)
      this.draw(part)
    }
    await load('servers', (server) => this.rows.servers.set(server.id, server))
    await load('incidents', (incident) => this.rows.incidents.set(incident.id, incident))
    await load('automations', ({ name, title, description, lastRun }) =>
      this.rows.automations.set(name, { name, title, description, status: lastRun?.status, note: lastRun?.output.trim().split('\n').pop() }),
    )
  }

  put(part, id, changes) {
    const known = this.rows[part].get(id)
    this.rows[part].set(id, { ...known, id, ...changes })
    this.draw(part, id)
  }

  draw(part, changed) {
    const rows = [...this.rows[part].values()].sort(ORDER[part]).map((row) => DRAW[part](this, row, row.id === changed || row.name === changed))
    const none = { servers: 'None yet. Add one above.', incidents: 'All is well.' }
    this.part(part).lastElementChild.replaceChildren(...(rows.length ? rows : [make('li', 'empty', none[part])]))
  }

  say(level, source, message, timestamp) {
    const line = make('li', `line ${level}`, make('time', '', time(timestamp)), make('span', '', `${source}: ${message}`))
    const list = this.part('logs').lastElementChild
    list.append(line)
    if (list.children.length > MAX_LINES) list.firstElementChild.remove()
    list.scrollTop = list.scrollHeight
  }

  tell(message, timestamp) {
    const notice = this.part('told')
    notice.replaceChildren(make('strong', '', time(timestamp)), ` ${message}`)
    notice.hidden = false
  }
}

/** Incidents: the newest first, those that are resolved last. The others stay in the order in which they came. */
const ORDER = {
  incidents: (a, b) => (a.status === 'RESOLVED') - (b.status === 'RESOLVED') || b.createdAt.localeCompare(a.createdAt),
}

const HANDLERS = {
  'server.created': (user, { id, name, host, status }) => user.put('servers', id, { name, host, status }),
  'server.updated': (user, { id, name, changes }) => user.put('servers', id, { name, ...changes }),
  'server.status_changed': (user, { id, newStatus, message }) => user.put('servers', id, { status: newStatus, message }),
  'incident.created': (user, incident) => user.put('incidents', incident.id, incident),
  'incident.updated': (user, { id, changes }) => user.put('incidents', id, changes),
  'incident.status_changed': (user, { id, newStatus }) => user.put('incidents', id, { status: newStatus }),
  'automation.started': (user, { automation }) => user.put('automations', automation, { status: 'RUNNING', note: 'running' }),
  'automation.completed': (user, { automation, result }) => user.put('automations', automation, { status: 'COMPLETED', note: result }),
  'automation.failed': (user, { automation, error }) => user.put('automations', automation, { status: 'FAILED', note: error }),
  'log.added': (user, { source, level, message }, { timestamp }) => user.say(level, source, message, timestamp),
  'notification.sent': (user, { message }, { timestamp }) => user.tell(message, timestamp),
}

function row(title, note, status, action, isNew) {
  const words = make('div', 'words', make('strong', '', title), make('small', '', note || '\u00a0'))
  return make('li', isNew ? 'row new' : 'row', words, ...(status ? [pill(status)] : []), ...(action ? [action] : []))
}

const DRAW = {
  servers: (user, { id, name, host, status, message }, isNew) =>
    row(name, message || host, status, user.can('servers.write') && button('Test', `Test ${name}`, () => post(`servers/${id}/test`)), isNew),
  incidents: (user, { id, title, severity, status }, isNew) => {
    const step = () => post(`incidents/${id}/status`, { status: NEXT[status] }, user)
    return row(title, severity?.toLowerCase(), status, user.can('incidents.write') && button(STEP[status], `${STEP[status]}: ${title}`, step), isNew)
  },
  automations: (user, { name, title, description, status, note }, isNew) =>
    row(title, note || description, status, user.can('automations.run') && button('Run', `Run ${title}`, () => post(`automations/${name}/run`)), isNew),
}

// -- the channel ---------------------------------------------------------------------------------------------------------

const recorded = new Map() // event ids to their rows

/** Note that a user got an event. Whoever gets it first makes its row; the others are ticked when it reaches them. */
function record(id, event, role) {
  let line = recorded.get(id)
  if (!line) {
    const asks = event.permissions.length ? make('code', '', event.permissions.join(' ')) : make('em', '', 'nothing')
    const cells = USERS.map((user) => make('td', `who ${user.role}`, make('span', 'no', '–')))
    line = make('tr', 'new', make('td', 'time', time(event.timestamp)), make('td', '', make('code', '', event.type)), make('td', '', asks), ...cells)
    recorded.set(id, line)
    byId('events').prepend(line)
    byId('quiet').hidden = true
    if (recorded.size > MAX_EVENTS) {
      const [oldest] = recorded.keys()
      recorded.get(oldest).remove()
      recorded.delete(oldest)
    }
  }
  const tick = make('span', 'yes', '✓')
  tick.setAttribute('role', 'img')
  tick.setAttribute('aria-label', 'received')
  line.querySelector(`.${role}`).replaceChildren(tick)
}

// -- the operator's hands ------------------------------------------------------------------------------------------------

const users = USERS.map((user) => new User(user))
const [operator] = users

const post = (path, body = {}, user = operator) => call(`${API}/${path}`, { body, tokens: user.tokens })

let stats = 0

/** The dashboard's numbers, at most twice a second. However many browsers ask at the same time, it is one query. */
function refreshStats() {
  stats ||= setTimeout(async () => {
    stats = 0
    const found = await call(`${API}/dashboard/stats`, { tokens: operator.tokens }).then((response) => response.json()).catch(() => null)
    if (!found) return
    const { servers, incidents, runs } = found
    byId('up').textContent = `${servers.SUCCESS} of ${servers.SUCCESS + servers.FAILED + servers.UNKNOWN}`
    byId('open').textContent = incidents.OPEN + incidents.INVESTIGATING
    byId('runs').textContent = runs.COMPLETED + runs.FAILED + runs.RUNNING
  }, 500)
}

function onSubmit(id, send) {
  byId(id).addEventListener('submit', (event) => {
    event.preventDefault()
    act(send)
  })
}

onSubmit('incident', () => post('incidents', { title: byId('incident-title').value, severity: byId('severity').value }))
onSubmit('notify', () => post('notifications', { message: byId('message').value }))
onSubmit('server', () => post('servers', { name: byId('server-name').value, host: '127.0.0.1', port: Number(byId('port').value) }))
byId('port').value = location.port || 80

// A browser has six connections to one host (HTTP/1.1), and this page takes three: it gives them back while nobody looks.
document.addEventListener('visibilitychange', () => users.forEach(({ client }) => (document.hidden ? client.close() : client.connect())))

themeButton(byId('theme'))
act(async () => {
  await Promise.all(users.map((user) => user.start()))
  refreshStats()
})
