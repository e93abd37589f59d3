// Looking closely at one channel or one stream, in a drawer; and ending a stream.
//
// Everything in it came from strangers (names, principals, data) and is shown as text. Knows the DOM and the answers; must not
// know lists or charts.

import { make } from './parts.js'
import { ago, bytes, count, span } from './dashboard-figures.js'
import { ask, path } from './dashboard-session.js'
import { stateOf } from './dashboard-lists.js'

const EVERY = 2000

const WAITS = { full: 'Its client does not read.', read: 'The log is being read for it.', reset: 'It is about to be told of a reset.' }

function button(words, look, onClick) {
  const made = make('button', `button ${look}`, words)
  made.type = 'button'
  made.addEventListener('click', onClick)
  return made
}

function facts(rows) {
  const list = make('dl', 'facts')
  for (const [name, ...value] of rows) list.append(make('div', '', make('dt', '', name), make('dd', '', ...value)))
  return list
}

const code = (words) => make('code', '', words)

const codes = (words, none) => (words.length ? words.flatMap((word, index) => (index ? [' ', code(word)] : [code(word)])) : [make('span', 'soft', none)])

export class Drawer {
  #dialog
  #explain
  #at = null // ['stream', 12] or ['channel', 'room:42']
  #timer = 0
  #asking = null
  #shown = '' // what is there, so that an unchanged answer changes nothing

  /**
   * @param {HTMLDialogElement} dialog with a heading, a body and a close button.
   * @param {(question: object) => void} explain asks why somebody gets an event.
   */
  constructor(dialog, explain) {
    this.#dialog = dialog
    this.#explain = explain
    dialog.querySelector('.close').addEventListener('click', () => dialog.close())
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.close())
    dialog.addEventListener('close', () => {
      this.#at = null
      this.#shown = ''
      clearTimeout(this.#timer)
      this.#asking?.abort()
      history.replaceState(null, '', location.pathname + location.search)
    })
  }

  /** Look at something. */
  open(kind, name) {
    this.#at = [kind, name]
    this.#shown = ''
    this.#head.textContent = kind === 'stream' ? `Stream #${name}` : String(name)
    this.#dialog.querySelector('.kind').textContent = kind === 'stream' ? '' : 'Channel'
    this.#body.replaceChildren(make('p', 'soft', 'Looking …'))
    history.replaceState(null, '', `#${kind}/${encodeURIComponent(name)}`)
    if (!this.#dialog.open) this.#dialog.showModal()
    this.#body.scrollTop = 0
    this.#head.focus()
    this.#refresh()
  }

  /** Look at what the address names, if it does. */
  openFromAddress() {
    const [, kind, name] = /^#(stream|channel)\/(.+)$/.exec(location.hash) ?? []
    try {
      if (kind) this.open(kind, decodeURIComponent(name))
    } catch {
      // not an address of ours
    }
  }

  get #head() {
    return this.#dialog.querySelector('h2')
  }

