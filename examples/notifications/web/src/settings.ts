// What can be set when this is built (.env.example has all of it), as the options that the client takes.
import type { ClientOptions } from 'headwater'

/** A number that was set, or none. */
const numberOf = (value: string | undefined) => (value && Number(value) > 0 ? Number(value) : undefined)

const API = (import.meta.env.VITE_API_URL ?? '/api/v1').replace(/\/$/, '')

/** The address of something that the API has: `address('/sse')`. */
export const address = (path: string) => `${API}${path}`

/** A stream that was silent for this many of its heartbeats is taken for dead. */
const HEARTBEATS = 1.5

export const settings: Pick<ClientOptions, 'retry' | 'silence'> = {
  retry: { base: numberOf(import.meta.env.VITE_SSE_RECONNECT_INTERVAL), breaker: numberOf(import.meta.env.VITE_SSE_MAX_RECONNECT_ATTEMPTS) },
  silence: (numberOf(import.meta.env.VITE_SSE_HEARTBEAT_INTERVAL) ?? 30_000) * HEARTBEATS,
}

export const isDevelopment = import.meta.env.DEV
