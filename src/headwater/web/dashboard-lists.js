// The lists of channels and of streams: the first of many, asked for anew every two seconds while somebody can see them.
//
// Rows are kept from one answer to the next, so that nothing jumps under the reader's hand. Knows the DOM and the lists'
// answers; must not know what happens when a row is opened.

import { make } from './parts.js'
import { ago, count, short, span } from './dashboard-figures.js'
import { ask } from './dashboard-session.js'

const EVERY = 2000 // ms between two questions
const TYPING = 250 // ms after the last key before a search is asked

/** A word with a state. */
export const stateOf = (state) => make('span', `pill ${{ live: 'good', replaying: 'warn', lagging: 'bad' }[state] ?? ''}`, state)

class List {
  #parts
  #timer = 0
  #asking = null
  #rows = new Map()
  #isOn = false

  /**
   * @param {object} parts
   * @param {HTMLElement} parts.body of the table.
   * @param {HTMLElement} parts.foot says how many there are.
   * @param {HTMLInputElement} parts.search
   * @param {(search: string) => [string, object]} parts.question path and query.
   * @param {(answer: any) => any[]} parts.items
   * @param {(item: any) => string} parts.key
   * @param {(item: any) => Node[]} parts.cells
   * @param {(answer: any) => string} parts.summary
   * @param {string} parts.none said when there are none.
   * @param {(item: any) => void} parts.onOpen
   * @param {(error: Error) => void} parts.onError
   */
  constructor(parts) {
    this.#parts = parts
    let typing = 0
    parts.search.addEventListener('input', () => {
      clearTimeout(typing)
      typing = setTimeout(() => this.refresh(), TYPING)
    })
    parts.search.form.addEventListener('submit', (event) => {
      event.preventDefault()
      this.refresh()
    })
  }

  /** Keep asking, or stop. */
  set isOn(isOn) {
    if (isOn === this.#isOn) return
    this.#isOn = isOn
    if (isOn) this.refresh()
    else clearTimeout(this.#timer)
  }

  /** Ask now. */
  async refresh() {
    clearTimeout(this.#timer)
    this.#asking?.abort()
    const asking = (this.#asking = new AbortController())
    const { question, search, onError } = this.#parts
    const [path, query] = question(search.value.trim())
    try {
      this.#show(await ask(path, { query, signal: asking.signal }))
    } catch (error) {
      if (error.name === 'AbortError') return
      onError(error)
    }
    if (this.#isOn && asking === this.#asking) this.#timer = setTimeout(() => this.refresh(), EVERY)
  }

  #show(answer) {
    const { body, foot, items, key, cells, summary, none, onOpen } = this.#parts
    const rows = new Map()
    for (const item of items(answer)) {
      const name = key(item)
      const row = this.#rows.get(name) ?? this.#made(onOpen)
      row.item = item
      const [first, ...others] = cells(item)
      row.button.replaceChildren(first)
      row.cells.forEach((cell, index) => cell.replaceChildren(others[index]))
      rows.set(name, row)
    }
    this.#rows = rows
    const wanted = [...rows.values()].map(({ element }) => element)
    if (!wanted.length) {
      const cell = make('td', 'none', none)
      cell.colSpan = 9
      wanted.push(make('tr', '', cell))
    }
    const isSame = wanted.length === body.children.length && wanted.every((element, index) => body.children[index] === element)
    if (!isSame) keepingFocus(() => body.replaceChildren(...wanted))
    foot.textContent = summary(answer)
  }

  #made(onOpen) {
    const element = make('tr')
    const button = make('button', 'open')
    button.type = 'button'
    const head = make('th', '', button)
    head.scope = 'row'
    const columns = element.ownerDocument && this.#parts.body.closest('table').tHead.rows[0].cells
    const cells = [...columns].slice(1).map((column) => make('td', column.className))
    const row = { element, button, cells, item: null }
    element.append(head, ...cells)
    element.addEventListener('click', () => onOpen(row.item))
    return row
  }
}

/** Rows that move in the document lose the focus; give it back. */
function keepingFocus(work) {
  const focused = document.activeElement
  work()
  if (focused?.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true })
}

const text = (words, className = '') => make('span', className, words)

/** What a channel's row says. */
const channelCells = (row) => [
  text(row.name, 'name'),
  text(short(row.pace), 'number'),
  text(count(row.readers), 'number'),
  text(ago(row.time)),
]

/** What a stream's row says. */
const streamCells = (row) => [
  text(`#${row.id}`, 'number'),
  text(row.principal ?? 'anonymous', row.principal === null ? 'soft name' : 'name'),
  text(row.channels.join(', '), 'name'),
  stateOf(row.state),
  text(count(row.behind), 'number'),
  text(count(row.events), 'number'),
  text(span(row.seconds)),
]

const shownOf = (shown, { matching, total }, [one, many]) =>
  `${count(shown)} shown of ${count(Math.max(matching, shown))}${matching === total ? '' : ` that match, ${count(total)} in all`} ${total === 1 ? one : many}`

export const channelList = (parts) =>
  new List({
    ...parts,
    question: (prefix) => ['dashboard/channels', { prefix, order: parts.order() }],
    items: (answer) => answer.channels,
    key: (row) => row.name,
    cells: channelCells,
    summary: (answer) => shownOf(answer.channels.length, answer, ['channel is read here', 'channels are read here']),
    none: 'No channel begins like that, or none has events yet.',
  })

export const streamList = (parts) =>
  new List({
    ...parts,
    question: (search) => ['dashboard/streams', { search, order: parts.order() }],
    items: (answer) => answer.streams,
    key: (row) => String(row.id),
    cells: streamCells,
    summary: (answer) => shownOf(answer.streams.length, answer, ['stream', 'streams']),
    none: 'No stream is open here that matches.',
  })
