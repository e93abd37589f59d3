// A bell with a count and a list behind it. Opened with a click or the keyboard, it takes the focus, and gives it back.

import { Items } from './list.js'

const MOST = 9
const SHOWN = 8

/** Shows a count in a badge: nothing for none, `9+` for more. */
export function showCount(badge, count) {
  badge.hidden = !count
  badge.textContent = count > MOST ? `${MOST}+` : count
}

export class Bell {
  #button
  #badge
  #panel
  #items
  #onSeen
  #unseen = 0

  /**
   * @param {HTMLElement} element has a button with a badge, and a panel.
   * @param {object} options
   * @param {(id: string | null) => object | null} options.user
   * @param {() => void} options.onSeen what is listed was in view.
   * @param {(id: string) => void} options.onRead
   */
  constructor(element, { user, onSeen, onRead }) {
    this.#button = element.querySelector('.bell-button')
    this.#badge = element.querySelector('.badge')
    this.#panel = element.querySelector('.popover')
    this.#items = new Items(this.#panel.querySelector('.items'), { user, onRead })
    this.#onSeen = onSeen
    this.#button.addEventListener('click', () => (this.isOpen ? this.close(true) : this.open()))
    element.addEventListener('keydown', (event) => this.#onKey(event))
    // Whoever goes elsewhere does not want the list any more; a focus that is lost is nobody's decision.
    element.addEventListener('focusout', ({ relatedTarget }) => relatedTarget && !element.contains(relatedTarget) && this.close())
    document.addEventListener('pointerdown', ({ target }) => !element.contains(target) && this.close())
  }

  get isOpen() {
    return !this.#panel.hidden
  }

  open() {
    this.#panel.hidden = false
    this.#button.setAttribute('aria-expanded', 'true')
    this.#panel.focus()
    this.#onSeen()
  }

  close(isFocused = false) {
    if (!this.isOpen) return
    this.#panel.hidden = true
    this.#button.setAttribute('aria-expanded', 'false')
    if (isFocused) this.#button.focus()
  }

  show(items, unseen) {
    this.#items.show(items.slice(0, SHOWN))
    this.#panel.querySelector('.empty').hidden = items.length > 0
    showCount(this.#badge, unseen)
    this.#button.setAttribute('aria-label', unseen ? `Notifications, ${this.#badge.textContent} new` : 'Notifications')
    if (unseen > this.#unseen) this.#shake()
    this.#unseen = unseen
    if (this.isOpen && unseen) this.#onSeen()
  }

  again() {
    this.#items.again()
  }

  #shake() {
    this.#button.classList.remove('rings')
    requestAnimationFrame(() => this.#button.classList.add('rings'))
  }

  #onKey(event) {
    const { key } = event
    if (key === 'Escape' && this.isOpen) {
      event.stopPropagation()
      this.close(true)
    }
    if (!this.isOpen || !['ArrowDown', 'ArrowUp', 'Home', 'End'].includes(key)) return
    event.preventDefault()
    const stops = [...this.#panel.querySelectorAll('button:not(:disabled), a')]
    const at = stops.indexOf(document.activeElement)
    const next = { ArrowDown: at + 1, ArrowUp: at < 0 ? stops.length - 1 : at - 1, Home: 0, End: stops.length - 1 }[key]
    stops[(next + stops.length) % stops.length]?.focus()
  }
}
