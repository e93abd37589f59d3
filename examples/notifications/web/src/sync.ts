// Loads the store, and keeps it up to date by what the stream brings. Nothing that comes while a load is under way is lost, and
// no answer that is older than an event undoes it.
import type { Action } from '@reduxjs/toolkit'
import type { Client } from 'headwater'
import { attachSSE } from 'headwater/redux'
import { api, Permission } from './api'
import { SSEEventType, type AppEvents } from './events'
import { mayPass } from './refused'
import type { Session } from './session'
import { announcements, notifications, people, permissions, sse, workflows, type Dispatch, type Store } from './store'

const AGAIN = 2000 // ms between two tries to load

/** Ask until there is an answer: the server may be gone again. */
async function insist<Answer>(signal: AbortSignal, ask: () => Promise<Answer>): Promise<Answer> {
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      if (signal.aborted || !mayPass(error)) throw error
      await new Promise((resolve) => setTimeout(resolve, AGAIN))
    }
  }
}

/** All but the notifications, as the actions that put it into the store. */
async function askRest(session: Session): Promise<Action[]> {
  const [me, users, told] = await Promise.all([api.me(session), api.users(session), api.announcements(session)])
  const ran = me.permissions.includes(Permission.READ) ? await api.workflows(session) : { items: [], runs: [] }
  return [permissions.actions.loaded(me.permissions), people.actions.loaded(users), announcements.actions.loaded(told), workflows.actions.loaded(ran)]
}

/** What loads, and what has to know of events meanwhile. The notifications' slice does so by itself. */
function loaderOf(session: Session, signal: AbortSignal) {
  /** What events brought while a load was under way, whose answer may be older. */
  const loads = new Set<Action[]>()
  const loadRest = async (dispatch: Dispatch) => {
    const meanwhile: Action[] = []
    loads.add(meanwhile)
    try {
      for (const action of await insist(signal, () => askRest(session))) dispatch(action)
      for (const action of meanwhile) dispatch(action)
    } catch (error) {
      dispatch(notifications.actions.failed(error instanceof Error ? error.message : String(error)))
    } finally {
      loads.delete(meanwhile)
    }
  }
  return {
    load: () => async (dispatch: Dispatch) => {
      await Promise.all([dispatch(notifications.load(() => insist(signal, () => api.notifications(session)))), dispatch(loadRest)])
    },
    live:
      <Data>(make: (data: Data) => Action) =>
      (data: Data) => {
        const action = make(data)
        for (const meanwhile of loads) meanwhile.push(action)
        return action
      },
  }
}

/** Keep a store up to date. @returns ends it. */
export function keepUpToDate(store: Store, client: Client<AppEvents>, session: Session): () => void {
  const end = new AbortController()
  const { load, live } = loaderOf(session, end.signal)
  const ran = live(workflows.actions.ran)
  const announced = live(announcements.actions.changed)
  const map = {
    ...notifications.map,
    [SSEEventType.USER_STATUS_CHANGED]: live(people.actions.statusChanged),
    [SSEEventType.USER_UPDATED]: live(people.actions.updated),
    [SSEEventType.WORKFLOW_STARTED]: ran,
    [SSEEventType.WORKFLOW_COMPLETED]: ran,
    [SSEEventType.WORKFLOW_FAILED]: ran,
    [SSEEventType.SYSTEM_ANNOUNCEMENT]: announced,
    [SSEEventType.SYSTEM_MAINTENANCE]: announced,
  }
  const detach = attachSSE(store, client, map, { status: sse.actions.changed, load })
  return () => {
    end.abort()
    detach()
  }
}
