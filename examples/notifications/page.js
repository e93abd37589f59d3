// Notifications: yours, what you tell others, and the phone of somebody else, on which it rings as you press the button.

import { Banner, byId, make, showState, themeButton, whileSeen } from './live.js'
import { Items, avatar, quoted, refreshTimes, timeOf } from './list.js'
import { Person, newKey } from './person.js'
import { Bell, showCount } from './bell.js'

const USERS = { ada: 'Ada', ben: 'Ben', cleo: 'Cleo' } // of development; everybody else has a bell of their own application
const ANNOUNCE = 'system.announce'
const PERMISSIONS = { notifications: 'notifications.send', announcements: ANNOUNCE, maintenance: ANNOUNCE }
const WORDS = { started: ['running', 'warn busy'], completed: ['completed', 'good'], failed: ['failed', 'bad'] }
const TICK = 1000
const ANNOUNCEMENTS = 3 // shown at once
const WIRE = 6 // events that are listed
const SHOWN = 5000

let me = null
let other = null
let sentTimer = 0
let heard = 0
let filter = 'all'

const banner = new Banner(byId('banner'), ['event', 'events'])
const userOf = (id) => me?.users.get(id) ?? null
const choices = (name) => document.querySelector(`input[name="${name}"]:checked`).value
const inbox = new Items(byId('inbox'), { user: userOf, onRead: (id) => me.markRead(id), onRemove: (id) => me.remove(id) })
const phone = new Items(byId('phone-items'), { user: userOf, onRead: (id) => other.markRead(id) })
const bell = new Bell(byId('bell'), { user: userOf, onSeen: () => me.markSeen(), onRead: (id) => me.markRead(id) })

// -- you -----------------------------------------------------------------------------------------------------------------

function enter(id) {
  me?.leave()
  history.replaceState(null, '', `#${id}`)
  banner.begin()
  bell.close()
  inbox.clear()
  showState(byId('state'), 'connecting')
  me = new Person(id, {
    onChange: (what) => DRAW[what](),
    onStatus: (client, status) => {
      showState(byId('state'), status.state)
      banner.onStatus(client, status)
    },
    onArrival: ({ title }) => (byId('arrived').textContent = `New notification: ${title}`),
    onEvent,
  })
  heard = 0
  byId('wire').replaceChildren()
  attempt(me)
  if (byId('owner').value === id || !other) hand(Object.keys(USERS).find((each) => each !== id))
  for (const option of byId('owner').options) option.disabled = option.value === id
}

/** What came, as it was called; how alive the stream is says the rest. */
function onEvent({ type, id, channel, data }) {
  byId('cursor').textContent = id
  if (type === 'heartbeat') return
  if (type !== 'connection_established') {
    banner.heard()
    byId('heard').textContent = heard += 1
  }
  const about = data.title ?? data.name ?? (data.status ? `${userOf(data.id)?.name ?? data.id} is ${data.status}` : (data.userId ?? data.id))
  const row = make('li', 'new', make('code', `type ${type.split('.')[0]}`, type), quoted('span', 'about', `${about}`), make('code', 'soft channel', channel ?? ''))
  byId('wire').prepend(row)
  while (byId('wire').children.length > WIRE) byId('wire').lastElementChild.remove()
  byId('quiet').hidden = true
}

async function attempt(person) {
  try {
    await person.enter()
  } catch (error) {
    banner.say('bad', error.message)
  }
}

function drawInbox() {
  const { items, unread, unseen } = me.inbox
  const shown = filter === 'unread' ? items.filter(({ read }) => !read) : items
  inbox.show(shown)
  bell.show(items, unseen)
  byId('unread').textContent = unread
  byId('nothing').hidden = shown.length > 0 || me.inbox.isLoading
  for (const button of document.querySelectorAll('.read-all')) button.disabled = unread === 0
}

// -- somebody else ---------------------------------------------------------------------------------------------------------

function hand(id) {
  other?.leave()
  byId('owner').value = id
  byId('flight').checked = false
  phone.clear()
  byId('phone-nothing').hidden = false
  other = new Person(id, {
    onChange: (what) => what === 'inbox' && drawPhone(),
    onStatus: (client, { state }) => {
      showState(byId('phone-state'), state)
      byId('phone').classList.toggle('away', state === 'closed')
    },
    onArrival: ring,
  })
  nameThePhone()
  attempt(other)
}

function drawPhone() {
  const { items, unseen } = other.inbox
  phone.show(items.slice(0, 20))
  byId('phone-nothing').hidden = items.length > 0
  showCount(byId('phone-badge'), unseen)
}

function nameThePhone() {
  byId('phone-name').textContent = `${userOf(other.id)?.name.split(' ')[0] ?? USERS[other.id]}’s phone`
}

