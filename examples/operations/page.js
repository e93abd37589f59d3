// Operations: what three users see of one channel at the same time, and the channel itself.
//
// Each user has a stream of their own with their own token. Nothing here decides who sees what: the hub does.

import { Channel } from './channel.js'
import { createClient } from './client.js'
import { Banner, Tokens, byId, call, clock, make, perFrame, showState, themeButton, whileSeen } from './live.js'

const base = (path) => new URL(path, document.baseURI).pathname
const API = base('api/v1')
const USERS = [
  { role: 'operator', name: 'Olga' },
  { role: 'developer', name: 'Dan' },
  { role: 'support', name: 'Sara' },
]
const PARTS = { servers: 'servers.read', incidents: 'incidents.read', automations: 'automations.read', logs: 'logs.read' }
const MAX_LINES = 80
const NEAR = 24 // px from the end of the log that count as the end
const NEXT = { OPEN: 'INVESTIGATING', INVESTIGATING: 'RESOLVED', RESOLVED: 'OPEN' }
const STEP = { OPEN: 'Investigate', INVESTIGATING: 'Resolve', RESOLVED: 'Reopen' }
const LOOK = {
  UNKNOWN: '', SUCCESS: 'good', FAILED: 'bad', OPEN: 'bad', INVESTIGATING: 'warn', RESOLVED: 'good', RUNNING: 'warn busy', COMPLETED: 'good',
}
const MAX_ROWS = 6 // of servers, and of incidents; the rest is counted

const banner = new Banner(byId('banner'), ['event', 'events'])

function pill(status) {
  return make('span', `pill ${LOOK[status] ?? ''}`, status.toLowerCase())
}

/** A button that does something, and does not lose the focus when its row is made anew. */
function button(key, text, label, action) {
  const made = make('button', 'button quiet', text)
  made.type = 'button'
  made.dataset.key = key
  made.setAttribute('aria-label', label)
  made.addEventListener('click', () => act(action))
  return made
}

/** Do something as the operator, and say so if it is refused. */
async function act(action) {
  try {
    await action()
  } catch (error) {
    banner.say('bad', error.message)
  }
}

// -- one user ------------------------------------------------------------------------------------------------------------

class User {
  constructor({ role, name }) {
    this.role = role
    this.name = name
    this.held = new Set()
    this.got = 0 // events
    this.waiting = null // events that came while the state was loaded
    this.rows = { servers: new Map(), incidents: new Map(), automations: new Map() }
    this.changed = { servers: new Set(), incidents: new Set(), automations: new Set() } // ids of rows, since the last picture
    this.unsaid = [] // lines of the log, likewise
    this.schedule = perFrame(() => this.drawChanges())
    this.card = byId('user').content.firstElementChild.cloneNode(true)
    this.card.classList.add(role)
    this.card.setAttribute('aria-label', `${name}, ${role}`)
    this.part('avatar').textContent = name[0]
    this.card.querySelector('h2').append(name, make('span', 'soft', ` ${role}`))
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
    this.client.onStatus((status) => {
      showState(this.part('pill'), status.state)
      if (role === 'operator') banner.onStatus(this.client, status)
    })
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
    for (const [part, permission] of Object.entries(PARTS)) {
      if (this.can(permission)) continue
      this.part(part).classList.add('locked')
      this.part(part).lastElementChild.replaceWith(this.lock(permission))
    }
    if (this.can(PARTS.logs)) Object.assign(this.part('logs').lastElementChild, { tabIndex: 0, ariaLabel: `Log, as ${this.name} sees it`, role: 'log' })
    this.client.connect()
  }

  /** Every permission that somebody holds, in one order: ticked, or struck out. */
  showHeld(all) {
    this.part('held').replaceChildren(...all.map((permission) => {
      const made = make('li', this.can(permission) ? 'yes' : '', make('span', '', permission))
      made.dataset.permission = permission
      made.prepend(make('span', 'visually-hidden', this.can(permission) ? 'holds' : 'does not hold'))
      return made
    }))
  }

  /** What stands in the place of what somebody may not see. */
  lock(permission) {
    const made = byId('locked').content.firstElementChild.cloneNode(true)
    made.querySelector('.why').append(`${this.name} does not hold `, make('code', '', permission))
    made.dataset.permission = permission
    return made
  }

  take(event, id) {
    channel.record(id, event, this)
    if (this.role === 'operator') banner.heard()
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
    if (!known && part !== 'automations' && !changes.host && !changes.createdAt) return // it is older than what was loaded
    this.rows[part].set(id, { ...known, id, ...changes })
    this.changed[part].add(id)
    this.schedule()
  }

  /** What has come since the last picture, however much that is. */
  drawChanges() {
    for (const [part, ids] of Object.entries(this.changed)) {
      if (ids.size) this.draw(part, ids)
      ids.clear()
    }
    const lines = this.unsaid.splice(0).slice(-MAX_LINES)
    if (!lines.length) return
    const list = this.part('logs').lastElementChild
    const isAtEnd = list.scrollTop + list.clientHeight > list.scrollHeight - NEAR
    list.append(...lines.map((line) => this.line(line)))
    while (list.children.length > MAX_LINES) list.firstElementChild.remove()
    if (isAtEnd) list.scrollTop = list.scrollHeight
  }

