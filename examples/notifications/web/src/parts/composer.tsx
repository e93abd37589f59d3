// Sending a notification: to oneself, to somebody, or to everybody there is.
import { useState, type FormEvent } from 'react'
import { api } from '../api'
import type { Level } from '../events'
import { useSession } from '../session'
import { selectPeople, useAppSelector } from '../store'
import { useAction } from './action'

const EVERYBODY = '*'

export function Composer() {
  const session = useSession()
  const people = Object.values(useAppSelector(selectPeople))
  const [to, setTo] = useState(session.user)
  const { isBusy, error, act } = useAction()
  const others = people.filter(({ id }) => id !== session.user)
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    const form = event.currentTarget
    const fields = new FormData(form)
    void act(async () => {
      await api.send(session, {
        to: to === EVERYBODY ? people.map(({ id }) => id) : [to],
        title: String(fields.get('title')),
        message: String(fields.get('message')),
        level: String(fields.get('level')) as Level,
      })
      form.reset()
      form.querySelector('input')?.focus()
    })
  }
  return (
    <section className="card" aria-labelledby="send-title">
      <h2 id="send-title">Send a notification</h2>
      <form className="stack" onSubmit={submit}>
        <div className="field">
          <label htmlFor="title">Title</label>
          <input id="title" name="title" required maxLength={120} placeholder="The report is ready" autoComplete="off" />
        </div>
        <div className="field">
          <label htmlFor="message">Message</label>
          <input id="message" name="message" maxLength={2000} placeholder="Page 4 has the numbers you asked for" autoComplete="off" />
        </div>
        <div className="fields">
          <div className="field">
            <label htmlFor="to">To</label>
            <select id="to" value={to} onChange={({ target }) => setTo(target.value)}>
              <option value={session.user}>Yourself</option>
              {others.map(({ id, name }) => (
                <option key={id} value={id}>
                  {name}
                </option>
              ))}
              {others.length > 0 && <option value={EVERYBODY}>Everybody</option>}
            </select>
          </div>
          <div className="field">
            <label htmlFor="level">Kind</label>
            <select id="level" name="level">
              <option value="info">Information</option>
              <option value="success">Success</option>
              <option value="warning">Warning</option>
              <option value="error">Error</option>
            </select>
          </div>
        </div>
        <button className="button primary" type="submit" disabled={isBusy}>
          Send
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
