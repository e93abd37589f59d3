// Small charts of the last minutes, as SVG: lines, stacked areas, bars. No library.
//
// A chart has a fixed height, so that nothing on the page moves; it is drawn anew with each sample and when its width changes.
// Its newest values stand in its legend; pointing at it, or the arrow keys, show those of another moment there. For people who
// do not see it, its name says what it shows. Knows points and the DOM; must not know where points come from.

import { make, perFrame } from './parts.js'

const SVG = 'http://www.w3.org/2000/svg'
const HEIGHT = 132
const EDGE = { top: 8, right: 6, bottom: 18, left: 40 }

function shape(name, attributes = {}, ...content) {
  const element = document.createElementNS(SVG, name)
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
  element.append(...content)
  return element
}

/** The end of an axis that begins at 0: a round number not below `most`. */
export function ceiling(most) {
  if (!(most > 0)) return 1
  const power = 10 ** Math.floor(Math.log10(most))
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((end) => end >= most * 0.999)
}

const timeOfDay = (time) => new Date(time).toLocaleTimeString([], { hour12: false })

export class Chart {
  #box
  #options
  #svg = shape('svg', { class: 'plot', height: HEIGHT, role: 'img', tabindex: '0' })
  #values = new Map()
  #when = make('span', 'when')
  #points = []
  #seconds = 600
  #width = 320
  #at = null // the time that is pointed at
  #draw = perFrame(() => this.#drawNow())

