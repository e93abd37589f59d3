// What pages are made of besides their style: elements, the state of a connection, and lists that grow fast.
//
// Knows the DOM and the states of a client; must not know any page. What strangers publish is only ever made into text.

export const byId = (id) => document.getElementById(id)

/** An element with text or children. Text is text: nothing that comes from a hub is ever read as markup. */
export function make(name, className = '', ...content) {
  const element = document.createElement(name)
  if (className) element.className = className
  element.append(...content)
  return element
}

// Made once: a formatter takes longer to make than a row.
const whole = new Intl.NumberFormat()
const hours = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' })

/** A time of day, as the reader writes it. */
export const clock = (time) => (Number.isNaN(new Date(time).getTime()) ? '–' : hours.format(new Date(time)))

/** A number of things: `1 line`, `2,000 lines`. */
export const some = (number, [one, many]) => `${whole.format(number)} ${number === 1 ? one : many}`

/** Where choices are remembered; nowhere, if the reader's browser forbids it. */
function memory() {
  try {
    return localStorage
  } catch {
    return null
  }
}

/** Light or dark: what was chosen, on any page of this origin, or else what the reader's system says. */
export function themeButton(button) {
  const root = document.documentElement
  const remembered = memory()?.getItem('headwater-theme')
  if (remembered) root.dataset.theme = remembered
  button.addEventListener('click', () => {
    const isDark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches
    root.dataset.theme = isDark ? 'light' : 'dark'
    memory()?.setItem('headwater-theme', root.dataset.theme)
  })
}

// -- the state of a connection -------------------------------------------------------------------------------------------

const STATES = {
  idle: ['starting', ''],
  connecting: ['connecting', 'warn busy'],
  open: ['live', 'good'],
  waiting: ['reconnecting', 'warn busy'],
  suspended: ['reconnecting', 'warn busy'],
  polling: ['polling', 'warn'],
  offline: ['offline', 'warn'],
  closed: ['paused', ''],
  failed: ['refused', 'bad'],
}

/** Show a client's state in a pill. */
export function showState(pill, state) {
  const [word, look] = STATES[state]
  pill.textContent = word
  pill.className = `pill ${look}`
}

/** A browser has six connections to one host (HTTP/1.1): while nobody looks at a page, another one may have this one's. */
export function whileSeen(clients) {
  document.addEventListener('visibilitychange', () => clients().forEach((client) => (document.hidden ? client.close() : client.connect())))
}

const GONE = ['waiting', 'suspended', 'offline']
const SETTLED = 400 // ms after which what was missed has come
const SHOWN = 6000 // ms for which good news stays

/** The banner of a page: tells that the connection was lost, lets the reader try at once, and says what was caught up with. */
export class Banner {
  #banner
  #names
  #heard = 0
  #before = null // what had been heard when the connection was lost
  #timer = 0

  /**
   * @param {HTMLElement} banner an empty element.
   * @param {[string, string]} names of what comes over the stream: one, and many.
   */
  constructor(banner, names) {
    this.#banner = banner
    this.#names = names
  }