  get #body() {
    return this.#dialog.querySelector('.body')
  }

  async #refresh() {
    if (document.hidden) return this.#wait()
    clearTimeout(this.#timer)
    this.#asking?.abort()
    const asking = (this.#asking = new AbortController())
    const [kind, name] = this.#at
    try {
      const found = await ask(path('dashboard', `${kind}s`, String(name)), { signal: asking.signal })
      this.#show(kind === 'stream' ? this.#stream(found) : this.#channel(found), found)
    } catch (error) {
      if (error.name === 'AbortError') return
      this.#shown = ''
      const words = error.status === 404 && kind === 'stream' ? 'This stream is not open any more.' : error.message
      this.#body.replaceChildren(make('p', 'notice warn', words))
      if (error.status && error.status < 500) return // it stays so
    }
    this.#wait()
  }

  #wait() {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#refresh(), EVERY)
  }

  #show(parts, found) {
    const text = JSON.stringify(found)
    if (text === this.#shown || this.#body.contains(document.activeElement)) {
      if (this.#shown) return // nothing is replaced under the reader's hand
    }
    this.#shown = text
    this.#body.replaceChildren(...parts)
  }

  #stream(found) {
    const { info } = found
    const told = make('p', 'notice', '')
    told.setAttribute('role', 'status')
    told.hidden = true
    return [
      make('p', 'row', stateOf(info.state), ...(found.catching_up ? [make('span', 'soft', WAITS[found.catching_up])] : [])),
      facts([
        ['Principal', info.principal ?? 'anonymous'],
        ['Address', info.address || '–'],
        ['Channels', ...info.channels.flatMap((name) => [this.#link(name), ' '])],
        ['Permissions', ...codes(info.permissions, 'none')],
        ['Open since', span(info.seconds)],
        ['Began at', code(found.began)],
        ['Written up to', code(found.cursor)],
        ['Behind', `${count(info.behind)} positions`],
        ['Events', count(info.events)],
        ['Sent', bytes(info.bytes)],
        ['Transport', found.transport === 'direct' ? 'direct to the socket' : 'through the ASGI server'],
        ['Heartbeat', found.heartbeat ? `every ${found.heartbeat} s` : 'none'],
        ['Token', found.expires_in === null ? 'does not end' : `ends in ${span(found.expires_in)}`],
      ]),
      make('div', 'row actions', button('Explain …', '', () => this.#ask({ stream: info.id, channel: info.channels[0] })), this.#closing(info.id, told)),
      told,
    ]
  }

  /** Ending takes two clicks. */
  #closing(id, told) {
    const place = make('span', 'row')
    const sure = button('End it', 'primary', async () => {
      try {
        await ask(path('streams', String(id)), { method: 'DELETE' })
        told.className = 'notice good'
        told.textContent = 'Ended. Its client was told so, and may come back.'
        place.replaceChildren()
        clearTimeout(this.#timer)
      } catch (error) {
        told.className = 'notice bad'
        told.textContent = error.message
      }
      told.hidden = false
    })
    const first = button('Close the stream', 'danger', () => {
      place.replaceChildren(make('span', 'soft small', 'Its client is told, and may come back.'), sure, button('Keep it', 'quiet', reset))
      sure.focus()
    })
    const reset = () => {
      place.replaceChildren(first)
      first.focus()
    }
    place.append(first)
    return place
  }

  #channel(found) {
    const parts = [
      facts([
        ['Retained', `${count(found.events)} events, ${bytes(found.bytes)}`],
        ['First', ...(found.first ? [code(found.first.id), ' ', make('span', 'soft', ago(Date.parse(found.first.time)))] : ['–'])],
        ['Head', ...(found.recent.length ? [code(found.recent[0].id), ' ', make('span', 'soft', ago(Date.parse(found.recent[0].time)))] : ['–'])],
        ['Complete from', code(found.complete_from)],
        ['Here', found.followed ? `followed; ${count(found.ring)} events kept encoded` : 'not followed'],
        ['Readers', count(found.readers)],
      ]),
    ]
    if (!found.granted) parts.push(make('p', 'notice', 'Your token does not grant reading this channel: what its events say is not shown.'))
    parts.push(make('h3', '', 'Newest events'), this.#events(found), make('h3', '', 'Streams'), this.#readers(found.streams))
    return parts
  }

  #events(found) {
    if (!found.recent.length) return make('p', 'soft', 'The log has no event of this channel.')
    const list = make('ol', 'events')
    for (const event of found.recent) {
      const isHidden = event.data === null
      const why = button('Explain …', 'quiet', () => this.#ask({ channel: found.name, id: event.id }))
      why.setAttribute('aria-label', `Explain event ${event.id}`)
      const head = make('p', 'row', code(event.id), ...(isHidden ? [] : [make('strong', '', event.type)]), make('span', 'soft small', ago(Date.parse(event.time))), ...event.permissions.map((name) => make('span', 'tag', name)), why)
      const data = isHidden ? make('p', 'soft small', event.permissions.length ? 'Not shown: you would need these permissions, and a grant.' : 'Not shown: you have no grant for this channel.') : make('pre', '', event.data + (event.data.length < event.bytes && event.data.length >= 2000 ? ' …' : ''))
      list.append(make('li', '', head, data))
    }
    return list
  }

  #readers({ streams, matching }) {
    if (!streams.length) return make('p', 'soft', 'Nobody reads it here.')
    const list = make('ul', 'readers')
    for (const each of streams) {
      const open = make('button', 'open', `#${each.id} ${each.principal ?? 'anonymous'}`)
      open.type = 'button'
      open.addEventListener('click', () => this.open('stream', each.id))
      list.append(make('li', 'row', open, stateOf(each.state), make('span', 'soft small', `${count(each.behind)} behind`)))
    }
    if (matching > streams.length) list.append(make('li', 'soft small', `and ${count(matching - streams.length)} more`))
    return list
  }

  #link(name) {
    const open = make('button', 'open', name)
    open.type = 'button'
    open.addEventListener('click', () => this.open('channel', name))
    return open
  }

  #ask(question) {
    this.#dialog.close()
    this.#explain(question)
  }
}
