// Explain: why somebody gets an event, or does not. A form, and the hub's verdict step by step.
//
// A token that is typed here is sent to the hub, which checks it like any other; it is kept nowhere. Knows the DOM and the
// answer; the decisions are the hub's.

import { byId, make } from './parts.js'
import { ask } from './dashboard-session.js'

const LOOK = { yes: 'good', no: 'bad', later: 'warn', unknown: '' }
const WORD = { yes: 'yes', no: 'no', later: 'not yet', unknown: 'cannot be told' }
const NAME = { token: 'Who', channel: 'Channel name', grant: 'May read the channel', event: 'The event', permissions: 'May see the event', position: 'Position' }

const names = (value) => value.split(/[\s,]+/).filter(Boolean)

export class Explainer {
  #form = byId('explain')
  #answer = byId('verdict')

  constructor() {
    for (const radio of this.#form.querySelectorAll('[name=who]')) radio.addEventListener('change', () => this.#showWho())
    this.#field('id').addEventListener('input', () => this.#showWhat())
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault()
      this.#ask()
    })
    this.#showWho()
    this.#showWhat()
  }

  /** Fill in a question. It is asked at once if it is whole. */
  open({ stream, channel, id = '' }) {
    if (stream !== undefined) this.#pick('stream')
    if (stream !== undefined) this.#field('stream').value = stream
    this.#field('channel').value = channel
    this.#field('id').value = id
    this.#showWhat()
    this.#form.scrollIntoView({ block: 'start' })
    this.#field(stream === undefined ? 'channel' : 'id').focus({ preventScroll: true })
    if (stream !== undefined || this.#who === 'me') this.#ask()
  }

  get #who() {
    return this.#form.querySelector('[name=who]:checked').value
  }

  #pick(who) {
    byId(`who-${who}`).checked = true
    this.#showWho()
  }

  #field(name) {
    return byId(`explain-${name}`)
  }

  #showWho() {
    for (const part of this.#form.querySelectorAll('[data-who]')) part.hidden = !part.dataset.who.split(' ').includes(this.#who)
    this.#showWhat()
  }

  #showWhat() {
    const isReal = this.#field('id').value.trim() !== ''
    byId('explain-asks').hidden = isReal
    byId('explain-from').hidden = !isReal || this.#who === 'stream'
  }

  #question() {
    const value = (name) => this.#field(name).value.trim()
    const question = { channel: value('channel') }
    if (this.#who === 'token') question.token = value('token')
    if (this.#who === 'stream') question.stream = Number(value('stream'))
    if (this.#who === 'principal') question.principal = { id: value('principal') || null, subscribe: names(value('subscribe')), permissions: names(value('holds')) }
    if (value('id')) question.id = value('id')
    else question.permissions = names(value('permissions'))
    if (this.#who !== 'stream' && value('id') && value('since')) question.since = value('since')
    return question
  }

  async #ask() {
    this.#answer.setAttribute('aria-busy', 'true')
    try {
      this.#show(await ask('dashboard/explain', { method: 'POST', json: this.#question() }))
    } catch (error) {
      this.#answer.replaceChildren(make('p', 'notice bad', error.message))
    }
    this.#answer.removeAttribute('aria-busy')
  }

  #show({ answer, says, steps }) {
    const list = make('ol', 'steps')
    for (const step of steps) {
      const item = make('li', LOOK[step.answer], make('strong', '', NAME[step.name] ?? step.name), make('span', 'visually-hidden', `: ${WORD[step.answer]}.`), make('p', '', step.says))
      if (step.fix) item.append(make('p', 'soft small', `→ ${step.fix}`))
      list.append(item)
    }
    this.#answer.replaceChildren(make('p', `notice verdict ${LOOK[answer]}`, says), list)
  }
}
