// The channel as all three together see it: every event, what it asks for, and who was sent it.
//
// However many events come at once, only the newest have rows, and they are drawn once for each picture. Knows people by
// what they hold and where their cards are; must not know what an event means.

import { byId, clock, make, perFrame, some } from './live.js'

const MAX_ROWS = 40
const MAX_KNOWN = 20_000 // one stream may be so many events behind another

export class Channel {
  #users
  #known = new Map() // ids to { event, sentTo, row }, the oldest first
  #changed = new Set() // those since the last picture
  #lit = new Set() // permissions by which events came since then
  #total = 0
  #schedule = perFrame(() => this.#draw())

  /** @param {{ name: string, role: string, card: HTMLElement, got: number, can: (permission: string) => boolean }[]} users */
  constructor(users) {
    this.#users = users.map((user) => ({ user, withheld: new Map() }))
  }

  /** Somebody was sent an event. */
  record(id, event, user) {
    let known = this.#known.get(id)
    if (!known) this.#known.set(id, (known = this.#meet(event)))
    known.sentTo.add(user.role)
    user.got += 1
    this.#changed.add(known)
    for (const permission of event.permissions) this.#lit.add(permission)
    if (this.#known.size > MAX_KNOWN) this.#known.delete(this.#known.keys().next().value)
    this.#schedule()
  }

  #meet(event) {
    this.#total += 1
    for (const { user, withheld } of this.#users) {
      for (const permission of missing(event, user)) withheld.set(permission, (withheld.get(permission) ?? 0) + 1)
    }
    return { event, sentTo: new Set(), row: null, number: this.#total }
  }

  #draw() {
    const changed = [...this.#changed].filter(({ number }) => number > this.#total - MAX_ROWS).sort((a, b) => a.number - b.number)
    for (const known of changed) {
      const isNew = !known.row
      known.row ??= this.#row(known.event)
      if (isNew) byId('events').prepend(known.row)
      for (const { user } of this.#users) if (known.sentTo.has(user.role)) tick(known.row, user)
    }
    while (byId('events').children.length > MAX_ROWS) byId('events').lastElementChild.remove()
    byId('quiet').hidden = this.#total > 0
    this.#changed.clear()
    for (const each of this.#users) this.#drawUser(each)
    this.#lit.clear()
  }

  #row(event) {
    const asks = event.permissions.length ? make('code', '', event.permissions.join(' ')) : make('em', '', 'nothing')
    const cells = this.#users.map(({ user }) => {
      const cell = make('td', `who ${user.role}`, make('span', 'no', '–'))
      const lacks = missing(event, user)
      if (lacks.length) cell.title = `${user.name} does not hold ${lacks.join(' and ')}`
      return cell
    })
    return make('tr', 'new', make('td', 'time', clock(event.timestamp)), make('td', '', make('code', '', event.type)), make('td', 'asks', asks), ...cells)
  }

  #drawUser({ user, withheld }) {
    user.card.querySelector('.got').textContent = `got ${user.got} of ${some(this.#total, ['event', 'events'])}`
    for (const lock of user.card.querySelectorAll('.lock')) {
      const count = withheld.get(lock.dataset.permission)
      if (count) lock.querySelector('.withheld').textContent = `${some(count, ['event was', 'events were'])} not sent to ${user.name}.`
    }
    const chips = [...user.card.querySelectorAll('.held .yes')].filter(({ dataset }) => this.#lit.has(dataset.permission))
    for (const chip of chips) chip.classList.remove('lit')
    requestAnimationFrame(() => chips.forEach((chip) => chip.classList.add('lit')))
  }
}

const missing = (event, user) => event.permissions.filter((permission) => !user.can(permission))

function tick(row, user) {
  const cell = row.querySelector(`.${user.role}`)
  if (cell.querySelector('.yes')) return
  const made = make('span', 'yes', '✓')
  made.setAttribute('role', 'img')
  made.setAttribute('aria-label', `sent to ${user.name}`)
  cell.replaceChildren(made)
}
