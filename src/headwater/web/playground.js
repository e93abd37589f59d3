// The playground: subscribe, publish, and watch the bytes. Everything that comes from the hub is shown as text, so nothing
// that a stranger publishes can become markup.

import { createClient } from './client.js'
import { Feed, byId, clock, make, perFrame, some, themeButton } from './parts.js'

const MAX_SHOWN = 500 // frames and marks; older ones go
const MANY = 100 // events of a burst
const ROWS = ['frame', 'frames']

const base = new URL('.', document.baseURI)
const fields = Object.fromEntries(
  ['channels', 'start', 'cursor', 'channel', 'type', 'data', 'permissions', 'key', 'token'].map((id) => [id, byId(id)]),
)
const frames = new Feed({
  box: byId('frames'),
  list: byId('rows'),
  below: byId('below'),
  summary: byId('summary'),
  names: ROWS,
  max: MAX_SHOWN,
  draw: ({ raw, mark }) => (mark ? drawMark(mark) : drawFrame(raw)),
  isShown: ({ raw }) => byId('heartbeats').checked || !/^(:|event: ?heartbeat$)/m.test(raw),
  onDrawn: showCounts,
})
const count = perFrame(showCounts)

let connection = null
let counts = { events: 0, bytes: 0, connections: 0 }
let pending = '' // text of the frame that has begun
let text = new TextDecoder('utf-8', { ignoreBOM: true })

// -- subscribing ---------------------------------------------------------------------------------------------------------

const channels = () => fields.channels.value.split(/[\s,]+/).filter(Boolean)

function streamUrl() {
  const url = new URL('events', base)
  for (const channel of channels()) url.searchParams.append('channel', channel)
  if (fields.start.value.includes('=')) url.searchParams.append(...fields.start.value.split('='))
  return url
}

const bearer = () => fields.token.value.trim()
const authorization = () => (bearer() ? { Authorization: `Bearer ${bearer()}` } : {})

byId('subscribe').addEventListener('submit', (event) => {
  event.preventDefault()
  connection?.close()
  const url = streamUrl()
  connection = createClient({
    url,
    token: () => bearer() || null,
    lastEventId: fields.start.value === 'cursor' ? fields.cursor.value.trim() : '',
    poll: false, // this page is about streams
    fetch: watched,
  })
  const { onStatus, on, connect } = connection
  for (const type of ['*', 'connected', 'reset', 'token_expiring', 'closing']) on(type, countEvent)
  onStatus((status) => showStatus(status, url))
  connect()
})

/** A fetch that shows what it brings. */
async function watched(url, init) {
  const response = await fetch(url, init)
  if (!response.ok || !response.body) return response
  mark('good', 'Open', response.headers.get('content-type'))
  const shown = new TransformStream({
    transform(bytes, controller) {
      controller.enqueue(bytes)
      showBytes(bytes)
    },
  })
  return new Response(response.body.pipeThrough(shown), response)
}

function countEvent() {
  counts.events += 1
  count()
}

byId('cut').addEventListener('click', () => {
  connection.close()
  byId('restore').focus()
})
byId('restore').addEventListener('click', () => {
  connection.connect()
  byId('cut').focus()
})

const LOOK = { connecting: 'warn busy', open: 'good', waiting: 'warn busy', suspended: 'warn busy', offline: 'warn', failed: 'bad' }
const WORD = { closed: 'cut', waiting: 'reconnecting', suspended: 'reconnecting' }

function showStatus(status, url) {
  const { state, reason, retryAt } = status
  const isCut = ['idle', 'closed', 'failed'].includes(state)
  byId('state').textContent = WORD[state] ?? state
  byId('state').className = `pill ${LOOK[state] ?? ''}`
  byId('restore').hidden = !isCut
  byId('cut').hidden = isCut
  byId('cut').disabled = false
  byId('connect').textContent = 'Connect anew'
  const { lastEventId } = connection
  if (state === 'connecting') {
    pending = ''
    text = new TextDecoder('utf-8', { ignoreBOM: true })
    counts.connections += 1
    mark('', 'GET', `${url.pathname}${decodeURIComponent(url.search)}`, lastEventId && `Last-Event-ID: ${lastEventId}`)
  } else if (state === 'closed') mark('warn', 'Cut here', '', reason === 'no content' ? 'the hub has no more' : lastEventId && `goes on after ${lastEventId}`)
  else if (state === 'failed') mark('bad', 'Refused', '', said(status))
  else if (retryAt) mark('warn', `Back in ${((retryAt - Date.now()) / 1000).toFixed(1)} s`, '', said(status))
  count()
}

