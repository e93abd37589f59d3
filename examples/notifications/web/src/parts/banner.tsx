// Said while the page is not live for more than a moment: what it shows may be old, and when it will try again.
import { useSSE, useStatus } from 'headwater/react'
import { useEffect, useState } from 'react'

function useSecondsUntil(time: number | null) {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    if (time === null) return
    setNow(Date.now())
    const timer = setInterval(() => setNow(Date.now()), 1000)
    return () => clearInterval(timer)
  }, [time])
  return time === null ? 0 : Math.max(0, Math.ceil((time - now) / 1000))
}

export function Banner({ onSignOut }: { onSignOut: () => void }) {
  const { state, attempt, retryAt, error } = useStatus()
  const { reconnect } = useSSE()
  const wait = useSecondsUntil(retryAt)
  if (state === 'failed') {
    return (
      <div className="banner bad" role="alert">
        <p>The connection was refused{error && `: ${error.message}`}. What you see may be old.</p>
        <button className="button quiet" type="button" onClick={error?.status === 401 ? onSignOut : reconnect}>
          {error?.status === 401 ? 'Sign in again' : 'Try again'}
        </button>
      </div>
    )
  }
  if (state === 'offline') {
    return (
      <div className="banner" role="alert">
        <p>You are offline. This page goes on by itself when you are back.</p>
      </div>
    )
  }
  if (!attempt || (state !== 'waiting' && state !== 'connecting' && state !== 'suspended')) return null
  return (
    <div className="banner" role="status">
      <p>
        The connection is lost{state === 'connecting' || !wait ? '; trying' : ''}.{' '}
        {state !== 'connecting' && wait > 0 && <span aria-hidden="true">Next try in {wait} s.</span>}
      </p>
      <button className="button quiet" type="button" onClick={reconnect}>
        Try now
      </button>
    </div>
  )
}
