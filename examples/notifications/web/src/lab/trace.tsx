// A run as a picture: a band of the client's states over time, and a dot for each event.
import type { State } from 'headwater'
import { useEffect, useState } from 'react'
import { STATE_LOOK, seconds } from './words'
import type { Run } from './runs'

const LEAST = 2000 // ms that are shown at least
const TICKS = [200, 500, 1000, 2000, 5000, 10_000, 30_000]

interface Stretch {
  readonly state: State
  readonly from: number
  readonly to: number
}

/** Which state it was in from when to when. */
function stretchesOf(run: Run, end: number): Stretch[] {
  const changes = run.entries.flatMap((entry) => (entry.kind === 'state' ? [{ state: entry.status.state, at: entry.at }] : []))
  const all = [{ state: run.state, at: run.began }, ...changes]
  return all.map(({ state, at }, index) => ({ state, from: at, to: all[index + 1]?.at ?? end }))
}

/** Now, as long as something happens. */
function useNow(isRunning: boolean) {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    if (!isRunning) return
    const timer = setInterval(() => setNow(Date.now()), 100)
    return () => clearInterval(timer)
  }, [isRunning])
  return now
}

export function Trace({ run }: { run: Run }) {
  const now = useNow(!run.isOver)
  const last = run.entries.at(-1)?.at ?? run.began
  const end = Math.max(run.began + LEAST, run.isOver ? last : now)
  const length = (end - run.began) * 1.02
  const x = (at: number) => `${(Math.min(1, (at - run.began) / length) * 100).toFixed(3)}%`
  const width = (ms: number) => `${((Math.max(0, ms) / length) * 100).toFixed(3)}%`
  const step = TICKS.find((each) => length / each <= 8) ?? 60_000
  const ticks = Array.from({ length: Math.floor(length / step) }, (_, n) => (n + 1) * step)
  return (
    <svg className="trace" width="100%" height="76" role="img" aria-label={`States and events over ${seconds(end - run.began)}`}>
      <rect className="trace-ground" x="0" y="26" width="100%" height="16" rx="4" />
      {stretchesOf(run, end).map(({ state, from, to }, index) => (
        <rect key={index} className={`trace-${state} ${STATE_LOOK[state]}`} x={x(from)} y="26" width={width(to - from)} height="16">
          <title>{`${state}, ${seconds(to - from)}`}</title>
        </rect>
      ))}
      {run.entries.map((entry) =>
        entry.kind === 'event' ? (
          <circle key={entry.id} className="trace-event" cx={x(entry.at)} cy="13" r="4" />
        ) : entry.kind === 'you' ? (
          <line key={entry.id} className="trace-you" x1={x(entry.at)} x2={x(entry.at)} y1="4" y2="48" />
        ) : null,
      )}
      {ticks.map((tick) => (
        <text key={tick} className="trace-tick" x={x(run.began + tick)} y="64" textAnchor="middle">
          {`${tick / 1000} s`}
        </text>
      ))}
    </svg>
  )
}