const said = ({ reason, error }) => (error ? [error.status, error.message].filter(Boolean).join(' ') : reason === 'offline' ? 'there is no network' : 'the stream ended')

// -- the wire ------------------------------------------------------------------------------------------------------------

function showBytes(bytes) {
  counts.bytes += bytes.length
  pending += text.decode(bytes, { stream: true })
  for (let end; (end = /(\r\n\r\n|\n\n|\r\r)/.exec(pending)); ) take(end.index + end[0].length)
  while (/^:[^\r\n]*\n/.test(pending)) take(pending.indexOf('\n') + 1) // comment lines stand alone
  count()
}

function take(length) {
  frames.add({ raw: pending.slice(0, length) })
  pending = pending.slice(length)
}

function mark(look, title, place = '', note = '') {
  frames.add({ mark: { look, title, place, note }, raw: `# ${[title, place, note].filter(Boolean).join(' · ')}\n` })
}

const KNOWN = ['connected', 'heartbeat', 'reset', 'closing', 'token_expiring', 'message']

function drawFrame(raw) {
  const type = /^event: ?(.*)$/m.exec(raw)?.[1] ?? (raw.startsWith(':') ? 'heartbeat' : 'message')
  const frame = make('div', `frame event-${KNOWN.includes(type) ? type : 'other'}`)
  for (const line of raw.replace(/(\r\n|\r|\n){2}$/, '').split(/(?<=\n)/)) {
    const [, name, value] = /^([^:]*:)([^]*)$/.exec(line) ?? [null, '', line]
    const kind = name === ':' ? 'comment' : name.slice(0, -1)
    frame.append(make('span', 'name', name), make('span', kind, value))
  }
  frame.dataset.time = clock(Date.now())
  return frame
}

function drawMark({ look, title, place, note }) {
  const line = make('div', `mark ${look}`, make('strong', '', title))
  if (place) line.append(make('code', '', place))
  if (note) line.append(make('span', '', note))
  return line
}

function showCounts() {
  const { rows, dropped } = frames
  byId('empty').hidden = rows.length > 0
  byId('count-events').textContent = counts.events.toLocaleString()
  byId('count-bytes').textContent = counts.bytes.toLocaleString()
  byId('count-connections').textContent = counts.connections.toLocaleString()
  byId('last-id').textContent = connection?.lastEventId || '–'
  byId('kept').hidden = !dropped
  byId('kept').textContent = `Shown are the last ${some(rows.length, ROWS)} of ${(rows.length + dropped).toLocaleString()}.`
}

byId('heartbeats').addEventListener('change', () => frames.filter())
byId('clear').addEventListener('click', () => {
  frames.clear()
  counts = { events: 0, bytes: 0, connections: counts.connections }
})
byId('copy').hidden = !navigator.clipboard // only on HTTPS and on this machine
byId('copy').addEventListener('click', async (event) => {
  await navigator.clipboard.writeText(frames.rows.map(({ item }) => item.raw).join(''))
  event.target.textContent = 'Copied'
  setTimeout(() => (event.target.textContent = 'Copy'), 1500)
})

// -- publishing ----------------------------------------------------------------------------------------------------------

const isText = () => byId('kind-text').checked
const names = (value) => value.split(/[\s,]+/).filter(Boolean)

