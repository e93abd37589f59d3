// The bar on top of each page: where one can go, whether the page is live, the bell, and who one is.
import { useStatus } from 'headwater/react'
import icon from '../../../../../src/headwater/web/icon.svg'
import { STATE_LOOK } from '../lab/words'
import { Link } from '../router'
import { useSession } from '../session'
import { selectPeople, useAppSelector } from '../store'
import { Bell } from './bell'

export function Bar({ onSignOut }: { onSignOut: () => void }) {
  const { user } = useSession()
  const people = useAppSelector(selectPeople)
  return (
    <>
      <a className="skip" href="#content">
        Skip to the content
      </a>
      <header className="bar">
        <Link className="brand" href="/dashboard">
          <img src={icon} alt="" />
          <h1>Notifications</h1>
        </Link>
        <nav aria-label="Pages">
          <Link href="/dashboard">Dashboard</Link>
          <Link href="/dashboard/test-sse">Connection test</Link>
        </nav>
        <div className="row tools">
          <Live />
          <Bell />
          <ThemeButton />
          <button className="button quiet" type="button" onClick={onSignOut} title="Sign out">
            <span className="user">{people[user]?.name ?? user}</span>
            <span className="visually-hidden">: sign out</span>
            <svg viewBox="0 0 20 20" width="16" height="16" aria-hidden="true" fill="none" stroke="currentColor" strokeWidth="1.6" strokeLinecap="round" strokeLinejoin="round">
              <path d="M8 3H4v14h4M9 10h8m-3-3 3 3-3 3" />
            </svg>
          </button>
        </div>
      </header>
    </>
  )
}

/** Whether the page is live. Renders only when that changes. */
function Live() {
  const state = useStatus(({ state, transport }) => (transport === 'sse' || transport === 'tab' ? 'open' : state))
  const word = { open: 'live', waiting: 'reconnecting' }[state as string] ?? state
  return (
    <span className={`pill ${STATE_LOOK[state]}`} role="status" data-testid="live">
      {word}
    </span>
  )
}

function ThemeButton() {
  const change = () => {
    const { dataset } = document.documentElement
    const isDark = dataset.theme ? dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches
    dataset.theme = isDark ? 'light' : 'dark'
  }
  return (
    <button className="button quiet" type="button" aria-label="Change between light and dark" onClick={change}>
      <svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
        <circle cx="10" cy="10" r="7.2" fill="none" stroke="currentColor" strokeWidth="1.6" />
        <path d="M10 2.8a7.2 7.2 0 0 1 0 14.4z" fill="currentColor" />
      </svg>
    </button>
  )
}