function ring() {
  byId('phone').classList.remove('rings')
  requestAnimationFrame(() => byId('phone').classList.add('rings'))
}

// -- people --------------------------------------------------------------------------------------------------------------

function drawUsers() {
  const users = [...me.users.values()].sort((a, b) => (a.status === b.status ? a.name.localeCompare(b.name) : a.status === 'online' ? -1 : 1))
  byId('people').replaceChildren(...users.slice(0, 12).map(personRow))
  const wanted = new Set([...byId('to').querySelectorAll('input:checked')].map(({ value }) => value))
  if (!wanted.size && other) wanted.add(other.id)
  byId('to').replaceChildren(byId('to').firstElementChild, ...users.slice(0, 12).map((user) => receiver(user, wanted.has(user.id))))
  const own = userOf(me.id)
  if (own && !byId('profile').contains(document.activeElement)) {
    byId('name').value = own.name
    byId('about').value = own.about
  }
  if (other) nameThePhone()
  inbox.again()
  phone.again()
  bell.again()
}

function personRow(user) {
  const { id, name, about, status, lastSeenAt } = user
  const face = make('span', `face ${status}`, avatar(user))
  const note = make('small', 'soft', status === 'online' ? 'online' : 'offline')
  if (status !== 'online' && lastSeenAt) note.append(', seen ', timeOf(lastSeenAt))
  const said = make('span', 'said', quoted('strong', '', name), id === me.id ? make('span', 'soft', ' you') : '', quoted('small', 'soft about', about), note)
  const row = make('li', '', face, said)
  row.dataset.id = id
  row.dataset.status = status
  return row
}

function receiver(user, isChecked) {
  const input = make('input')
  Object.assign(input, { type: 'checkbox', value: user.id, checked: isChecked, id: `to-${user.id}` })
  const label = make('label', `chip ${user.status}`, input, make('span', 'dot'), quoted('span', '', user.name))
  return label
}

async function saveProfile(event) {
  event.preventDefault()
  await say(byId('not-saved'), () => me.request('PATCH', '/users/me', { name: byId('name').value, about: byId('about').value }))
}

/** Do something, and show what it was refused with. */
async function say(notice, work) {
  try {
    await work()
    notice.hidden = true
  } catch (error) {
    notice.textContent = error.message
    notice.hidden = false
  }
}

// -- telling -------------------------------------------------------------------------------------------------------------

let key = newKey() // of what is being sent: however often it is tried, it is sent once

function drawComposer() {
  const kind = choices('kind')
  byId('to').hidden = kind !== 'notifications'
  byId('minutes').hidden = kind === 'notifications'
  byId('level').hidden = kind === 'maintenance'
  const lacks = me?.me && !me.may(PERMISSIONS[kind])
  byId('send').disabled = !!lacks
  told(lacks ? `${USERS[me.id]} may not do this: it takes ${PERMISSIONS[kind]}.` : '', 'warn')
}

function told(text, look = '') {
  clearTimeout(sentTimer)
  byId('sent').textContent = text
  byId('sent').className = `notice ${look}`
  byId('sent').hidden = !text
}

async function send(event) {
  event.preventDefault()
  const kind = choices('kind')
  const body = { title: byId('title').value, message: byId('message').value }
  if (kind !== 'maintenance') body.level = byId('level').value
  if (kind === 'notifications') body.to = [...byId('to').querySelectorAll('input:checked')].map(({ value }) => value)
  else body.minutes = +byId('minutes').value
  if (body.to && !body.to.length) return told('Choose who should be told.', 'warn')
  byId('send').disabled = true
  try {
    await me.request('POST', `/${kind}`, body, key)
    key = newKey()
    told('Sent.', 'good')
    sentTimer = setTimeout(() => told(''), SHOWN)
  } catch (error) {
    if (error.status) key = newKey() // it was understood, and refused
    told(error.status ? error.message : 'The server cannot be reached. Press the button again: it will be sent once.', 'bad')
  }
  byId('send').disabled = false
}

// -- workflows -----------------------------------------------------------------------------------------------------------

function drawRuns() {
  byId('no-workflows').hidden = me.workflows !== null
  const known = new Map([...byId('workflows').children].map((row) => [row.dataset.name, row]))
  const rows = (me.workflows ?? []).map((workflow) => drawWorkflow(known.get(workflow.name) ?? workflowRow(workflow), workflow))
  if (rows.length !== known.size || rows.some((row) => !row.isConnected)) byId('workflows').replaceChildren(...rows)
  drawComposer()
}

function workflowRow({ name, title, description }) {
  const run = make('button', 'button run', 'Run')
  run.type = 'button'
  run.setAttribute('aria-label', `Run: ${title}`)
  run.addEventListener('click', () => say(byId('not-run'), () => me.request('POST', `/workflows/${name}/runs`, undefined, newKey())))
  const row = make('li', '', make('div', 'about', make('strong', '', title), make('small', 'soft', description)), make('span', 'pill', 'never run'), run, make('ol', 'steps'), make('p', 'outcome small'))
  row.dataset.name = name
  return row
}