  /** Say something; nothing, if there is no text. */
  say(look, text = '', ...more) {
    clearTimeout(this.#timer)
    this.#banner.className = `banner ${look}`
    this.#banner.hidden = !text
    this.#banner.replaceChildren(make('span', '', text), ...more)
  }

  /** Something else is shown from now on. */
  begin() {
    this.#heard = 0
    this.#before = null
    this.say('')
  }

  /** Something came. */
  heard() {
    this.#heard += 1
  }

  /** A client's state has changed. @param {() => void} [onBack] called once what was missed is there. */
  onStatus(client, { state, error }, onBack) {
    if (state === 'failed') return this.say('bad', error?.message ?? 'The server refuses to be listened to.')
    if (GONE.includes(state) && this.#heard) {
      this.#before ??= this.#heard
      const again = make('button', 'button quiet', 'Try now')
      again.type = 'button'
      again.addEventListener('click', () => client.reconnect())
      this.say('warn', `The connection is lost. It comes back by itself, and no ${this.#names[0]} will be missing.`, again)
    } else if (state === 'polling') this.say('warn', 'Streams do not get through here. What is new is asked for instead.')
    else if (state === 'open' && this.#before === null) this.say('')
    else if (state === 'open') setTimeout(() => this.#welcome(onBack), SETTLED)
  }

  #welcome(onBack) {
    if (this.#before === null) return
    const missed = this.#heard - this.#before
    this.#before = null
    this.say('good', missed ? `Back. Caught up with ${some(missed, this.#names)}.` : 'Back. Nothing was missed.')
    this.#timer = setTimeout(() => this.say(''), SHOWN)
    onBack?.()
  }
}

// -- lists that grow fast ------------------------------------------------------------------------------------------------

const ROWS = 100 // made for one picture, at most
const BUDGET = 4 // ms for making them; to lay them out takes some times as long
const FEW = 12 // rows that may appear with an effect
const NEAR = 48 // px from the end that count as the end
const TELL = 10_000 // ms between two summaries for people who listen to the page

/** Have work done once for the next picture, however often it is asked for. */
export function perFrame(work) {
  let asked = 0
  return () => {
    asked ||= requestAnimationFrame(() => {
      asked = 0
      work()
    })
  }
}

/**
 * A list that stays at its end while rows come, however many at once: they are made a hundred for each picture, and only
 * the last ones are kept. Whoever scrolls up stays there, and reads how many have come below.
 */
export class Feed {
  rows = [] // { item, element }
  visible = 0
  dropped = 0 // rows that are no longer kept
  #parts
  #pending = []
  #isFollowing = true
  #below = 0
  #untold = 0
  #schedule = perFrame(() => this.#drawSome())

  /**
   * @param {object} parts
   * @param {HTMLElement} parts.box what scrolls.
   * @param {HTMLElement} parts.list where the rows are, in the box or the box itself.
   * @param {HTMLButtonElement} parts.below says how many came below, and leads there.
   * @param {HTMLElement} parts.summary tells people who listen to the page, now and then.
   * @param {[string, string]} parts.names of rows: one, and many.
   * @param {(item: any) => HTMLElement} parts.draw
   * @param {(item: any) => boolean} [parts.isShown]
   * @param {() => void} [parts.onDrawn] once for each picture.
   * @param {number} [parts.max] rows that are kept.
   */
  constructor(parts) {
    this.#parts = { isShown: () => true, onDrawn() {}, max: 1000, ...parts }
    const { box, below } = parts
    box.addEventListener('scroll', () => this.#follow(box.scrollTop + box.clientHeight > box.scrollHeight - NEAR), { passive: true })
    below.addEventListener('click', () => {
      this.#follow(true)
      this.#stick()
      box.focus({ preventScroll: true })
    })
    new ResizeObserver(() => this.#stick()).observe(box)
    this.#follow(true)
  }

  add(item) {
    this.#pending.push(item)
    if (this.#pending.length > 2 * this.#parts.max) this.#forget() // no picture is drawn while nobody looks
    this.#schedule()
  }

  /** Of what waits, what will never be shown: there is enough behind it. */
  #forget() {
    const { max } = this.#parts
    this.dropped += Math.max(0, this.#pending.length - max)
    this.#pending = this.#pending.slice(-max)
  }

  clear() {
    this.#pending = []
    this.rows = []
    this.visible = this.dropped = this.#untold = 0
    this.#parts.list.replaceChildren()
    this.#follow(true)
    this.#schedule()
  }

  /** Ask anew for each row whether it is shown. */
  filter() {
    this.visible = 0
    for (const { item, element } of this.rows) this.visible += !(element.hidden = !this.#parts.isShown(item))
    this.#parts.onDrawn()
    this.#stick()
  }

  #drawSome() {
    const { list, max, onDrawn } = this.#parts
    this.#forget()
    const made = this.#make(performance.now() + BUDGET)
    const shown = made.filter(({ element }) => !element.hidden).length
    if (made.length <= FEW) made.forEach(({ element }) => element.classList.add('new'))
    list.append(...made.map(({ element }) => element))
    this.rows.push(...made)
    this.visible += shown
    this.#trim(this.rows.length - max)
    if (!this.#isFollowing) this.#showBelow(this.#below + shown)
    this.#announce(shown)
    onDrawn()
    this.#stick()
    if (this.#pending.length) this.#schedule()
  }

  /** Rows of what waits, until a time. */
  #make(until) {
    const { draw, isShown } = this.#parts
    const made = []
    for (const item of this.#pending.slice(0, ROWS)) {
      const element = draw(item)
      element.hidden = !isShown(item)
      made.push({ item, element })
      if (performance.now() > until) break
    }
    this.#pending.splice(0, made.length)
    return made
  }

  #trim(count) {
    if (count <= 0) return
    for (const { element } of this.rows.splice(0, count)) {
      this.visible -= !element.hidden
      element.remove()
    }
    this.dropped += count
  }

  #stick() {
    const { box } = this.#parts
    if (this.#isFollowing) box.scrollTop = box.scrollHeight
  }

  #follow(isFollowing) {
    this.#isFollowing = isFollowing
    if (isFollowing) this.#showBelow(0)
  }

  #showBelow(count) {
    const { below } = this.#parts
    this.#below = count
    below.hidden = !count
    below.textContent = `${whole.format(count)} new below ↓`
  }

  #announce(count) {
    const { summary, names } = this.#parts
    if (count && !this.#untold) {
      setTimeout(() => {
        if (this.#untold) summary.textContent = `${some(this.#untold, names)} more`
        this.#untold = 0
      }, TELL)
    }
    this.#untold += count
  }
}
