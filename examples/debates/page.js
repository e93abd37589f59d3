// Debates: who speaks, in which phase, and all that was said, of one debate; and the other debates.

import { createClient } from './client.js'
import { Banner, Feed, Tokens, byId, call, clock, make, perFrame, showChoices, showState, some, themeButton, whileSeen } from './live.js'

const API = new URL('api/debates', document.baseURI).pathname
const SCRIPTS = new URL('api/debate-scripts', document.baseURI).pathname
const PHASES = ['opening', 'arguments', 'cross_examination', 'rebuttal', 'closing']
const EVENTS = ['event', 'events']
const WORDS_PER_SECOND = 7
const FRESH = 3000 // milliseconds after which what was said is shown at once and not word by word

const tokens = new Tokens(new URL('debates/dev/token', document.baseURI).pathname)
const still = matchMedia('(prefers-reduced-motion: reduce)')
const banner = new Banner(byId('banner'), EVENTS)
const transcript = new Feed({
  box: byId('transcript'),
  list: byId('said'),
  below: byId('below'),
  summary: byId('summary'),
  names: EVENTS,
  draw: (item) => DRAW[item.kind](item),
  onDrawn: () => (byId('empty').hidden = transcript.rows.length > 0),
})
const draw = perFrame(drawStage)
let debate = null // the one watched
let client = null
let own = '' // this window's id
let speaking = 0 // the timer of the utterance whose words are coming
let shownLater = null // and what is still to come of it

const get = async (path = '') => (await call(API + path)).json()
const path = (rest = '') => `${API}/${encodeURIComponent(debate.id)}${rest}`
const words = (name) => name.replaceAll('_', ' ')

// -- one debate ----------------------------------------------------------------------------------------------------------

async function watch(id, isOurs = false) {
  const [found, said] = await Promise.all([get(`/${encodeURIComponent(id)}`), get(`/${encodeURIComponent(id)}/utterances`)])
  client?.close()
  // The stream tells it all anew, and `missed` what of it was said before we came.
  debate = { ...found, phase: 'waiting', paused: false, speaker: null, seen: new Set(), missed: new Set(isOurs ? [] : said.map((each) => each.id)) }
  history.replaceState(null, '', `#${debate.id}`)
  banner.begin()
  hush()
  transcript.clear()
  byId('topic').textContent = debate.topic
  byId('phases').replaceChildren(...PHASES.map((phase) => make('li', '', words(phase))))
  byId('speakers').replaceChildren()
  byId('asked').replaceChildren()
  for (const [name, { side }] of Object.entries(debate.speakers)) addSpeaker(name, side)
  byId('asked').selectedIndex = Math.min(1, byId('asked').length - 1) // the moderator has little to say
  own = idOf(debate.id)
  byId('client').textContent = own
  byId('only-me').disabled = byId('save').disabled = false
  draw()
  refresh()
  listen()
}

/** This window's id for a debate: made once, kept while the window lives, so that a reconnect is the same client. */
function idOf(id) {
  const key = `client-of-${id}`
  const [high, low] = crypto.getRandomValues(new Uint32Array(2)).map(Number)
  const chance = String(high).padStart(12, '0') + String(low).padStart(12, '0')
  const kept = sessionStorage.getItem(key) ?? `${id}-${Date.now()}-0.${chance}`
  sessionStorage.setItem(key, kept)
  return kept
}

/** All of the debate, and then whatever comes. Streamed while that works, polled while it does not. */
function listen() {
  const mine = createClient({ url: `${path('/stream')}?clientId=${encodeURIComponent(own)}`, probeEvery: 5000 })
  mine.on('connected', refresh) // there is one more now
  mine.on('*', ({ type, data, id }) => {
    banner.heard()
    HEAR[type]?.(data, id)
    draw()
  })
  mine.onReset(({ reason }) => transcript.add({ kind: 'mark', text: `what was said before is no longer there (${reason})` }))
  mine.onStatus((status) => {
    showState(byId('state'), status.state)
    if (debate.phase === 'complete') byId('state').textContent = 'ended'
    banner.onStatus(mine, status, refresh)
  })
  client = mine
  client.connect()
}

