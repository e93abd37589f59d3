// Who is there.
import type { User } from '../events'
import { useSession } from '../session'
import { selectPeople, useAppSelector } from '../store'
import { Ago } from './ago'

/** Those who are there first. */
const inOrder = (a: User, b: User) => Number(b.status === 'online') - Number(a.status === 'online') || a.name.localeCompare(b.name)

const initials = (name: string) =>
  name
    .split(/\s+/)
    .map((word) => word[0] ?? '')
    .join('')
    .slice(0, 2)
    .toUpperCase()

export function People() {
  const { user } = useSession()
  const people = Object.values(useAppSelector(selectPeople)).sort(inOrder)
  const count = people.filter(({ status }) => status === 'online').length
  return (
    <section className="card" aria-labelledby="people-title">
      <header>
        <h2 id="people-title">People</h2>
        <span className="soft small">{count} here</span>
      </header>
      <ul className="people">
        {people.map(({ id, name, about, status, lastSeenAt }) => (
          <li key={id} className={status}>
            <span className="face" aria-hidden="true">
              {initials(name)}
            </span>
            <div>
              <strong>
                {name}
                {id === user && ' (you)'}
              </strong>
              <small>
                {status === 'online' ? 'online' : lastSeenAt ? <Ago at={lastSeenAt} /> : 'not seen yet'}
                {about && ` · ${about}`}
              </small>
            </div>
          </li>
        ))}
      </ul>
    </section>
  )
}