function publishing() {
  const { channel, type, data, permissions, key } = fields
  const headers = { ...authorization(), ...(key.value ? { 'Idempotency-Key': key.value } : {}) }
  if (isText()) {
    const url = new URL(`channels/${channel.value.trim()}`, base)
    if (type.value) url.searchParams.set('type', type.value)
    for (const name of names(permissions.value)) url.searchParams.append('permission', name)
    return { url, options: { method: 'POST', headers: { ...headers, 'Content-Type': 'text/plain' }, body: data.value } }
  }
  const known = { channel: channel.value.trim() }
  if (type.value) known.type = type.value
  if (permissions.value) known.permissions = names(permissions.value)
  // The data goes in as it was typed, so that the hub, and not this page, says what is wrong with it.
  const body = `${JSON.stringify(known).slice(0, -1)}, "data": ${data.value.trim() || 'null'}}`
  return { url: new URL('events', base), options: { method: 'POST', headers: { ...headers, 'Content-Type': 'application/json' }, body } }
}

/** The same, many times in one request: all of them are published, or none. */
function publishingMany() {
  const { url, options } = publishing()
  const one = isText() ? JSON.stringify({ channel: fields.channel.value.trim(), type: fields.type.value || undefined, data: options.body }) : options.body
  const headers = { ...options.headers, 'Content-Type': 'application/json' }
  return { url: isText() ? new URL('events', base) : url, options: { ...options, headers, body: `[${Array(MANY).fill(one).join()}]` } }
}

async function publish({ url, options }) {
  const note = byId('published')
  note.hidden = false
  try {
    const response = await fetch(url, options)
    const answer = await response.json()
    note.className = `notice ${response.ok ? 'good' : 'bad'}`
    note.textContent = response.ok ? `${response.status} · ${shortened(answer.ids)}` : `${response.status} ${answer.title}: ${answer.detail}`
  } catch (error) {
    note.className = 'notice bad'
    note.textContent = `The hub did not answer: ${error.message}`
  }
}

const shortened = (ids) => (ids.length > 3 ? `${ids[0]} to ${ids.at(-1)}` : ids.join(', '))

byId('publish').addEventListener('submit', (event) => {
  event.preventDefault()
  publish(event.submitter === byId('many') ? publishingMany() : publishing())
})
fields.data.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) byId('publish').requestSubmit()
})
for (const radio of document.querySelectorAll('[name=kind]')) {
  radio.addEventListener('change', () => {
    if (isText() && fields.data.value.startsWith('{"text": "Hello')) fields.data.value = 'Hello from the playground'
  })
}

// -- identity, curl, theme -------------------------------------------------------------------------------------------------

async function showIdentity() {
  const pill = byId('identity')
  const response = await fetch(new URL('channels?limit=1', base), { headers: authorization() }).catch(() => null)
  const [words, look] =
    response === null ? ['hub unreachable', 'bad']
    : response.ok && bearer() ? ['token accepted', 'good']
    : response.ok ? ['no token needed', 'good']
    : response.status === 401 && !bearer() ? ['token needed', 'warn']
    : [`refused: ${response.status}`, 'bad']
  pill.textContent = words
  pill.className = `pill ${look}`
}

const quoted = (value) => `'${value.replaceAll("'", "'\\''")}'`

function showCurl() {
  const token = bearer() ? ` -H "Authorization: Bearer $TOKEN"` : ''
  const { url, options } = publishing()
  const headers = Object.entries(options.headers)
    .filter(([name]) => name !== 'Authorization')
    .map(([name, value]) => ` -H ${quoted(`${name}: ${value}`)}`)
    .join('')
  byId('curl').textContent =
    `curl -N${token} ${quoted(String(streamUrl()))}\n\ncurl${token}${headers} -d ${quoted(options.body)} ${quoted(String(url))}`
}

fields.start.addEventListener('change', () => {
  byId('cursor-field').hidden = fields.start.value !== 'cursor'
  if (fields.start.value === 'cursor') fields.cursor.focus()
})
fields.token.addEventListener('change', showIdentity)
byId('who').addEventListener('submit', (event) => {
  event.preventDefault()
  showIdentity()
})
document.addEventListener('input', showCurl)
document.addEventListener('change', showCurl)

themeButton(byId('theme'))

// A link may bring the fields along, and start at once: playground?channel=room:42&connect
const asked = new URLSearchParams(location.search)
if (asked.has('channel')) {
  fields.channels.value = asked.getAll('channel').join(' ')
  fields.channel.value = asked.get('channel')
}
showIdentity()
showCurl()
if (asked.has('connect')) byId('subscribe').requestSubmit()
