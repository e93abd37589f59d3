// The application: who is signed in, one connection and one store for them, and the page that the address names.
import { SSEProvider, useSSE } from 'headwater/react'
import { useEffect, useMemo, useState } from 'react'
import { Provider } from 'react-redux'
import { Dashboard } from './pages/dashboard'
import { SignIn } from './pages/sign-in'
import { TestPage } from './pages/test-sse'
import { Banner } from './parts/banner'
import { Bar } from './parts/bar'
import { Link, usePath } from './router'
import { Session, SessionContext, useSession } from './session'
import { address, isDevelopment, settings } from './settings'
import { makeStore, useAppStore } from './store'
import { keepUpToDate } from './sync'

const USER = 'headwater.user' // where this tab keeps who is signed in

export function App() {
  const [user, setUser] = useState(() => sessionStorage.getItem(USER))
  const session = useMemo(() => user && new Session(user), [user])
  const sign = (next: string | null) => {
    if (next) sessionStorage.setItem(USER, next)
    else sessionStorage.removeItem(USER)
    setUser(next)
  }
  if (!session) return <SignIn onSignIn={sign} />
  return (
    <SessionContext value={session}>
      <SignedIn key={session.user} session={session} onSignOut={() => sign(null)} />
    </SessionContext>
  )
}

/** A connection, and a store, belong to one user: another one gets another `key` above, and with it new ones. */
function SignedIn({ session, onSignOut }: { session: Session; onSignOut: () => void }) {
  const [store] = useState(makeStore)
  return (
    <SSEProvider autoConnect endpoint={address('/sse')} enableLogging={isDevelopment} token={session.token} share {...settings}>
      <Provider store={store}>
        <Sync />
        <Bar onSignOut={onSignOut} />
        <Banner onSignOut={onSignOut} />
        <Page />
      </Provider>
    </SSEProvider>
  )
}

/** Whatever the stream brings goes into the store. */
function Sync() {
  const session = useSession()
  const store = useAppStore()
  const { client } = useSSE()
  useEffect(() => keepUpToDate(store, client, session), [store, client, session])
  return null
}

function Page() {
  switch (usePath()) {
    case '/':
    case '/dashboard':
      return <Dashboard />
    case '/dashboard/test-sse':
      return <TestPage />
    default:
      return (
        <main className="page" id="content">
          <section className="card">
            <h2>There is no such page</h2>
            <p>
              <Link href="/dashboard">Go to the dashboard</Link>
            </p>
          </section>
        </main>
      )
  }
}
