// A run in words: what was done, what the client did about it and why, what it was sent, and what that comes to.
import { grouped, isGood, verdictOf, type Entry, type Group, type Run, type Verdict } from './runs'
import { STATE_LOOK, planText, reasonText, seconds } from './words'

type Shown = Exclude<Entry, { kind: 'event' }> | Group

const WORDS = { you: 'You', fact: 'Meanwhile', token: 'Token' }

/** The last part of a cursor: the number in the log. */
const placeOf = (cursor: string) => cursor.split('-').at(-1)

export function verdictText({ sent, received, lost, doubled, reordered }: Verdict) {
  return `${sent} sent · ${received} received · ${lost} lost · ${doubled} doubled · ${reordered} out of order`
}

function StateLine({ entry }: { entry: Entry & { kind: 'state' } }) {
  const { status, cursor } = entry
  const plan = planText(status)
  return (
    <>
      <span className={`pill ${STATE_LOOK[status.state].replace(' busy', '')}`}>{status.state}</span>
      <div className="what">
        <p>
          {reasonText(status)}
          {plan && <span className="plan">; {plan}</span>}
        </p>
        <p className="facts">
          <span>reason: {status.reason}</span>
          {status.attempt > 0 && <span>failures: {status.attempt}</span>}
          {status.retryAt !== null && <span>delay: {Math.max(0, Math.round(status.retryAt - status.since))} ms</span>}
          {status.transport && <span>by: {status.transport}</span>}
          {cursor && <span title={cursor}>cursor: {placeOf(cursor)}</span>}
        </p>
      </div>
    </>
  )
}

function EventsLine({ group }: { group: Group }) {
  const { events } = group
  const last = events.at(-1)
  const types = [...new Set(events.map(({ type }) => type))]
  const titles = events.map(({ title }) => title).filter(Boolean)
  return (
    <>
      <span className="pill events">{events.length === 1 ? 'event' : `${events.length} events`}</span>
      <div className="what">
        <p>
          {types.join(', ')}
          {titles.length > 0 && <bdi className="titles">{titles.length > 4 ? `${titles[0]} … ${titles.at(-1)}` : titles.join(', ')}</bdi>}
        </p>
        {last && (
          <p className="facts">
            <span title={last.cursor}>cursor: {placeOf(last.cursor)}</span>
          </p>
        )}
      </div>
    </>
  )
}

function VerdictLine({ verdict }: { verdict: Verdict }) {
  return (
    <>
      <span className={`pill ${isGood(verdict) ? 'good' : 'bad'}`}>{isGood(verdict) ? 'complete' : 'not complete'}</span>
      <div className="what">
        <p>
          <strong>{verdictText(verdict)}</strong>
        </p>
        {verdict.text && <p>{verdict.text}</p>}
      </div>
    </>
  )
}

function Line({ entry }: { entry: Shown }) {
  if (entry.kind === 'events') return <EventsLine group={entry} />
  if (entry.kind === 'state') return <StateLine entry={entry} />
  if (entry.kind === 'verdict') return <VerdictLine verdict={entry.verdict} />
  return (
    <>
      <span className={`pill ${entry.kind}`}>{WORDS[entry.kind]}</span>
      <div className="what">
        <p>{entry.text}</p>
      </div>
    </>
  )
}

export function Timeline({ run }: { run: Run }) {
  return (
    <ol className="timeline" aria-label={`What happened: ${run.title}`}>
      {grouped(run.entries).map((entry) => (
        <li key={entry.id} className={`line ${entry.kind}`}>
          <time>+{seconds(entry.at - run.began)}</time>
          <Line entry={entry} />
        </li>
      ))}
    </ol>
  )
}

/** How a run ended, in a word. */
export function Outcome({ run }: { run: Run }) {
  const verdict = verdictOf(run)
  if (!run.isOver) return <span className="pill warn busy">running</span>
  if (!verdict) return <span className="pill">done</span>
  return isGood(verdict) ? <span className="pill good">nothing lost</span> : <span className="pill bad">something is missing</span>
}