const HEAR = {
  utterance(data, id) {
    if (debate.missed?.size && !debate.missed.has(data.id)) {
      transcript.add({ kind: 'mark', text: `you came in here, after ${some(debate.missed.size, ['utterance', 'utterances'])}` })
      debate.missed = null
    }
    spoken(data, id)
  },
  intervention_response: (data, id) => (data.private ? transcript.add({ kind: 'private', id, text: data.content }) : spoken(data, id)),
  phase_transition({ phase }, id) {
    debate.phase = phase
    debate.seen.add(phase)
    transcript.add({ kind: 'mark', id, text: words(phase) })
  },
  pause() {
    debate.paused = true
    hush()
  },
  resume: () => (debate.paused = false),
  complete({ utterances }, id) {
    debate.phase = 'complete'
    debate.speaker = null
    transcript.add({ kind: 'mark', id, text: `the end, after ${utterances} utterances` })
    client.close() // as the browser hook of the debate's team does
    client = null
    refresh()
  },
  error: ({ message }, id) => transcript.add({ kind: 'error', id, text: message }),
}

function spoken({ timestamp, speaker, content, phase, question }, id) {
  if (phase) debate.seen.add((debate.phase = phase)) // also without the transition, if that is no longer in the log
  debate.speaker = speaker
  if (!debate.speakers[speaker]) addSpeaker(speaker, 'moderator')
  transcript.add({ kind: 'bubble', id, timestamp, speaker, content, question, isFresh: Date.now() - timestamp < FRESH })
}

// -- drawing -------------------------------------------------------------------------------------------------------------

const DRAW = {
  bubble: drawBubble,
  mark: ({ id, text }) => marked(make('li', 'phase', text), id),
  private: ({ id, text }) => marked(make('li', 'bubble private', make('p', '', text)), id),
  error: ({ id, text }) => marked(make('li', 'notice bad', text), id),
}

function marked(item, id) {
  if (id) item.dataset.id = id
  return item
}

function drawBubble({ id, timestamp, speaker, content, question, isFresh }) {
  const { name = speaker, side = 'moderator' } = debate.speakers[speaker] ?? {}
  const text = make('p')
  const item = make('li', `bubble ${side}`, make('h3', '', make('bdi', '', name), make('time', '', clock(timestamp))), text)
  if (question) text.before(make('blockquote', '', question))
  hush()
  if (isFresh && !still.matches) speak(text, content)
  else text.textContent = content
  return marked(item, id)
}

/** Show all of the utterance that is being shown: nobody waits for its end any more. */
function hush() {
  clearInterval(speaking)
  speaking = 0
  if (shownLater) shownLater.parentElement.textContent = shownLater.parentElement.textContent
  shownLater = null
  draw()
}

/** Show words as they are spoken. What is still to come holds its place, so that nothing jumps. */
function speak(text, content) {
  const parts = String(content).split(/(?<=\s)/)
  const [now, later] = [make('span'), (shownLater = make('span', 'later'))]
  text.append(now, later)
  let said = 0
  const step = () => {
    said += 1
    now.textContent = parts.slice(0, said).join('')
    later.textContent = parts.slice(said).join('')
    if (said >= parts.length) hush()
  }
  speaking = setInterval(step, 1000 / WORDS_PER_SECOND)
  step()
}

function addSpeaker(name, side) {
  const shown = (debate.speakers[name] ??= { name, side }).name
  const initials = shown.split(/\s+/).filter((word) => !word.endsWith('.')).map((word) => word[0]).slice(0, 2).join('')
  const does = make('small', 'does')
  const wave = make('span', 'wave', make('i'), make('i'), make('i'))
  const item = make('li', `speaker ${side}`, make('span', 'face', initials), make('span', '', make('strong', '', shown), make('small', '', side), does), wave)
  item.dataset.name = name
  byId('speakers').append(item)
  const option = make('option', '', shown)
  option.value = name
  byId('asked').append(option)
}

