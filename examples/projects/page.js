// Projects: the state of one project, then every change of it from exactly there, as rows change in the database.
//
// Nothing is asked for again while the stream is open. What comes over it is the state, whoever wrote the rows: the worker, the
// buttons of this page, or somebody with psql. Texts of the database are shown as texts, whatever is in them.

import { createClient } from './client.js'
import { Rows, STATUS, byConfidence, byName, proposalRow, sourceRow } from './lists.js'
import { Banner, Tokens, byId, call, clock, make, perFrame, showState, some, themeButton, whileSeen } from './live.js'

const API = new URL('api/projects', document.baseURI).pathname
const HERE = new URL('projects', document.baseURI).pathname
const USERS = ['alice', 'bob']
const MAX_EVENTS = 300
const MAX_TILES = 400
const PATIENCE = [500, 1000, 2000, 4000] // ms between attempts to load the state, while there is no database
const STAGES = { queued: 'warn busy', listing: 'warn busy', reading: 'warn busy', proposing: 'warn busy', complete: 'good', failed: 'bad' }
const STEPS = ['queued', 'listing', 'reading', 'proposing', 'complete']

let user = USERS.includes(location.hash.split('/')[0].slice(1)) ? location.hash.split('/')[0].slice(1) : USERS[0]
let project = location.hash.split('/')[1] ?? ''
let tokens = null
let client = null
let job = null // the one shown
let sources = new Map()
let proposals = new Map()
let seen = new Set() // ids of events whose rows the loaded state has already
let heard = 0
let pace = null // where the present stage was when we first saw it

const banner = new Banner(byId('banner'), ['change', 'changes'])

const path = (rest = '') => `${API}/${encodeURIComponent(project)}${rest}`
const number = new Intl.NumberFormat('en')

// -- who and what --------------------------------------------------------------------------------------------------------

async function enter(who) {
  user = who
  tokens = new Tokens(`${HERE}/dev/token/${user}`)
  await attempt(async () => {
    const mine = await (await call(API, { tokens })).json()
    byId('projects').replaceChildren(...mine.map(tab))
    await look(mine.includes(project) ? project : mine[0])
  })
}

function tab(name) {
  const link = make('a', '', name)
  link.href = `#${user}/${name}`
  link.dataset.name = name
  return link
}

async function look(name) {
  project = name
  history.replaceState(null, '', `#${user}/${project}`)
  for (const link of byId('projects').children) {
    if (link.dataset.name === project) link.ariaCurrent = 'page'
    else link.removeAttribute('aria-current')
  }
  heard = 0
  banner.begin()
  fresh = []
  byId('events').replaceChildren()
  drawEvents()
  await load()
}

/** The whole state, and then the stream from the cursor that belongs to exactly it. */
async function load() {
  client?.close()
  client = null
  const asked = (loading = {})
  const found = await state()
  if (asked !== loading) return // somebody has chosen another project meanwhile
  seen = new Set(found.seen)
  job = found.jobs[0] ?? null
  sources = new Map(found.sources.map((source) => [source.sourceId, source]))
  proposals = new Map(found.proposals.map((proposal) => [proposal.proposalId, proposal]))
  isFresh = false
  drawJob()
  drawLists()
  showCommand()
  follow(found.cursor)
}

let loading = null // what is being loaded; whoever finds another one here is too late

/** What there is, as soon as there is a database. */
async function state(failures = 0) {
  const asked = loading
  try {
    const found = await (await call(path(), { tokens })).json()
    if (failures) banner.say('')
    return found
  } catch (error) {
    if (error.status && error.status !== 503) throw error
    banner.say('warn', error.message)
    await new Promise((resolve) => setTimeout(resolve, PATIENCE[Math.min(failures, PATIENCE.length - 1)]))
    return asked === loading ? state(failures + 1) : null
  }
}

function follow(cursor) {
  const mine = tokens
  client = createClient({
    url: path('/status'),
    token: ({ reason }) => mine.get(reason !== 'connect'),
    lastEventId: cursor,
    probeEvery: 5000,
  })
  client.on('message', ({ data, id }) => onEvent(data, id))
  client.onReset(() => attempt(load)) // changes are gone that we have not seen: the state has them
  client.onStatus(onStatus)
  client.connect()
}

// -- the stream ----------------------------------------------------------------------------------------------------------

function onStatus(status) {
  showState(byId('state'), status.state)
  banner.onStatus(client, status)
}

function onEvent(data, id) {
  if (data.type === 'connected' || seen.delete(id)) return
  record(data, id)
  HANDLERS[data.type]?.(data)
}

