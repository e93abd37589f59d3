// The lists of a project: what it reads and what it proposes, as rows that are drawn once for each picture.
//
// However many rows of the database change at once, a row of the page is made anew only if its own thing has changed, and
// only the first ones of a list have rows at all. Knows what is shown of a source and of a proposal; must not know where they
// come from.

import { make, some } from './live.js'

const MOST = 200 // rows of a list
const FEW = 12 // rows that may appear with an effect
const SVG = 'http://www.w3.org/2000/svg'
const number = new Intl.NumberFormat('en')

export const STATUS = { pending: '', processing: 'warn busy', completed: 'good', failed: 'bad', missing: 'warn' }

/** A list of things, each of which is another object when it has changed. */
export class Rows {
  #list
  #parts
  #known = new Map() // ids to { item, row }

  /**
   * @param {HTMLElement} list
   * @param {object} parts
   * @param {(item: any) => string} parts.id of its row.
   * @param {(item: any) => HTMLElement} parts.draw
   * @param {(a: any, b: any) => number} parts.order
   * @param {[string, string]} parts.names of one, and of many.
   */
  constructor(list, parts) {
    this.#list = list
    this.#parts = parts
  }

  /** Show these, and nothing else; whether they just came decides how they appear. */
  show(items, isFresh) {
    const { id, draw, order, names } = this.#parts
    const shown = [...items].sort(order).slice(0, MOST)
    const before = this.#known
    this.#known = new Map(shown.map((item) => {
      const known = before.get(id(item))
      return [id(item), known?.item === item ? known : { item, row: draw(item) }]
    }))
    const made = [...this.#known].filter(([id, { row }]) => before.get(id)?.row !== row)
    for (const [id, { row }] of made) row.id = id
    if (isFresh && made.length <= FEW) for (const [, { row }] of made) row.classList.add('new')
    const rows = [...this.#known.values()].map(({ row }) => row)
    if (items.length > shown.length) rows.push(make('li', 'empty', `and ${some(items.length - shown.length, names)} more`))
    this.#arrange(rows)
  }

  /** Move as little as possible, and leave the focus where it was. */
  #arrange(rows) {
    const focused = this.#list.contains(document.activeElement) && document.activeElement
    const place = focused && { id: focused.closest('li')?.id, label: focused.ariaLabel }
    let next = this.#list.firstElementChild
    for (const row of rows) {
      if (row === next) next = next.nextElementSibling
      else this.#list.insertBefore(row, next)
    }
    while (next) {
      const after = next.nextElementSibling
      next.remove()
      next = after
    }
    if (place?.id && document.activeElement !== focused) refocus(document.getElementById(place.id), place.label)
  }
}

function refocus(row, label) {
  const buttons = [...(row?.querySelectorAll('button') ?? [])]
  const found = buttons.find(({ ariaLabel }) => ariaLabel === label) ?? buttons[0]
  found?.focus({ preventScroll: true })
}

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0)

export const byName = (a, b) => compare(a.sourceName, b.sourceName)

/** What is to be decided first, then what the worker is surest of. */
export const byConfidence = (a, b) => rank(a) - rank(b) || b.confidence - a.confidence || compare(a.title, b.title)
const rank = ({ status }) => ['pending', 'accepted', 'rejected'].indexOf(status)

export function sourceRow({ sourceName, status, words, error }) {
  const name = make('code', '', make('bdi', '', sourceName))
  const counted = words ? [make('small', '', `${number.format(words)} words`)] : []
  const row = make('li', 'source', name, ...counted, make('span', `pill ${STATUS[status] ?? ''}`, status))
  row.title = error ? `${sourceName}: ${error}` : sourceName
  return row
}

export function proposalRow({ title, confidence, status, summary, sourceName }, actions) {
  const words = make('div', 'words', make('strong', '', title))
  if (summary) words.append(make('small', '', summary))
  if (sourceName) words.append(make('span', 'from', sourceName))
  return make('li', `proposal ${status}`, ring(confidence), words, make('div', 'does', ...actions))
}

/** How sure the worker is: a number in a ring that is filled as far. */
function ring(confidence) {
  const made = make('span', `sure ${confidence < 0.5 ? 'weak' : confidence < 0.75 ? 'middling' : ''}`, `${Math.round(confidence * 100)} %`)
  made.title = 'Confidence'
  const svg = document.createElementNS(SVG, 'svg')
  svg.setAttribute('viewBox', '0 0 48 48')
  svg.setAttribute('aria-hidden', 'true')
  for (const share of [1, confidence]) {
    const circle = document.createElementNS(SVG, 'circle')
    const attributes = { cx: 24, cy: 24, r: 21, pathLength: 100, 'stroke-dasharray': `${share * 100} 100` }
    for (const [name, value] of Object.entries(attributes)) circle.setAttribute(name, value)
    svg.append(circle)
  }
  made.append(svg)
  return made
}
