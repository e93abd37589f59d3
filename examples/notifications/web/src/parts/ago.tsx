// Times as people say them, in the browser's language.
import { useEffect, useState } from 'react'

const UNITS = [
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
] as const

const format = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' })

function agoText(time: number) {
  const seconds = (time - Date.now()) / 1000
  for (const [unit, size] of UNITS) if (Math.abs(seconds) >= size) return format.format(Math.trunc(seconds / size), unit)
  return 'just now'
}

/** A moment, in relation to now; it is kept right. */
export function Ago({ at }: { at: string }) {
  const [, look] = useState(0)
  useEffect(() => {
    const timer = setInterval(() => look((times) => times + 1), 30_000)
    return () => clearInterval(timer)
  }, [])
  const time = Date.parse(at)
  if (Number.isNaN(time)) return null
  return (
    <time dateTime={at} title={new Date(time).toLocaleString()}>
      {agoText(time)}
    </time>
  )
}

/** The time of day, or the date as well if it is not today's. */
export const clock = (at: string) => {
  const time = new Date(at)
  const isToday = time.toDateString() === new Date().toDateString()
  return time.toLocaleString(undefined, isToday ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' })
}