function drawStage() {
  const now = PHASES.indexOf(debate.phase)
  const isOver = debate.phase === 'complete'
  PHASES.forEach((name, index) => {
    const isPast = isOver || index < now
    const item = byId('phases').children[index]
    item.className = index === now ? 'now' : isPast ? (debate.seen.has(name) ? 'past' : 'past skipped') : ''
    if (index === now) item.setAttribute('aria-current', 'step')
    else item.removeAttribute('aria-current')
  })
  const does = debate.paused ? 'holds on' : speaking ? 'is speaking' : 'has the floor'
  for (const item of byId('speakers').children) {
    const isSpeaker = item.dataset.name === debate.speaker
    item.classList.toggle('speaking', isSpeaker)
    item.classList.toggle('typing', isSpeaker && Boolean(speaking) && !debate.paused)
    item.querySelector('.does').textContent = isSpeaker ? does : ''
  }
  const status = debate.paused ? 'paused' : { waiting: 'about to begin', complete: 'over' }[debate.phase] ?? 'on air'
  byId('status').textContent = status
  byId('status').className = `pill ${{ 'on air': 'good busy', paused: 'warn' }[status] ?? ''}`
  byId('pause').disabled = now < 0
  byId('pause').textContent = debate.paused ? 'Resume' : 'Pause'
  for (const field of byId('ask').elements) field.disabled = now < 0
  const speaker = debate.speakers[debate.speaker]?.name
  const said = `${words(debate.phase)}${speaker ? `, ${speaker} speaks` : ''}${debate.paused ? ', paused' : ''}`
  if (byId('now').textContent !== said) byId('now').textContent = said
}

// -- what a visitor can do -----------------------------------------------------------------------------------------------

async function attempt(action) {
  byId('refused').hidden = true
  try {
    return await action()
  } catch (error) {
    byId('refused').textContent = error.message
    byId('refused').hidden = false
  }
}

byId('pause').addEventListener('click', () =>
  attempt(() => call(path(debate.paused ? '/resume' : '/pause'), { tokens, method: 'POST' })),
)
byId('ask').addEventListener('submit', (event) => {
  event.preventDefault()
  const body = { speaker: byId('asked').value, question: byId('question').value.trim() }
  attempt(async () => {
    await call(path('/interventions'), { tokens, body })
    byId('question').value = ''
  })
})
byId('only-me').addEventListener('click', () => {
  const data = { private: true, content: 'Only this window has been sent this.' }
  const target = path(`/clients/${encodeURIComponent(own)}/send`)
  attempt(() => call(target, { tokens, body: { type: 'intervention_response', data } }))
})
byId('save').addEventListener('click', () => attempt(save))
byId('new').addEventListener('submit', (event) => {
  event.preventDefault()
  attempt(() => start(byId('script').value))
})

/** The transcript as a file: what is kept, and not only what is shown. */
async function save() {
  const said = await get(`/${encodeURIComponent(debate.id)}/utterances`)
  const lines = said.map(({ timestamp, phase, speaker, content }) => `[${clock(timestamp)}, ${words(phase)}] ${debate.speakers[speaker]?.name ?? speaker}: ${content}`)
  const link = make('a')
  link.href = URL.createObjectURL(new Blob([`${debate.topic}\n\n${lines.join('\n\n')}\n`], { type: 'text/plain' }))
  link.download = 'transcript.txt'
  link.click()
  URL.revokeObjectURL(link.href)
}

async function start(script) {
  const made = await (await call(API, { tokens, body: { script } })).json()
  await watch(made.id, true)
}

async function refresh() {
  const debates = await get().catch(() => null)
  if (!debates) return [] // the server is away: what is shown stays
  const choices = debates.map(({ id, topic, phase, paused, createdAt }) => {
    const state = paused ? 'paused' : { complete: 'over', waiting: 'about to begin' }[phase] ?? words(phase)
    return { id, title: topic, note: `${state} · ${clock(createdAt).slice(0, 5)}`, look: phase === 'complete' ? 'over' : 'on' }
  })
  showChoices(byId('list'), choices, debate?.id, (id) => attempt(() => watch(id)))
  const watching = debates.find((each) => each.id === debate?.id)?.clients ?? 0
  byId('watching').textContent = watching ? `${watching} watching` : ''
  return debates
}

// -- start ---------------------------------------------------------------------------------------------------------------

themeButton(byId('theme'))
whileSeen(() => (client ? [client] : []))
setInterval(() => document.hidden || refresh(), 10_000)

await attempt(async () => {
  const scripts = await (await call(SCRIPTS)).json()
  for (const [name, topic] of Object.entries(scripts)) {
    const option = make('option', '', topic)
    option.value = name
    byId('script').append(option)
  }
  const debates = await refresh()
  const asked = debates.find(({ id }) => id === location.hash.slice(1))
  const running = asked ?? debates.find(({ phase }) => phase !== 'complete') ?? debates[0]
  if (running) await watch(running.id)
  else await start(Object.keys(scripts)[0])
})
