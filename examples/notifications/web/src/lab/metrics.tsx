// What the client counts about itself.
import type { Client, Metrics } from 'headwater'
import { useEffect, useState } from 'react'
import { seconds } from './words'

const EVERY = 500 // ms between two looks

const figuresOf = (metrics: Metrics): [string, string, string][] => [
  ['Success rate', `${Math.round(metrics.successRate * 100)} %`, 'of the streams that were tried'],
  ['Streams', `${metrics.opened} of ${metrics.attempts}`, 'opened, of those tried'],
  ['Polls', `${metrics.polls}`, 'asked instead of streamed'],
  ['Connected', seconds(metrics.openSeconds * 1000), 'in all'],
  ['Events', `${metrics.events}`, `${metrics.eventsPerMinute.toFixed(0)} per minute`],
  ['Handlers', `${metrics.handled} calls`, `${metrics.handlerErrors} failed, ${metrics.handlerTime.toFixed(0)} ms in all`],
]

export function MetricsPanel({ client }: { client: Pick<Client, 'metrics'> }) {
  const [metrics, setMetrics] = useState(() => client.metrics())
  useEffect(() => {
    const timer = setInterval(() => setMetrics(client.metrics()), EVERY)
    return () => clearInterval(timer)
  }, [client])
  return (
    <dl className="metrics">
      {figuresOf(metrics).map(([name, value, more]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>
            {value} <small>{more}</small>
          </dd>
        </div>
      ))}
    </dl>
  )
}