  line({ level, source, message, timestamp }) {
    return make('li', `line ${level}`, make('time', '', clock(timestamp)), make('span', '', `${source}: ${message}`))
  }

  draw(part, changed = new Set()) {
    const all = [...this.rows[part].values()].sort(ORDER[part])
    const rows = all.slice(0, MAX_ROWS).map((row) => DRAW[part](this, row, changed.has(row.id ?? row.name)))
    if (all.length > MAX_ROWS) rows.push(make('li', 'empty', `and ${all.length - MAX_ROWS} more`))
    const none = { servers: 'None yet. Add one above.', incidents: 'All is well.' }
    const focused = this.card.contains(document.activeElement) && document.activeElement.dataset.key
    this.part(part).lastElementChild.replaceChildren(...(rows.length ? rows : [make('li', 'empty', none[part])]))
    if (focused) this.card.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true })
  }

  say(line) {
    this.unsaid.push(line)
    if (this.unsaid.length > 2 * MAX_LINES) this.unsaid = this.unsaid.slice(-MAX_LINES)
    this.schedule()
  }

  tell(message, timestamp) {
    const notice = this.part('told')
    notice.replaceChildren(make('strong', '', clock(timestamp)), ` ${message}`)
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
  'log.added': (user, { source, level, message }, { timestamp }) => user.say({ level, source, message, timestamp }),
  'notification.sent': (user, { message }, { timestamp }) => user.tell(message, timestamp),
}

function row(title, note, status, action, isNew) {
  const words = make('div', 'words', make('strong', '', title), make('small', '', note || '\u00a0'))
  words.title = title
  return make('li', isNew ? 'row new' : 'row', words, ...(status ? [pill(status)] : []), ...(action ? [action] : []))
}

const DRAW = {
  servers: (user, { id, name, host, status, message }, isNew) =>
    row(name, message || host, status, user.can('servers.write') && button(`servers/${id}`, 'Test', `Test ${name}`, () => post(`servers/${id}/test`)), isNew),
  incidents: (user, { id, title, severity, status }, isNew) => {
    const step = () => post(`incidents/${id}/status`, { status: NEXT[status] }, user)
    return row(title, make('span', status === 'RESOLVED' ? 'level over' : `level ${severity}`, `${severity?.toLowerCase()} severity`), status, user.can('incidents.write') && button(`incidents/${id}`, STEP[status], `${STEP[status]}: ${title}`, step), isNew)
  },
  automations: (user, { name, title, description, status, note }, isNew) =>
    row(title, note || description, status, user.can('automations.run') && button(`automations/${name}`, 'Run', `Run ${title}`, () => post(`automations/${name}/run`)), isNew),
}

// -- the operator's hands ------------------------------------------------------------------------------------------------

const users = USERS.map((user) => new User(user))
const [operator] = users
const channel = new Channel(users)

const post = (path, body = {}, user = operator) => call(`${API}/${path}`, { body, tokens: user.tokens })

let stats = 0

/** The dashboard's numbers, at most twice a second. However many browsers ask at the same time, it is one query. */
function refreshStats() {
  stats ||= setTimeout(async () => {
    stats = 0
    const found = await call(`${API}/dashboard/stats`, { tokens: operator.tokens }).then((response) => response.json()).catch(() => null)
    if (!found) return
    const { servers, incidents, runs } = found
    tile('up', servers.SUCCESS, 'of', `of ${servers.SUCCESS + servers.FAILED + servers.UNKNOWN}`, servers.FAILED ? 'bad' : '')
    tile('open', incidents.OPEN + incidents.INVESTIGATING, 'resolved', `${incidents.RESOLVED} resolved`, incidents.OPEN ? 'bad' : incidents.INVESTIGATING ? 'warn' : '')
    tile('runs', runs.COMPLETED + runs.FAILED + runs.RUNNING, 'running', runs.RUNNING ? `${runs.RUNNING} under way` : `${runs.FAILED} failed`)
    byId('streams').textContent = found.streams
  }, 500)
}

function tile(id, value, noteId, note, look = '') {
  byId(id).textContent = value
  byId(noteId).textContent = note
  byId(id).closest('.tile').className = `card tile ${look}`
}

function onSubmit(id, send) {
  byId(id).addEventListener('submit', (event) => {
    event.preventDefault()
    act(send)
  })
}

onSubmit('incident', () => post('incidents', { title: byId('incident-title').value, severity: byId('severity').value }))
onSubmit('notify', () => post('broadcasts', { message: byId('message').value }))
onSubmit('server', () => post('servers', { name: byId('server-name').value, host: '127.0.0.1', port: Number(byId('port').value) }))
byId('port').value = location.port || 80

byId('whose').addEventListener('change', ({ target }) => (byId('users').dataset.shown = target.value))

whileSeen(() => users.map(({ client }) => client))
themeButton(byId('theme'))
act(async () => {
  await Promise.all(users.map((user) => user.start()))
  for (const user of users) user.showHeld([...operator.held])
  refreshStats()
})
