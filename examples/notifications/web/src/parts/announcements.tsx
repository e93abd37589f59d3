// What everybody is told, as long as it holds; and, for who may, telling it.
import { useEffect, useState, type FormEvent } from 'react'
import { api, Permission } from '../api'
import { SSEEventType, type Announcement } from '../events'
import { useSession } from '../session'
import { selectAnnouncements, selectPeople, useAppSelector, useMay } from '../store'
import { useAction } from './action'
import { clock } from './ago'

const LOOK: Record<string, string> = { info: '', success: 'good', warning: 'warn', error: 'bad' }
const LONGEST = 2 ** 31 - 1 // ms of a timer

/** Those that are not over; looked at again when the next one is. */
function useCurrent(): Announcement[] {
  const all = useAppSelector(selectAnnouncements)
  const [now, setNow] = useState(Date.now)
  const present = Math.max(now, Date.now())
  const current = all.filter(({ endsAt }) => Date.parse(endsAt) > present)
  const next = Math.min(...current.map(({ endsAt }) => Date.parse(endsAt)))
  useEffect(() => {
    if (!Number.isFinite(next)) return
    const timer = setTimeout(() => setNow(Date.now()), Math.min(LONGEST, next - Date.now() + 1))
    return () => clearTimeout(timer)
  }, [next])
  return current
}

export function Announcements() {
  const session = useSession()
  const current = useCurrent()
  const people = useAppSelector(selectPeople)
  const mayAnnounce = useMay(Permission.ANNOUNCE)
  const { act, error } = useAction()
  return (
    <div aria-live="polite">
      {(current.length > 0 || error) && (
        <section className="announcements" aria-label="Announcements">
          {current.map(({ id, type, title, message, level, by, startsAt, endsAt }) => (
            <article key={id} className={`notice ${LOOK[level] ?? ''}`}>
              <div>
                <strong dir="auto">
                  {type === SSEEventType.SYSTEM_MAINTENANCE && 'Maintenance: '}
                  {title}
                </strong>{' '}
                {message && <span dir="auto">{message}</span>}
                <small>
                  {people[by]?.name ?? by} · {type === SSEEventType.SYSTEM_MAINTENANCE && `from ${clock(startsAt)} `}until {clock(endsAt)}
                </small>
              </div>
              {mayAnnounce && (
                <button className="button quiet" type="button" aria-label={`Take back: ${title}`} onClick={() => act(() => api.endAnnouncement(session, id))}>
                  Take back
                </button>
              )}
            </article>
          ))}
          {error && (
            <p className="notice bad" role="alert">
              {error}
            </p>
          )}
        </section>
      )}
    </div>
  )
}

export function Announce() {
  const session = useSession()
  const { isBusy, error, act } = useAction()
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    const form = event.currentTarget
    const fields = new FormData(form)
    const kind = fields.get('kind') === 'maintenance' ? 'maintenance' : 'announcements'
    void act(async () => {
      await api.announce(session, kind, { title: String(fields.get('title')), minutes: Number(fields.get('minutes')) })
      form.reset()
    })
  }
  return (
    <section className="card" aria-labelledby="announce-title">
      <h2 id="announce-title">Tell everybody</h2>
      <form className="stack" onSubmit={submit}>
        <div className="field">
          <label htmlFor="announcement">What</label>
          <input id="announcement" name="title" required maxLength={120} placeholder="Lunch is at one today" autoComplete="off" />
        </div>
        <div className="fields">
          <div className="field">
            <label htmlFor="kind">Kind</label>
            <select id="kind" name="kind">
              <option value="announcements">Announcement</option>
              <option value="maintenance">Maintenance</option>
            </select>
          </div>
          <div className="field">
            <label htmlFor="minutes">For</label>
            <select id="minutes" name="minutes" defaultValue="60">
              <option value="10">10 minutes</option>
              <option value="60">an hour</option>
              <option value="480">8 hours</option>
            </select>
          </div>
        </div>
        <button className="button" type="submit" disabled={isBusy}>
          Announce
        </button>
        {error && (
          <p className="notice bad" role="alert">
            {error}
          </p>
        )}
      </form>
    </section>
  )
}
