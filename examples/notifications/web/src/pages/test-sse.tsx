// The test page: a connection of its own, buttons that break it, and what it did about that.
import { SSEProvider, useStatus } from 'headwater/react'
import { useEffect, useReducer, useRef, useState } from 'react'
import { Permission } from '../api'
import { Lab } from '../lab/lab'
import { MetricsPanel } from '../lab/metrics'
import { runsReducer, type Run } from '../lab/runs'
import { scenarios, type Scenario } from '../lab/scenarios'
import { Outcome, Timeline } from '../lab/timeline'
import { Trace } from '../lab/trace'
import { STATE_LOOK, planText, reasonText } from '../lab/words'
import { useSession } from '../session'
import { selectPeople, useAppSelector, useMay } from '../store'

const NARROW = '(max-width: 60rem)' // as in bench.css

export function TestPage() {
  const session = useSession()
  const [lab] = useState(() => new Lab(session))
  return (
    <SSEProvider client={lab.client} autoConnect={false}>
      <TestBench lab={lab} />
    </SSEProvider>
  )
}

function useRuns(lab: Lab) {
  const [runs, dispatch] = useReducer(runsReducer, [])
  useEffect(() => {
    lab.tell = (happening) => dispatch({ type: 'happening', happening, at: Date.now() })
    return lab.attach()
  }, [lab])
  const isBusy = runs[0] !== undefined && !runs[0].isOver
  const perform = async (title: string, work: () => void | Promise<void>) => {
    dispatch({ type: 'begin', title, state: lab.client.status.state, at: Date.now() })
    try {
      await work()
      await lab.tidy()
    } catch (error) {
      lab.fact(`That did not work: ${error instanceof Error ? error.message : String(error)}`)
      void lab.tidy().catch(() => {}) // perhaps nothing works
    } finally {
      dispatch({ type: 'end' })
    }
  }
  return { runs, isBusy, perform }
}

function TestBench({ lab }: { lab: Lab }) {
  const { runs, isBusy, perform } = useRuns(lab)
  const [current, ...earlier] = runs
  const view = useRef<HTMLElement>(null)
  useEffect(() => {
    // On a small screen it is below the buttons.
    if (current && matchMedia(NARROW).matches) view.current?.scrollIntoView()
  }, [current?.id])
  const { user } = useSession()
  const people = useAppSelector(selectPeople)
  const hasLoaded = user in people
  const maySend = useMay(Permission.SEND)
  return (
    <main className="page bench" id="content">
      <div className="stack">
        <Connection lab={lab} isBusy={isBusy} perform={perform} />
        <section className="card" aria-labelledby="break-title">
          <h2 id="break-title">Break it</h2>
          {!maySend && hasLoaded && <p className="notice warn">Each of these creates notifications, which {people[user]?.name ?? 'this user'} may not. Sign in as somebody else.</p>}
          <ul className="scenarios">
            {scenarios.map((scenario) => (
              <ScenarioRow key={scenario.id} scenario={scenario} isBusy={isBusy || !maySend} start={() => perform(scenario.title, () => scenario.run(lab))} />
            ))}
          </ul>
        </section>
      </div>
      <div className="stack">
        <section className="card run" ref={view} aria-labelledby="run-title">
          <header>
            <h2 id="run-title">{current ? current.title : 'What the client does'}</h2>
            <span role="status">{current && <Outcome run={current} />}</span>
          </header>
          {current ? (
            <RunView run={current} />
          ) : (
            <div className="empty">
              <p>Connect, or break something.</p>
              <p>Each button connects first if need be, creates notifications while things are broken, and counts what came.</p>
            </div>
          )}
        </section>
        {earlier.length > 0 && (
          <section className="card" aria-label="Earlier">
            <h2>Earlier</h2>
            {earlier.map((run) => (
              <details key={run.id} className="earlier">
                <summary>
                  {run.title} <Outcome run={run} />
                </summary>
                <RunView run={run} />
              </details>
            ))}
          </section>
        )}
        <section className="card" aria-labelledby="metrics-title">
          <h2 id="metrics-title">Metrics</h2>
          <MetricsPanel client={lab.client} />
        </section>
      </div>
    </main>
  )
}

/** What is to be seen in a run. */
const lookOf = ({ title }: Run) => scenarios.find((scenario) => scenario.title === title)?.look

const RunView = ({ run }: { run: Run }) => (
  <>
    {lookOf(run) && <p className="look">{lookOf(run)}</p>}
    <Trace run={run} />
    <Timeline run={run} />
  </>
)

interface ConnectionProps {
  lab: Lab
  isBusy: boolean
  perform: (title: string, work: () => void | Promise<void>) => Promise<void>
}

function Connection({ lab, isBusy, perform }: ConnectionProps) {
  const status = useStatus()
  const isOff = status.state === 'idle' || status.state === 'closed' || status.state === 'failed'
  const connect = async () => {
    lab.network.up()
    lab.tokens = 'good'
    lab.you(isOff ? 'You connected.' : 'You gave up the connection for a new one.')
    if (isOff) lab.client.connect()
    else lab.client.reconnect()
    await lab.next('open')
  }
  const disconnect = () => {
    lab.you('You disconnected.')
    lab.client.close()
  }
  return (
    <section className="card" aria-labelledby="connection-title">
      <header>
        <h2 id="connection-title">The connection under test</h2>
        <span className={`pill ${STATE_LOOK[status.state]}`} data-testid="lab-state">
          {status.state}
        </span>
      </header>
      <p className="soft small">{planText(status) || reasonText(status)}</p>
      <div className="row">
        <button className="button primary" type="button" disabled={isBusy} onClick={() => perform(isOff ? 'Connect' : 'Connect anew', connect)}>
          {isOff ? 'Connect' : 'Connect anew'}
        </button>
        <button className="button" type="button" disabled={isBusy || isOff} onClick={() => perform('Disconnect', disconnect)}>
          Disconnect
        </button>
      </div>
      <p className="soft small">It is this page’s own, so the bell above goes on ringing whatever you break here. Only “Go offline” is for both.</p>
    </section>
  )
}

function ScenarioRow({ scenario, isBusy, start }: { scenario: Scenario; isBusy: boolean; start: () => void }) {
  const { title, about } = scenario
  return (
    <li>
      <button className="scenario" type="button" disabled={isBusy} onClick={start}>
        <strong>{title}</strong>
        <span>{about}</span>
      </button>
    </li>
  )
}