function drawWorkflow(row, { name, steps }) {
  const run = [...me.runs.values()].filter(({ workflow }) => workflow === name).reduce((a, b) => (+a.id > +b.id ? a : b), { id: 0 })
  const [word, look] = WORDS[run.status] ?? ['never run', '']
  const isRunning = run.status === 'started'
  row.className = run.status ?? ''
  row.querySelector('.pill').textContent = word
  row.querySelector('.pill').className = `pill ${look}`
  row.querySelector('.run').disabled = isRunning || !me.may('workflows.run')
  row.querySelector('.steps').replaceChildren(...steps.map((title, index) => stepOf(title, run, index)))
  const outcome = row.querySelector('.outcome')
  outcome.replaceChildren(...(run.result || run.error ? [quoted('span', 'what', run.error ?? run.result), ' · ', timeOf(run.finishedAt)] : []))
  return row
}

function stepOf(title, { status, steps = [] }, index) {
  const done = steps[index]
  const look = done ? 'done' : status === 'failed' && index === steps.length ? 'failed' : status === 'started' ? 'running' : ''
  const step = make('li', look, title)
  if (done) step.title = `${done.note} (${done.durationMs} ms)`
  return step
}

// -- announcements -------------------------------------------------------------------------------------------------------

function drawAnnouncements() {
  const present = Date.now()
  const current = [...me.announcements.values()].filter(({ endsAt }) => +new Date(endsAt) > present)
  const open = current.sort((a, b) => b.id - a.id).slice(0, ANNOUNCEMENTS).reverse()
  const known = new Map([...byId('announcements').children].map((row) => [row.dataset.id, row]))
  for (const each of open) {
    const before = known.get(each.id)
    known.delete(each.id)
    if (before?.dataset.endsAt === each.endsAt && before.dataset.user === me.id) continue
    const row = announcementRow(each)
    if (before) before.replaceWith(row)
    else byId('announcements').append(row)
  }
  for (const row of known.values()) row.remove()
}

function announcementRow({ id, type, title, message, level, startsAt, endsAt }) {
  const clock = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit' })
  const isWork = type === 'system.maintenance'
  const row = make('div', `announcement ${isWork ? 'maintenance' : level}`, make('strong', 'kind', isWork ? 'Maintenance' : 'Announcement'), quoted('span', 'said', title))
  if (message) row.append(quoted('span', 'more', message))
  row.append(make('span', 'when', isWork ? `${clock.format(new Date(startsAt))} to ${clock.format(new Date(endsAt))}` : `until ${clock.format(new Date(endsAt))}`))
  if (me.may(ANNOUNCE)) {
    const end = make('button', 'button quiet', 'End it')
    end.type = 'button'
    end.setAttribute('aria-label', `End it: ${title}`)
    end.addEventListener('click', () => me.request('DELETE', `/announcements/${id}`).catch((error) => banner.say('bad', error.message)))
    row.append(end)
  }
  Object.assign(row.dataset, { id, endsAt, user: me.id })
  return row
}

// -- the page ------------------------------------------------------------------------------------------------------------

const DRAW = { inbox: drawInbox, users: drawUsers, runs: drawRuns, announcements: drawAnnouncements }

function begin() {
  const chosen = location.hash.slice(1) in USERS ? location.hash.slice(1) : 'ada'
  for (const [id, name] of Object.entries(USERS)) {
    const input = make('input')
    Object.assign(input, { type: 'radio', name: 'who', id: `who-${id}`, value: id, checked: id === chosen })
    input.addEventListener('change', () => enter(id))
    const label = make('label', '', name)
    label.htmlFor = input.id
    byId('who').append(input, label)
    const option = make('option', '', name)
    option.value = id
    byId('owner').append(option)
  }
  byId('owner').addEventListener('change', ({ target }) => hand(target.value))
  byId('flight').addEventListener('change', ({ target }) => (target.checked ? other.client?.close() : other.client?.connect()))
  byId('filter').addEventListener('change', ({ target }) => ((filter = target.value), drawInbox()))
  byId('kind').addEventListener('change', drawComposer)
  byId('composer').addEventListener('submit', send)
  byId('profile').addEventListener('submit', saveProfile)
  for (const button of document.querySelectorAll('.read-all')) button.addEventListener('click', () => me.markAllRead())
  setInterval(() => (refreshTimes(), me && drawAnnouncements()), 30 * TICK)
  themeButton(byId('theme'))
  whileSeen(() => (other?.client && !byId('flight').checked ? [other.client] : [])) // a bell is for those who look elsewhere, too; a phone of the page is not
  enter(chosen)
}

begin()
