// What happened, as data: a run for each button that was pressed, and in it what was done, what the client did about it, and
// what it was sent. Pure; the page shows it.
import type { ServerEvent, State, Status } from 'headwater'

export type Happening =
  /** `you`: done by a button. `fact`: what else one should know. `token`: the client asked for one. */
  | { kind: 'you' | 'fact' | 'token'; text: string }
  | { kind: 'state'; status: Status; cursor: string }
  | { kind: 'event'; type: string; title: string; cursor: string }
  | { kind: 'verdict'; verdict: Verdict }

/** `at`: milliseconds of Unix time. */
export type Entry = Happening & { readonly id: number; readonly at: number }

export interface Run {
  readonly id: number
  readonly title: string
  readonly began: number
  /** The state in which the client was then. */
  readonly state: State
  readonly entries: readonly Entry[]
  readonly isOver: boolean
}

/** What was sent, held against what has come. */
export interface Verdict {
  readonly sent: number
  readonly received: number
  readonly lost: number
  readonly doubled: number
  readonly reordered: number
  /** What else is worth saying. */
  readonly text?: string
}

export const isGood = ({ lost, doubled, reordered }: Verdict) => lost + doubled + reordered === 0

/** Compare the ids of what was sent, in this order, with those that came. Others may have come as well. */
export function judge(sent: readonly string[], came: readonly string[]): Verdict {
  const ours = came.filter((id) => sent.includes(id))
  const received = [...new Set(ours)]
  const inOrder = sent.filter((id) => received.includes(id))
  return {
    sent: sent.length,
    received: received.length,
    lost: sent.length - received.length,
    doubled: ours.length - received.length,
    reordered: inOrder.filter((id, at) => received[at] !== id).length,
  }
}

export type RunsAction =
  | { type: 'begin'; title: string; state: State; at: number }
  | { type: 'end' }
  | { type: 'happening'; happening: Happening; at: number }

const MAX_RUNS = 10
const MAX_ENTRIES = 500

/** The newest run first. What happens between two runs belongs to the one before. */
export function runsReducer(runs: readonly Run[], action: RunsAction): readonly Run[] {
  const [current, ...others] = runs
  if (action.type === 'begin') {
    const run = { id: (current?.id ?? 0) + 1, title: action.title, began: action.at, state: action.state, entries: [], isOver: false }
    return [run, ...runs].slice(0, MAX_RUNS)
  }
  if (!current) return runs
  if (action.type === 'end') return [{ ...current, isOver: true }, ...others]
  const entry = { ...action.happening, id: (current.entries.at(-1)?.id ?? 0) + 1, at: action.at }
  return [{ ...current, entries: [...current.entries, entry].slice(-MAX_ENTRIES) }, ...others]
}

/** Which verdict a run came to. */
export const verdictOf = (run: Run) => run.entries.flatMap((entry) => (entry.kind === 'verdict' ? [entry.verdict] : [])).at(-1)

/** The events between two other entries, as one. */
export interface Group {
  readonly id: number
  readonly at: number
  readonly kind: 'events'
  readonly events: readonly (Entry & { kind: 'event' })[]
}

/** Entries as they are shown: events that follow one another are one line. */
export function grouped(entries: readonly Entry[]): (Exclude<Entry, { kind: 'event' }> | Group)[] {
  const shown: (Exclude<Entry, { kind: 'event' }> | Group)[] = []
  for (const entry of entries) {
    const last = shown.at(-1)
    if (entry.kind !== 'event') shown.push(entry)
    else if (last?.kind === 'events') shown[shown.length - 1] = { ...last, events: [...last.events, entry] }
    else shown.push({ id: entry.id, at: entry.at, kind: 'events', events: [entry] })
  }
  return shown
}

/** An event, as it may be shown: a hostile one has no text where text should be. */
export function eventHappening({ type, data, id }: ServerEvent): Happening {
  const title: unknown = data?.title ?? data?.name ?? ''
  return { kind: 'event', type, title: typeof title === 'string' ? title : '', cursor: id }
}