const HANDLERS = {
  status_update({ sourceId, status, sourceName, updatedAt }) {
    sources.set(sourceId, { ...sources.get(sourceId), sourceId, status, sourceName, updatedAt, error: null })
    drawLists()
  },
  progress_update({ jobId, progress }) {
    job = { jobId, progress }
    drawJob()
    if (progress.stage === 'complete' || progress.stage === 'failed') refresh() // words, errors, sections: details that no event has
  },
  new_proposal({ proposalId, title, confidence, createdAt }) {
    proposals.set(proposalId, { proposalId, title, confidence, createdAt, status: 'pending', ...proposals.get(proposalId) })
    drawLists()
  },
  proposal_update({ proposalId, type, ...fields }) {
    if (!proposals.has(proposalId)) return refresh() // it was another project's before
    proposals.set(proposalId, { ...proposals.get(proposalId), ...fields })
    drawLists()
  },
  proposal_deleted({ proposalId }) {
    proposals.delete(proposalId)
    drawLists()
  },
}

let refreshing = 0

/** Details that events do not have. What the stream has brought meanwhile is newer, and stays. */
function refresh() {
  refreshing ||= setTimeout(async () => {
    refreshing = 0
    const asked = project
    await attempt(async () => {
      const found = await (await call(path(), { tokens })).json()
      if (asked !== project) return
      for (const source of found.sources) {
        sources.set(source.sourceId, { ...source, ...pick(sources.get(source.sourceId), 'status', 'updatedAt') })
      }
      for (const proposal of found.proposals) {
        if (!proposals.has(proposal.proposalId)) continue
        proposals.set(proposal.proposalId, { ...proposal, ...pick(proposals.get(proposal.proposalId), 'status', 'title', 'confidence') })
      }
      isFresh = false
      drawLists()
      showCommand()
    })
  }, 150)
}

const pick = (from, ...names) => Object.fromEntries(names.filter((name) => from?.[name] !== undefined).map((name) => [name, from[name]]))

// -- what is seen --------------------------------------------------------------------------------------------------------

const drawJob = perFrame(() => {
  const { stage, current, total, message, timestamp } = job?.progress ?? { stage: 'idle', current: 0, total: 0, message: 'Nothing has been indexed yet.' }
  const isUnderWay = stage in STAGES && stage !== 'complete' && stage !== 'failed'
  const share = stage === 'complete' ? 1 : total > 0 ? current / total : 0
  document.querySelector('.job').classList.toggle('failed', stage === 'failed')
  byId('stage').textContent = stage
  byId('stage').className = `pill ${STAGES[stage] ?? ''}`
  byId('stages').replaceChildren(...STEPS.map((step, at) => make('li', lookOf(at, STEPS.indexOf(stage)), step)))
  byId('progress').value = share
  byId('percent').textContent = job ? `${Math.round(share * 100)} %` : '–'
  byId('message').textContent = message
  byId('message').title = message
  byId('left').textContent = isUnderWay ? timeLeft(stage, current, total, timestamp) : ''
  byId('start').disabled = isUnderWay
  byId('start').textContent = job && !isUnderWay ? 'Index it again' : 'Index the folder'
})

const lookOf = (at, now) => (at === now && at < STEPS.length - 1 ? 'now' : at <= now ? 'past' : '')

/** How long the stage will take at the pace that it has had so far. */
function timeLeft(stage, current, total, timestamp) {
  if (pace?.stage !== stage || pace.jobId !== job.jobId) pace = { jobId: job.jobId, stage, current, timestamp }
  const done = current - pace.current
  if (!total || done < 2) return total ? `${current} of ${total}` : ''
  const seconds = Math.ceil(((total - current) * (timestamp - pace.timestamp)) / done / 1000)
  return `${current} of ${total}, about ${seconds} s left`
}

function actions({ proposalId, title, status }) {
  const decide = (text, to) => button(text, `${text}: ${title}`, () => call(path(`/proposals/${proposalId}`), { body: { status: to }, tokens }))
  if (status === 'pending') return [decide('Accept', 'accepted'), decide('Reject', 'rejected')]
  const shown = make('span', `pill ${status === 'accepted' ? 'good' : ''}`, status)
  const remove = button('Delete', `Delete: ${title}`, () => call(path(`/proposals/${proposalId}`), { method: 'DELETE', tokens }))
  return [shown, decide('Undo', 'pending'), ...(status === 'rejected' ? [remove] : [])]
}

function button(text, label, action) {
  const made = make('button', 'button quiet', text)
  made.type = 'button'
  made.setAttribute('aria-label', label)
  made.addEventListener('click', () => attempt(action))
  return made
}

const sourceRows = new Rows(byId('sources'), { id: ({ sourceId }) => `source-${sourceId}`, draw: sourceRow, order: byName, names: ['file', 'files'] })
const proposalRows = new Rows(byId('proposals'), {
  id: ({ proposalId }) => `proposal-${proposalId}`,
  draw: (proposal) => proposalRow(proposal, actions(proposal)),
  order: byConfidence,
  names: ['proposal', 'proposals'],
})
const FILTERS = { all: () => true, open: ({ status }) => status === 'pending', decided: ({ status }) => status !== 'pending' }
const NONE = { all: byId('no-proposals').textContent, open: 'Nothing is left to decide.', decided: 'Nothing has been decided yet.' }
let filter = 'all'
let isFresh = false // what is drawn next just came over the stream

