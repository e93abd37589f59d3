// Something that a user has asked for: under way, done, or refused.
import { useState } from 'react'

export function useAction() {
  const [isBusy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const act = async (work: () => Promise<unknown>) => {
    setBusy(true)
    setError('')
    try {
      await work()
    } catch (refused) {
      setError(refused instanceof Error ? refused.message : String(refused))
    } finally {
      setBusy(false)
    }
  }
  return { isBusy, error, act }
}
