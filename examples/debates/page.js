// Debates: who speaks, in which phase, and all that was said, of one debate; and the other debates.

import { Live, Tokens, byId, call, make, showState, themeButton } from './live.js'

const API = new URL('api/debates', document.baseURI).pathname
const SCRIPTS = new URL('api/debate-scripts', document.baseURI).pathname
const PHASES = ['opening', 'arguments', 'cross_examination', 'rebuttal', 'closing']
const TYPES = ['utterance', 'phase_transition', 'intervention_response', 'pause', 'resume', 'complete', 'error', 'reset']
const WORDS_PER_SECOND = 12
const FRESH = 3000 // milliseconds after which what was said is shown at once and not word by word

const tokens = new Tokens(new URL('debates/dev/token', document.baseURI).pathname)
const still = matchMedia('(prefers-reduced-motion: reduce)')
let debate = null // the one watched
let live = null
let client = '' // this window's id
let count = 0
let away = null // what was there when the connection was lost
let revealing = 0 // the timer of the utterance that is being spoken

const get = async (path = '') => (await call(API + path)).json()
const path = (rest = '') => `${API}/${encodeURIComponent(debate.id)}${rest}`
const words = (name) => name.replaceAll('_', ' ')

// -- one debate ----------------------------------------------------------------------------------------------------------

async function watch(id) {
  live?.close()
  try {
    debate = await get(`/${encodeURIComponent(id)}`)
  } catch (error) {
    return say('bad', error.message)
  }
  history.replaceState(null, '', `#${debate.id}`)
  debate = { ...debate, phase: 'waiting', paused: false, speaker: null, seen: new Set() } // the stream tells it all anew
  count = 0
  away = null
  reveal(null)
  byId('said').replaceChildren()
  byId('empty').hidden = false
  byId('topic').textContent = debate.topic
  byId('phases').replaceChildren(...PHASES.map((phase) => make('li', '', words(phase))))
  byId('speakers').replaceChildren()
  byId('asked').replaceChildren()
  for (const [name, { side }] of Object.entries(debate.speakers)) addSpeaker(name, side)
  byId('asked').selectedIndex = Math.min(1, byId('asked').length - 1) // the moderator has little to say
  draw()
  client = clientOf(debate.id)
  byId('client').textContent = client
  byId('only-me').disabled = false
  live = new Live({ path: path('/stream'), query: { clientId: client }, types: TYPES, onState, onEvent })
  live.open()
  refresh()
}

/** This window's id for a debate: made once, kept while the window lives, so that a reconnect is the same client. */
function clientOf(id) {
  const key = `client-of-${id}`
  const [high, low] = crypto.getRandomValues(new Uint32Array(2)).map(Number)
  const chance = String(high).padStart(12, '0') + String(low).padStart(12, '0')
  const kept = sessionStorage.getItem(key) ?? `${id}-${Date.now()}-0.${chance}`
  sessionStorage.setItem(key, kept)
  return kept
}

function onState(state) {
  showState(byId('state'), state)
  if (state === 'waiting' && away === null && count) {
    away = count
    say('warn', 'The connection is lost. It comes back by itself, and nothing that is said will be missing.')
  }
  if (state === 'open' && away !== null) setTimeout(welcome, 400)
}

function welcome() {
  if (away === null) return
  const missed = count - away
  say('good', missed ? `Back. ${missed} ${missed === 1 ? 'event was' : 'events were'} caught up with.` : 'Back. Nothing was missed.')
  away = null
  setTimeout(() => say(''), 6000)
  refresh()
}

function say(look, text = '') {
  byId('banner').textContent = text
  byId('banner').className = `banner ${look}`
  byId('banner').hidden = !text
}

function onEvent(type, data, event) {
  count += 1
  byId('empty').hidden = true
  if (data.private) add(make('li', 'bubble private new', make('p', '', data.content)), event)
  else if (type === 'utterance') spoken(data, event)
  else if (type === 'phase_transition') phase(data.phase, event)
  else if (type === 'intervention_response') answered(data, event)
  else if (type === 'pause' || type === 'resume') debate.paused = type === 'pause'
  else if (type === 'complete') complete(data, event)
  else if (type === 'error') add(make('li', 'notice bad', data.message), event)
  else if (type === 'reset') add(make('li', 'phase', `what was said before is no longer there (${data.reason})`), event)
  draw()
}

function spoken({ timestamp, speaker, content, phase: where }, event) {
  debate.phase = where // also without the transition, if that is no longer in the log
  debate.seen.add(where)
  debate.speaker = speaker
  if (!debate.speakers[speaker]) addSpeaker(speaker, 'moderator')
  add(bubble(speaker, timestamp, content), event)
}

function answered({ timestamp, speaker, question, content }, event) {
  debate.speaker = speaker
  add(bubble(speaker, timestamp, content, make('blockquote', '', question)), event)
}

function phase(name, event) {
  debate.phase = name
  debate.seen.add(name)
  add(make('li', 'phase', words(name)), event)
}

function complete({ utterances }, event) {
  debate.phase = 'complete'
  debate.speaker = null
  add(make('li', 'phase', `the end, after ${utterances} utterances`), event)
  live.close() // as the browser hook of the debate's team does
}

// -- drawing -------------------------------------------------------------------------------------------------------------