  /**
   * @param {HTMLElement} box where the chart goes: after its heading.
   * @param {object} options
   * @param {string} options.name what it shows, in a word or two.
   * @param {'line' | 'stack' | 'bars'} options.kind
   * @param {{ key: string, name: string, look: string }[]} options.series
   * @param {(value: number | null) => string} options.format
   * @param {string} [options.unit] said after values in words.
   */
  constructor(box, options) {
    this.#box = box
    this.#options = { unit: '', ...options }
    const legend = make('dl', 'legend')
    for (const { key, name, look } of options.series) {
      const value = make('dd', '', '–')
      this.#values.set(key, value)
      legend.append(make('div', look, make('dt', '', name), value))
    }
    box.append(legend, this.#when, this.#svg)
    this.#listen()
    new ResizeObserver(([{ contentRect }]) => {
      this.#width = Math.max(160, Math.floor(contentRect.width))
      this.#draw()
    }).observe(box)
  }

  show(points, seconds) {
    this.#points = points
    this.#seconds = seconds
    this.#draw()
  }

  #listen() {
    const svg = this.#svg
    const point = (at) => {
      this.#at = at
      this.#draw()
    }
    svg.addEventListener('pointermove', ({ offsetX }) => point(this.#timeAt(offsetX)))
    svg.addEventListener('pointerleave', () => point(null))
    svg.addEventListener('blur', () => point(null))
    svg.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
      if (!step || !this.#points.length) return
      event.preventDefault()
      const now = this.#nearest() ?? this.#points.at(-1)
      const index = Math.min(this.#points.length - 1, Math.max(0, this.#points.indexOf(now) + step * (event.shiftKey ? 10 : 1)))
      point(this.#points[index].time)
    })
  }

  get #end() {
    return this.#points.at(-1)?.time ?? Date.now()
  }

  #timeAt(x) {
    const share = (x - EDGE.left) / (this.#width - EDGE.left - EDGE.right)
    return this.#end - (1 - Math.min(1, Math.max(0, share))) * this.#seconds * 1000
  }

  #nearest() {
    if (this.#at === null) return null
    let best = null
    for (const each of this.#points) if (!best || Math.abs(each.time - this.#at) < Math.abs(best.time - this.#at)) best = each
    return best
  }

  #drawNow() {
    const { series, kind, format } = this.#options
    const points = this.#points
    const tops = points.map((point) => (kind === 'line' ? Math.max(...series.map(({ key }) => point[key] ?? 0)) : series.reduce((all, { key }) => all + (point[key] ?? 0), 0)))
    const most = Math.max(kind === 'bars' ? 2 : 0, ceiling(Math.max(0, ...tops)))
    const inner = this.#width - EDGE.left - EDGE.right
    const bottom = HEIGHT - EDGE.bottom
    const x = (time) => EDGE.left + inner * (1 - (this.#end - time) / (this.#seconds * 1000))
    const y = (value) => bottom - ((bottom - EDGE.top) * Math.min(value, most)) / most
    const picked = this.#nearest()
    this.#svg.setAttribute('viewBox', `0 0 ${this.#width} ${HEIGHT}`)
    this.#svg.replaceChildren(
      ...this.#axes(most, y, inner, bottom),
      ...(kind === 'bars' ? bars(points, series, x, y, (inner / this.#seconds) * 0.9) : kind === 'stack' ? stack(points, series, x, y) : lines(points, series, x, y)),
      ...(picked ? [shape('line', { class: 'pick', x1: x(picked.time), x2: x(picked.time), y1: EDGE.top, y2: bottom })] : []),
    )
    const shown = picked ?? points.at(-1)
    for (const { key } of series) this.#values.get(key).textContent = format(shown?.[key] ?? null)
    this.#when.textContent = picked ? timeOfDay(picked.time) : 'now'
    this.#describe(shown, picked, Math.max(0, ...tops))
  }

  #axes(most, y, inner, bottom) {
    const parts = []
    for (const share of [0, 0.5, 1]) {
      const at = y(most * share)
      parts.push(shape('line', { class: 'rule', x1: EDGE.left, x2: EDGE.left + inner, y1: at, y2: at }))
      parts.push(shape('text', { class: 'mark end', x: EDGE.left - 6, y: at + 4 }, this.#options.format(most * share)))
    }
    const words = this.#seconds >= 120 ? `${this.#seconds / 60} min` : `${this.#seconds} s`
    parts.push(shape('text', { class: 'mark', x: EDGE.left, y: bottom + 14 }, `${words} ago`))
    parts.push(shape('text', { class: 'mark end', x: EDGE.left + inner, y: bottom + 14 }, 'now'))
    return parts
  }

  #describe(shown, picked, most) {
    const { name, series, format, unit } = this.#options
    const values = series.map(({ key, name: word }) => `${word} ${format(shown?.[key] ?? null)}`).join(', ')
    const words = picked ? `${name} at ${timeOfDay(picked.time)}: ${values}` : `${name}${unit && `, ${unit}`}: now ${values}; highest ${format(most)}`
    this.#svg.setAttribute('aria-label', words)
  }
}

const line = (points, at) => points.map((point, index) => `${index ? 'L' : 'M'}${at(point, index)}`).join('')

/** Runs of points that have a value: nothing is drawn over a gap. */
function runs(points, key) {
  const found = []
  let run = []
  for (const point of points) {
    if (point[key] == null) {
      if (run.length) found.push(run)
      run = []
    } else run.push(point)
  }
  return run.length ? [...found, run] : found
}

function lines(points, series, x, y) {
  const parts = []
  for (const { key, look } of [...series].reverse()) { // the first one on top
    for (const run of runs(points, key)) {
      const at = (point) => `${x(point.time).toFixed(1)} ${y(point[key]).toFixed(1)}`
      if (run.length === 1) parts.push(shape('circle', { class: `dot ${look}`, cx: x(run[0].time), cy: y(run[0][key]), r: 1.6 }))
      else parts.push(shape('path', { class: `line ${look}`, d: line(run, at) }))
    }
  }
  return parts
}

function stack(points, series, x, y) {
  if (points.length < 2) return []
  const below = points.map(() => 0)
  const layers = series.map(({ key, look }) => {
    const top = points.map((point, index) => below[index] + point[key])
    const at = (heights) => (point, index) => `${x(point.time).toFixed(1)} ${y(heights[index]).toFixed(1)}`
    const upper = line(points, at(top))
    const lower = points.map(at(below)).reverse().map((place) => `L${place}`)
    const isThere = top.some((value, index) => value > below[index])
    top.forEach((value, index) => (below[index] = value))
    if (!isThere) return []
    return [shape('path', { class: `area ${look}`, d: `${upper}${lower.join('')}Z` }), shape('path', { class: `line ${look}`, d: upper })]
  })
  return layers.reverse().flat() // the first one's line on top, where others have nothing
}

function bars(points, series, x, y, width) {
  const parts = []
  for (const point of points) {
    let below = 0
    for (const { key, look } of series) {
      const value = point[key] ?? 0
      if (value) {
        const wide = Math.max(1.5, width)
        parts.push(shape('rect', { class: `bar-of ${look}`, x: x(point.time) - wide, width: wide, y: y(below + value), height: Math.max(1, y(below) - y(below + value)) }))
      }
      below += value
    }
  }
  return parts
}