const drawLists = perFrame(() => {
  const files = [...sources.values()].sort(byName)
  const shown = [...proposals.values()].filter(FILTERS[filter])
  sourceRows.show(files, isFresh)
  proposalRows.show(shown, isFresh)
  isFresh = true
  byId('mosaic').replaceChildren(...files.slice(0, MAX_TILES).map(({ status }) => make('i', status in STATUS ? status : '')))
  const words = files.reduce((sum, source) => sum + (source.words ?? 0), 0)
  byId('count').textContent = files.length ? `${some(files.length, ['file', 'files'])}${words ? `, ${number.format(words)} words` : ''}` : ''
  byId('no-sources').hidden = files.length > 0
  const decided = [...proposals.values()].filter(FILTERS.decided).length
  byId('tally').textContent = proposals.size ? `${number.format(decided)} of ${number.format(proposals.size)} decided` : ''
  byId('no-proposals').textContent = NONE[proposals.size ? filter : 'all']
  byId('no-proposals').hidden = shown.length > 0
})

// -- every event ---------------------------------------------------------------------------------------------------------

const LINES = {
  status_update: ({ sourceName, status }) => `${sourceName} is ${status}`,
  progress_update: ({ progress }) => `${progress.stage} ${progress.current}/${progress.total}: ${progress.message}`,
  new_proposal: ({ title, confidence }) => `${title} (${confidence})`,
  proposal_update: ({ proposalId, type, ...fields }) => `${proposals.get(proposalId)?.title ?? proposalId}: ${JSON.stringify(fields)}`,
  proposal_deleted: ({ proposalId }) => proposals.get(proposalId)?.title ?? proposalId,
}

let fresh = [] // events since the last picture, no more than are shown

function record(data, id) {
  heard += 1
  banner.heard()
  fresh.push({ id, data, at: Date.now(), text: LINES[data.type]?.(data) ?? '' })
  if (fresh.length > 2 * MAX_EVENTS) fresh = fresh.slice(-MAX_EVENTS)
  drawEvents()
}

const drawEvents = perFrame(() => {
  byId('events').prepend(...fresh.splice(0).slice(-MAX_EVENTS).map(eventLine).reverse())
  while (byId('events').children.length > MAX_EVENTS) byId('events').lastElementChild.remove()
  byId('total').textContent = some(heard, ['event', 'events'])
  byId('quiet').hidden = heard > 0
})

function eventLine({ id, data, at, text }) {
  const line = make('li', `new ${data.type in LINES ? data.type : ''}`, make('time', '', clock(at)), make('b', '', data.type), make('span', '', text))
  line.dataset.id = id
  line.title = `${id} ${JSON.stringify(data)}`
  return line
}

// -- what can be done ----------------------------------------------------------------------------------------------------

async function attempt(action) {
  try {
    await action()
  } catch (error) {
    banner.say('bad', error.message)
  }
}

let database // the URL, where the application has started its own; null where it has not

async function showCommand() {
  database ??= await fetch(`${HERE}/dev/database`).then((response) => response.json()).then(({ url }) => url).catch(() => '')
  byId('sql').hidden = !database
  const [source] = sources.values()
  const update = source
    ? `UPDATE ingestion_sources SET status = 'failed' WHERE id = '${source.sourceId}'`
    : `INSERT INTO proposed_nodes (project_id, title, confidence) VALUES ('${project}', 'Mine', 0.9)`
  byId('command').textContent = `psql ${database} -c "${update}"`
}

byId('start').addEventListener('click', () =>
  attempt(async () => {
    byId('start').disabled = true
    const begun = await (await call(path('/jobs'), { method: 'POST', body: {}, tokens })).json()
    if (job?.jobId !== begun.jobId) job = begun // else the stream was quicker
    drawJob()
  }),
)

byId('copy').addEventListener('click', async () => {
  try {
    await navigator.clipboard.writeText(byId('command').textContent)
    byId('copy').textContent = 'Copied'
  } catch {
    getSelection().selectAllChildren(byId('command')) // not allowed to write: the reader's own copy command does it
    byId('copy').textContent = 'Selected'
  }
  setTimeout(() => (byId('copy').textContent = 'Copy'), 1500)
})

byId('projects').addEventListener('click', (event) => {
  const name = event.target.closest('a')?.dataset.name
  if (!name) return
  event.preventDefault()
  attempt(() => look(name))
})

for (const name of USERS) {
  const choice = make('input')
  Object.assign(choice, { type: 'radio', name: 'user', id: `user-${name}`, checked: name === user })
  choice.addEventListener('change', () => enter(name))
  const label = make('label', '', name)
  label.htmlFor = choice.id
  byId('users').append(choice, label)
}

byId('filter').addEventListener('change', ({ target }) => {
  filter = target.value
  isFresh = false
  drawLists()
})

whileSeen(() => (client ? [client] : []))
themeButton(byId('theme'))
enter(user)