function bubble(speaker, timestamp, content, ...before) {
  const { name = speaker, side = 'moderator' } = debate.speakers[speaker] ?? {}
  const time = make('time', '', new Date(timestamp).toLocaleTimeString([], { hour12: false }))
  const text = make('p')
  const fresh = Date.now() - timestamp < FRESH && !still.matches
  const item = make('li', `bubble ${side}${fresh ? ' new' : ''}`, make('h3', '', name, time), ...before, text)
  reveal(fresh ? text : null)
  if (fresh) speak(text, content)
  else text.textContent = content
  return item
}

/** Finish the utterance that is being shown; from now on it is `text`'s turn. */
function reveal(text) {
  clearInterval(revealing)
  const before = byId('said').querySelector('.later')
  if (before && before.parentElement !== text) before.parentElement.textContent = before.parentElement.textContent
}

/** Show words as they are spoken. What is still to come holds its place, so that nothing jumps. */
function speak(text, content) {
  const parts = content.split(/(?<=\s)/)
  const [now, later] = [make('span'), make('span', 'later')]
  text.append(now, later)
  let spoken = 0
  const step = () => {
    spoken += 1
    now.textContent = parts.slice(0, spoken).join('')
    later.textContent = parts.slice(spoken).join('')
    if (spoken >= parts.length) clearInterval(revealing)
  }
  step()
  revealing = setInterval(step, 1000 / WORDS_PER_SECOND)
}

function add(item, event) {
  item.dataset.id = event.lastEventId
  byId('said').append(item)
  if (byId('follow').checked) requestAnimationFrame(() => (byId('transcript').scrollTop = byId('transcript').scrollHeight))
}

function addSpeaker(name, side) {
  const shown = (debate.speakers[name] ??= { name, side }).name
  const initials = shown.split(/\s+/).filter((word) => !word.endsWith('.')).map((word) => word[0]).slice(0, 2).join('')
  const wave = make('span', 'wave', make('i'), make('i'), make('i'))
  const item = make('li', `speaker ${side}`, make('span', 'face', initials), make('span', '', make('strong', '', shown), make('small', '', side)), wave)
  item.dataset.name = name
  byId('speakers').append(item)
  const option = make('option', '', shown)
  option.value = name
  byId('asked').append(option)
}

function draw() {
  const now = PHASES.indexOf(debate.phase)
  const over = debate.phase === 'complete'
  PHASES.forEach((name, index) => {
    const past = over || index < now
    byId('phases').children[index].className = index === now ? 'now' : past ? (debate.seen.has(name) ? 'past' : 'past skipped') : ''
  })
  for (const item of byId('speakers').children) {
    item.classList.toggle('speaking', item.dataset.name === debate.speaker)
  }
  byId('speakers').classList.toggle('paused', debate.paused)
  const status = debate.paused ? 'paused' : { waiting: 'about to begin', complete: 'over' }[debate.phase] ?? 'on air'
  byId('status').textContent = status
  byId('status').className = `pill ${{ 'on air': 'good busy', paused: 'warn' }[status] ?? ''}`
  byId('pause').disabled = now < 0
  byId('pause').textContent = debate.paused ? 'Resume' : 'Pause'
  for (const field of byId('ask').elements) field.disabled = now < 0
  const speaker = debate.speakers[debate.speaker]?.name
  byId('now').textContent = `${words(debate.phase)}${speaker ? `, ${speaker} speaks` : ''}`
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
  const target = path(`/clients/${encodeURIComponent(client)}/send`)
  attempt(() => call(target, { tokens, body: { type: 'intervention_response', data } }))
})
byId('new').addEventListener('submit', (event) => {
  event.preventDefault()
  attempt(() => start(byId('script').value))
})

async function start(script) {
  const made = await (await call(API, { tokens, body: { script } })).json()
  await watch(made.id)
}

async function refresh() {
  const debates = await get().catch(() => null)
  if (!debates) return [] // the server is away: what is shown stays
  byId('list').replaceChildren(
    ...debates.map((each) => {
      const state = each.paused ? 'paused' : { complete: 'over', waiting: 'about to begin' }[each.phase] ?? words(each.phase)
      const time = new Date(each.createdAt).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hour12: false })
      const button = make('button', '', make('strong', '', each.topic), make('small', '', `${state} · ${time}`))
      button.type = 'button'
      button.setAttribute('aria-current', String(each.id === debate?.id))
      button.addEventListener('click', () => watch(each.id))
      return make('li', '', button)
    }),
  )
  const watching = debates.find((each) => each.id === debate?.id)?.clients ?? 0
  byId('watching').textContent = watching ? `${watching} watching` : ''
  return debates
}

// -- start ---------------------------------------------------------------------------------------------------------------

themeButton(byId('theme'))
setInterval(() => document.hidden || refresh(), 10_000)
byId('transcript').addEventListener('wheel', () => {
  const transcript = byId('transcript')
  byId('follow').checked = transcript.scrollTop + transcript.clientHeight > transcript.scrollHeight - 120
})

try {
  const scripts = await (await call(SCRIPTS)).json()
  for (const [name, topic] of Object.entries(scripts)) {
    const option = make('option', '', topic)
    option.value = name
    byId('script').append(option)
  }
  const debates = await refresh()
  const wanted = location.hash.slice(1)
  const running = debates.find((each) => each.phase !== 'complete') ?? debates[0]
  if (wanted) await watch(wanted)
  else if (running) await watch(running.id)
  else await start(Object.keys(scripts)[0])
} catch (error) {
  say('bad', error.message)
}
