// All notifications, with what can be done about each.
import { useState } from 'react'
import type { Notification } from 'headwater/redux'
import { Permission } from '../api'
import { useSession } from '../session'
import { markAllRead, markRead, remove, selectError, selectIsLoading, selectNotifications, selectPeople, selectUnreadCount, useAppDispatch, useAppSelector, useMay } from '../store'
import { Ago } from './ago'

const LEVELS = ['info', 'success', 'warning', 'error']

/** Whatever it is, it is shown as text or not at all. */
const textOf = (value: unknown) => (typeof value === 'string' ? value : '')

/** Where it leads, if that is a page. */
function linkOf({ href }: Notification) {
  if (!href) return undefined
  try {
    return /^https?:$/.test(new URL(href, location.href).protocol) ? href : undefined
  } catch {
    return undefined
  }
}

export function Inbox() {
  const session = useSession()
  const dispatch = useAppDispatch()
  const items = useAppSelector(selectNotifications)
  const unread = useAppSelector(selectUnreadCount)
  const isLoading = useAppSelector(selectIsLoading)
  const error = useAppSelector(selectError)
  const maySend = useMay(Permission.SEND)
  const [isUnreadOnly, setUnreadOnly] = useState(false)
  const shown = isUnreadOnly ? items.filter(({ read }) => !read) : items
  return (
    <section className="card inbox" aria-labelledby="inbox-title">
      <header>
        <h2 id="inbox-title">Your notifications</h2>
        <span className="count" data-testid="unread">
          {unread} unread
        </span>
        <div className="row">
          <fieldset className="switch">
            <legend className="visually-hidden">Which</legend>
            <input type="radio" id="which-all" name="which" checked={!isUnreadOnly} onChange={() => setUnreadOnly(false)} />
            <label htmlFor="which-all">All</label>
            <input type="radio" id="which-unread" name="which" checked={isUnreadOnly} onChange={() => setUnreadOnly(true)} />
            <label htmlFor="which-unread">Unread</label>
          </fieldset>
          <button className="button quiet" type="button" disabled={unread === 0} onClick={() => void dispatch(markAllRead(session))}>
            Mark all as read
          </button>
        </div>
      </header>
      {error && (
        <p className="notice bad" role="alert">
          {error}
        </p>
      )}
      {shown.length > 0 ? (
        <ul className="items" aria-busy={isLoading}>
          {shown.map((item) => (
            <Row key={item.id} item={item} />
          ))}
        </ul>
      ) : (
        <p className="empty">{isLoading ? 'Loading…' : isUnreadOnly ? 'You have read everything.' : maySend ? 'Nothing here yet. Send yourself something, or run a workflow.' : 'Nothing here yet.'}</p>
      )}
    </section>
  )
}

function Row({ item }: { item: Notification }) {
  const session = useSession()
  const dispatch = useAppDispatch()
  const people = useAppSelector(selectPeople)
  const title = textOf(item.title)
  const level = LEVELS.includes(item.level) ? String(item.level) : 'info'
  const href = linkOf(item)
  const from = textOf(item.from)
  return (
    <li className={`item ${level}`} data-unread={item.read ? undefined : ''}>
      <span className="visually-hidden">{item.read ? level : `${level}, unread`}: </span>
      <div className="text">
        <strong dir="auto">{href ? <a href={href} onClick={() => void dispatch(markRead(session, item.id))}>{title}</a> : title}</strong>
        {textOf(item.message) && <p dir="auto">{textOf(item.message)}</p>}
        <p className="from">
          <span>{from ? (people[from]?.name ?? from) : 'System'}</span> · <Ago at={textOf(item.createdAt)} />
        </p>
      </div>
      <div className="actions">
        {!item.read && (
          <button className="icon" type="button" aria-label={`Mark as read: ${title}`} title="Mark as read" onClick={() => void dispatch(markRead(session, item.id))}>
            <svg viewBox="0 0 20 20" aria-hidden="true">
              <path d="m4 10.5 4 4 8-9" />
            </svg>
          </button>
        )}
        <button className="icon" type="button" aria-label={`Delete: ${title}`} title="Delete" onClick={() => void dispatch(remove(session, item.id))}>
          <svg viewBox="0 0 20 20" aria-hidden="true">
            <path d="m5 5 10 10M15 5 5 15" />
          </svg>
        </button>
      </div>
    </li>
  )
}
