// Sentences about what the client does: its states and reasons, for people.
import type { Reason, State, Status } from 'headwater'

export const STATE_LOOK: Record<State, string> = {
  idle: '',
  connecting: 'warn busy',
  open: 'good',
  waiting: 'warn busy',
  polling: 'warn',
  suspended: 'bad',
  offline: 'bad',
  closed: '',
  failed: 'bad',
}

const REASONS: Record<Reason, string> = {
  new: 'nothing has happened yet',
  connect: 'it was told to connect',
  reconnect: 'it was told to connect anew',
  retry: 'the wait is over',
  probe: 'it tries whether streaming works again',
  'first byte': 'the first byte has arrived',
  ended: 'the stream ended without a word',
  closing: 'the server said that it ends the stream',
  network: 'the network failed',
  timeout: 'there was no answer in time',
  silence: 'the stream fell silent',
  status: 'the server refused',
  'no content': 'the server has nothing more',
  unauthorized: 'the token was refused, so it asked for another',
  'token expiring': 'the token is about to expire, and there is a new one',
  online: 'the browser is online again',
  offline: 'the browser is offline',
  visible: 'the page is visible again',
  'page hidden': 'the page was put away',
  'page shown': 'the page is back',
  'leader gone': 'the tab that had the connection is gone',
  closed: 'it was told to close',
}

/** Seconds, as exactly as one wants to know them. */
export const seconds = (milliseconds: number) => `${(milliseconds / 1000).toFixed(milliseconds < 9995 ? 2 : 1)} s`

/** Why it is as it is. */
export const reasonText = ({ reason, error }: Status) => {
  const why = REASONS[reason]
  if (reason === 'timeout' || reason === 'silence') return why // the error says the same
  return error ? `${why}: ${error.status ? `${error.status}, ` : ''}${error.message}` : why
}

/** What it will do next, if that is known. */
export function planText({ state, attempt, retryAt, since, transport }: Status): string {
  const delay = retryAt === null ? null : Math.max(0, retryAt - since)
  if (state === 'waiting') return delay ? `tries again in ${seconds(delay)}` : 'tries again at once'
  if (state === 'suspended') return `tries are rare now, the next in ${seconds(delay ?? 0)}`
  if (state === 'offline') return 'goes on as soon as the browser is online'
  if (state === 'polling' && transport) return 'is answered when it asks for events, and tries now and then whether streaming works again'
  if (state === 'polling') return 'asks for events instead'
  if (state === 'failed') return 'stays so until it is told to connect'
  if (state === 'open' && attempt) return 'its failures count until this stream has lasted'
  return ''
}
