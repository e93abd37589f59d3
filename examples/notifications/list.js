// How notifications and people look: rows that stay where they are while others come and go, so that nobody loses their place.
//
// Knows what a notification is; must not know where it comes from. Whatever a text says, it is shown as a text.

import { make } from './live.js'

const UNITS = [['year', 31_557_600], ['month', 2_629_800], ['day', 86_400], ['hour', 3600], ['minute', 60]]
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' })
const SIGNS = {
  info: 'M12 11v6M12 7.4v.1',
  success: 'M7.5 12.4l3 3 6-6.6',
  warning: 'M12 7v6M12 16.6v.1',
  error: 'M8.5 8.5l7 7M15.5 8.5l-7 7',
}
const SVG = 'http://www.w3.org/2000/svg'

/** How long ago, in words. */
export function ago(time) {
  const seconds = (Date.now() - new Date(time)) / 1000
  const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? []
  return unit ? relative.format(-Math.floor(seconds / size), unit) : 'just now'
}

/** Have every time on the page say anew how long ago it is. */
export function refreshTimes() {
  for (const time of document.querySelectorAll('time[data-ago]')) time.textContent = ago(time.dateTime)
}

export function timeOf(moment) {
  const time = make('time', '', ago(moment))
  time.dateTime = moment
  time.dataset.ago = ''
  return time
}

/** A text of strangers, in its own direction, whatever stands around it. */
export function quoted(name, className, text) {
  const element = make(name, className, text)
  element.dir = 'auto'
  return element
}

/** The first letters of a name, in a circle whose colour is the user's own. */
export function avatar(user) {
  const name = user?.name ?? '?'
  const letters = name.split(/\s+/).slice(0, 2).map((word) => [...word][0] ?? '').join('')
  const hue = [...(user?.id ?? '')].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 6, 0)
  const element = make('span', `avatar hue-${hue}`, letters.toUpperCase())
  element.setAttribute('aria-hidden', 'true')
  return element
}

function sign(level) {
  const svg = document.createElementNS(SVG, 'svg')
  const path = document.createElementNS(SVG, 'path')
  svg.setAttribute('viewBox', '0 0 24 24')
  svg.setAttribute('aria-hidden', 'true')
  path.setAttribute('d', SIGNS[level] ?? SIGNS.info)
  svg.append(path)
  return make('span', `sign ${level}`, svg)
}

/** Where it leads, if that is a page. */
function hrefOf({ href }) {
  try {
    if (typeof href === 'string' && /^https?:$/.test(new URL(href, document.baseURI).protocol)) return href
  } catch {}
}

function action(name, label, sign, act) {
  const button = make('button', `action ${name}`, sign)
  button.type = 'button'
  button.title = label
  button.setAttribute('aria-label', label)
  button.addEventListener('click', act)
  return button
}

/** Keeps a list's rows the same as some notifications. */
export class Items {
  #list
  #options
  #rows = new Map() // by id: { item, element }
  #shown = []

  /**
   * @param {HTMLElement} list
   * @param {object} options
   * @param {(id: string | null) => object | null} options.user who has sent something.
   * @param {(id: string) => void} [options.onRead]
   * @param {(id: string) => void} [options.onRemove]
   */
  constructor(list, options) {
    this.#list = list
    this.#options = options
  }

  show(items) {
    this.#shown = items
    const gone = new Map(this.#rows)
    let isFirst = this.#rows.size === 0
    items.forEach((item, index) => {
      const known = this.#rows.get(item.id)
      gone.delete(item.id)
      const row = known?.item === item ? known : { item, element: this.#row(item, !known && !isFirst) }
      if (known && row !== known) this.#replace(known.element, row.element)
      this.#rows.set(item.id, row)
      if (this.#list.children[index] !== row.element) this.#list.insertBefore(row.element, this.#list.children[index] ?? null)
    })
    for (const [id, { element }] of gone) this.#drop(id, element)
  }

  /** Draw all anew: names have changed. */
  again() {
    for (const [id, { element, item }] of this.#rows) {
      const row = { item, element: this.#row(item, false) }
      this.#replace(element, row.element)
      this.#rows.set(id, row)
    }
    this.show(this.#shown)
  }

  clear() {
    this.#shown = []
    this.#rows.clear()
    this.#list.replaceChildren()
  }

  /** Whoever has the focus within a row keeps it at the same thing in the new one, or near it. */
  #replace(old, row) {
    const focused = old.contains(document.activeElement) ? document.activeElement.className : null
    old.replaceWith(row)
    if (focused !== null) this.#focusNear(row, [...row.querySelectorAll('button, a')].find((each) => each.className === focused))
  }

  #drop(id, element) {
    this.#rows.delete(id)
    const near = element.contains(document.activeElement) ? (element.nextElementSibling ?? element.previousElementSibling ?? element) : null
    element.remove()
    if (near) this.#focusNear(near)
  }

  #focusNear(row, wanted = row.querySelector('button, a')) {
    ;(wanted ?? row.nextElementSibling?.querySelector('button, a') ?? this.#list).focus()
  }

  #row(item, isNew) {
    const { user, onRead, onRemove } = this.#options
    const { id, title, message, level, from, createdAt, read } = item
    const sender = from === null ? null : user(from)
    const who = from === null ? 'System' : (sender?.name ?? from)
    const href = hrefOf(item)
    const heading = quoted(href ? 'a' : 'strong', 'title', title)
    if (href) heading.href = href
    const said = make('div', 'said', heading)
    if (message) said.append(quoted('p', 'message', message))
    said.append(make('p', 'meta', quoted('span', '', who), ' · ', timeOf(createdAt)))
    if (!read) said.append(make('span', 'visually-hidden', 'Unread'))
    const actions = make('div', 'actions')
    if (onRead && !read) actions.append(action('read', `Mark as read: ${title}`, '✓', () => onRead(id)))
    if (onRemove) actions.append(action('remove', `Remove: ${title}`, '×', () => onRemove(id)))
    const face = make('div', 'face', from === null ? sign(level) : avatar(sender ?? { id: from, name: from }))
    if (from !== null && level !== 'info') face.append(sign(level))
    const element = make('li', `item ${level}${read ? '' : ' unread'}${isNew ? ' new' : ''}`, face, said, actions)
    element.dataset.id = id
    return element
  }
}
