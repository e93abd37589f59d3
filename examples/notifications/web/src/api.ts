// The application's API, as far as the pages use it.
import type { Snapshot } from 'headwater/redux'
import type { Announcement, Level, Run, User, Workflow } from './events'
import { Refused } from './refused'
import type { Session } from './session'
import { address } from './settings'

const PATIENCE = 30_000 // ms for an answer
const MAX_WAITS = 5 // for a server that says it is too much

interface Call {
  method?: string
  body?: unknown
}

async function refusal(response: Response): Promise<Refused> {
  const problem: unknown = await response.json().catch(() => null)
  const detail = problem && typeof problem === 'object' && 'detail' in problem ? problem.detail : null
  return new Refused(response.status, typeof detail === 'string' ? detail : `the server answered ${response.status}`)
}

/** Call it with the session's token: with a new one where the old one is refused, and later where it is too much. */
async function call<Answer>(session: Session, path: string, { method = 'GET', body }: Call = {}): Promise<Answer> {
  for (let waits = 0, reason: 'connect' | 'unauthorized' = 'connect'; ; ) {
    const headers = new Headers({ authorization: `Bearer ${await session.token({ reason })}` })
    if (body !== undefined) headers.set('content-type', 'application/json')
    const response = await fetch(address(path), {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      keepalive: method !== 'GET', // what was done by a link is saved although the page is left
      signal: AbortSignal.timeout(PATIENCE),
    })
    if (response.ok) return (response.status === 204 ? undefined : await response.json()) as Answer
    if (response.status === 401 && reason === 'connect') reason = 'unauthorized'
    else if (response.status === 429 && waits < MAX_WAITS) {
      waits += 1
      const after = 1000 * Number(response.headers.get('retry-after') ?? 1)
      await new Promise((resolve) => setTimeout(resolve, after))
    } else throw await refusal(response)
  }
}

export interface Draft {
  title: string
  message?: string
  level?: Level
  href?: string
  /** Ids of users. Without them it is for the caller. */
  to?: string[]
}

/** One of what was created. */
export interface Created {
  id: string
  to: string
}

export interface NewAnnouncement {
  title: string
  message?: string
  minutes: number
}

type Ids = readonly (string | number)[]
interface Listed<Item> {
  items: Item[]
}

export const api = {
  me: (session: Session) => call<User & { permissions: string[] }>(session, '/users/me'),
  notifications: (session: Session) => call<Snapshot>(session, '/notifications'),
  send: async (session: Session, { to = [session.user], ...draft }: Draft): Promise<Created[]> =>
    (await call<{ created: Created[] }>(session, '/notifications', { method: 'POST', body: { to, ...draft } })).created,
  markRead: (session: Session, ids: Ids | null) => call(session, '/notifications/read', { method: 'POST', body: { ids } }),
  markSeen: (session: Session) => call(session, '/notifications/seen', { method: 'POST' }),
  remove: async (session: Session, ids: Ids) => {
    for (const id of ids) await call(session, `/notifications/${id}`, { method: 'DELETE' })
  },
  users: async (session: Session) => (await call<Listed<User>>(session, '/users')).items,
  workflows: (session: Session) => call<Listed<Workflow> & { runs: Run[] }>(session, '/workflows'),
  run: (session: Session, workflow: string) => call<Run>(session, `/workflows/${workflow}/runs`, { method: 'POST' }),
  announcements: async (session: Session) => (await call<Listed<Announcement>>(session, '/announcements')).items,
  announce: (session: Session, kind: 'announcements' | 'maintenance', announcement: NewAnnouncement) => call<Announcement>(session, `/${kind}`, { method: 'POST', body: announcement }),
  endAnnouncement: (session: Session, id: string) => call(session, `/announcements/${id}`, { method: 'DELETE' }),
}

/** What a user may do. */
export const Permission = {
  SEND: 'notifications.send',
  RUN: 'workflows.run',
  READ: 'workflows.read',
  ANNOUNCE: 'system.announce',
} as const
