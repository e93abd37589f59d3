// From samples to what charts and figures show: rates between two samples, and words for numbers.
//
// Pure: no DOM. A counter that went back means that the hub began anew; what was before is then nothing to compare with.

const KEPT = 600

const sum = (counts) => Object.values(counts ?? {}).reduce((total, count) => total + count, 0)

/** The last ten minutes, one point for each sample. */
export class History {
  points = []
  latest = null // the newest snapshot
  #before = null

  clear() {
    this.points = []
    this.latest = this.#before = null
  }

  /** Take a snapshot. */
  push(snapshot) {
    const { sample } = snapshot
    const before = this.#before
    if (before && (sample.time <= before.time || sample.statistics.opened < before.statistics.opened)) this.clear()
    this.latest = snapshot
    const point = this.#before && pointOf(sample, this.#before, snapshot.pulse)
    this.#before = sample
    if (point) this.points.push(point)
    if (this.points.length > KEPT) this.points.splice(0, this.points.length - KEPT)
  }

  /** Whole minutes that charts span: no more than there are, so that a young hub's are not empty. */
  span(most) {
    const seconds = ((this.points.at(-1)?.time ?? 0) - (this.points[0]?.time ?? 0)) / 1000
    return Math.min(most, Math.max(60, Math.ceil(seconds / 60) * 60))
  }

  /** The points of the last so many seconds. */
  last(seconds) {
    const end = this.points.at(-1)?.time ?? 0
    const first = this.points.findIndex(({ time }) => time > end - seconds * 1000)
    return first < 0 ? [] : this.points.slice(first)
  }
}

function pointOf(sample, before, pulse) {
  const now = sample.statistics
  const then = before.statistics
  const seconds = Math.max(0.2, (sample.time - before.time) / 1000)
  const rate = (name) => Math.max(0, now[name] - then[name]) / seconds
  const more = (name) => Math.max(0, sum(now[name]) - sum(then[name]))
  return {
    time: sample.time,
    events: rate('events'),
    published: rate('published'),
    deliveries: rate('deliveries'),
    replayed: rate('replayed'),
    bytes: rate('bytes'),
    live: now.live,
    replaying: now.replaying,
    lagging: now.lagging,
    streams: now.streams,
    p50: sample.p50_ms,
    p99: sample.p99_ms,
    resets: more('resets'),
    full: Math.max(0, now.lagged - then.lagged),
    rejections: more('rejections'),
    opened: Math.max(0, now.opened - then.opened),
    ended: more('ended'),
    behind: pulse?.behind ?? null,
  }
}

/** One row a minute, newest first: the charts for people who do not see them. */
export function minutes(points) {
  const rows = new Map()
  for (const point of points) {
    const minute = Math.floor(point.time / 60_000) * 60_000
    if (!rows.has(minute)) rows.set(minute, [])
    rows.get(minute).push(point)
  }
  const mean = (some, name) => some.reduce((total, point) => total + point[name], 0) / some.length
  const total = (some, name) => some.reduce((count, point) => count + point[name], 0)
  return [...rows].reverse().map(([time, some]) => ({
    time,
    events: mean(some, 'events'),
    deliveries: mean(some, 'deliveries'),
    streams: some.at(-1).streams,
    p99: Math.max(...some.map(({ p99 }) => p99 ?? 0)),
    resets: total(some, 'resets'),
    rejections: total(some, 'rejections'),
  }))
}

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const fine = new Intl.NumberFormat('en', { maximumFractionDigits: 1 })
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })

/** A number in a few characters. */
export const short = (value) => (value == null ? '–' : value >= 10_000 ? compact.format(value) : value >= 100 || Number.isInteger(value) ? whole.format(value) : fine.format(value))

export const count = (value) => (value == null ? '–' : whole.format(value))

export const milliseconds = (value) => (value == null ? '–' : value >= 5000 ? '≥ 5 s' : value >= 1000 ? `${fine.format(value / 1000)} s` : `${fine.format(value)} ms`)

export function bytes(value) {
  if (value == null) return '–'
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1]
  return `${unit ? fine.format(value) : whole.format(value)} ${units[unit]}`
}

/** A span in seconds, in its largest unit. */
export function span(seconds) {
  if (seconds == null) return '–'
  for (const [size, unit] of [[86_400, 'd'], [3600, 'h'], [60, 'min']]) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`
  return `${Math.max(0, Math.floor(seconds))} s`
}

/** How long ago that was. */
export const ago = (time, now = Date.now()) => (time == null ? '–' : now - time < 1000 ? 'just now' : `${span((now - time) / 1000)} ago`)
