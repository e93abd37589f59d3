// Workflows: which there are, and what became of those that were run.
import { api, Permission } from '../api'
import type { Run } from '../events'
import { useSession } from '../session'
import { selectPeople, selectRuns, selectWorkflows, useAppSelector, useMay } from '../store'
import { useAction } from './action'
import { Ago } from './ago'

const LOOK: Record<Run['status'], string> = { started: 'warn busy', completed: 'good', failed: 'bad' }
const WORD: Record<Run['status'], string> = { started: 'running', completed: 'completed', failed: 'failed' }
const SHOWN = 6

export function Workflows() {
  const session = useSession()
  const runs = useAppSelector(selectRuns)
  const workflows = useAppSelector(selectWorkflows)
  const mayRun = useMay(Permission.RUN)
  const { isBusy, error, act } = useAction()
  const isRunning = (name: string) => runs.some(({ workflow, status }) => workflow === name && status === 'started')
  return (
    <section className="card" aria-labelledby="workflows-title">
      <header>
        <h2 id="workflows-title">Workflows</h2>
        <ul className="row starts">
          {workflows.map(({ name, title, description }) => (
            <li key={name}>
              <button className="button" type="button" title={description} disabled={isBusy || !mayRun || isRunning(name)} onClick={() => act(() => api.run(session, name))}>
                {title}
              </button>
            </li>
          ))}
        </ul>
      </header>
      {error && (
        <p className="notice bad" role="alert">
          {error}
        </p>
      )}
      {runs.length > 0 ? (
        <ol className="runs">
          {runs.slice(0, SHOWN).map((run) => (
            <RunRow key={run.id} run={run} />
          ))}
        </ol>
      ) : (
        <p className="empty">None was run yet.</p>
      )}
    </section>
  )
}

function RunRow({ run }: { run: Run }) {
  const people = useAppSelector(selectPeople)
  return (
    <li>
      <div>
        <strong>{run.title}</strong>
        <p className="soft small">{run.error ?? run.result ?? 'It tells of itself when it has ended.'}</p>
        <p className="from">
          {people[run.startedBy]?.name ?? run.startedBy} · <Ago at={run.finishedAt ?? run.startedAt} />
          {run.durationMs !== null && ` · ${(run.durationMs / 1000).toFixed(1)} s`}
        </p>
        {run.steps.length > 0 && (
          <details>
            <summary>{run.steps.length === 1 ? 'One step' : `${run.steps.length} steps`}</summary>
            <ol className="steps">
              {run.steps.map(({ title, note }, index) => (
                <li key={index}>
                  <span>{title}</span> <span className="soft">{note}</span>
                </li>
              ))}
            </ol>
          </details>
        )}
      </div>
      <span className={`pill ${LOOK[run.status] ?? ''}`}>{WORD[run.status] ?? run.status}</span>
    </li>
  )
}
