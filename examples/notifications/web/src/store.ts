// The state of the application, and what a user does to it. What loads it and keeps it up to date is in sync.ts.
import { combineSlices, configureStore, createSlice, type PayloadAction } from '@reduxjs/toolkit'
import { createNotificationsSlice, createStatusSlice } from 'headwater/redux'
import { useDispatch, useSelector, useStore } from 'react-redux'
import { api } from './api'
import type { Announcement, Run, User, Workflow } from './events'
import type { Session } from './session'

const CAP = 100 // of notifications, of runs, of announcements

export const notifications = createNotificationsSlice({ cap: CAP })
export const sse = createStatusSlice()

export const people = createSlice({
  name: 'people',
  initialState: {} as Record<string, User>,
  reducers: {
    loaded: (_, { payload }: PayloadAction<User[]>) => Object.fromEntries(payload.map((user) => [user.id, user])),
    updated: (state, { payload }: PayloadAction<User>) => {
      state[payload.id] = payload
    },
    statusChanged: (state, { payload }: PayloadAction<Pick<User, 'id' | 'status' | 'lastSeenAt'>>) => {
      const user = state[payload.id]
      if (user) Object.assign(user, payload)
    },
  },
})

/** The newest first, each once, as it was told of last. */
const withNewest = <Item extends { id: string }>(items: Item[], item: Item) => {
  const at = items.findIndex(({ id }) => id === item.id)
  if (at < 0) items.unshift(item)
  else items[at] = item
  items.splice(CAP)
}

export const workflows = createSlice({
  name: 'workflows',
  initialState: { items: [] as Workflow[], runs: [] as Run[] },
  reducers: {
    loaded: (_, { payload }: PayloadAction<{ items: Workflow[]; runs: Run[] }>) => payload,
    ran: (state, { payload }: PayloadAction<Run>) => withNewest(state.runs, payload),
  },
})

export const announcements = createSlice({
  name: 'announcements',
  initialState: [] as Announcement[],
  reducers: {
    loaded: (_, { payload }: PayloadAction<Announcement[]>) => payload,
    changed: (state, { payload }: PayloadAction<Announcement>) => withNewest(state, payload),
  },
})

/** What the user may do. */
export const permissions = createSlice({
  name: 'permissions',
  initialState: [] as string[],
  reducers: { loaded: (_, { payload }: PayloadAction<string[]>) => payload },
})

const reducer = combineSlices(notifications, sse, people, workflows, announcements, permissions)

/** A store for one session. */
export const makeStore = () => configureStore({ reducer })

export type Store = ReturnType<typeof makeStore>
export type RootState = ReturnType<Store['getState']>
export type Dispatch = Store['dispatch']

export const useAppDispatch = useDispatch.withTypes<Dispatch>()
export const useAppSelector = useSelector.withTypes<RootState>()
export const useAppStore = useStore.withTypes<Store>()

export const { selectNotifications, selectUnreadCount, selectUnseenCount, selectIsLoading, selectError } = notifications.selectors
export const { selectStatus, selectIsConnected } = sse.selectors
export const selectPeople = (state: RootState) => state.people
export const selectWorkflows = (state: RootState) => state.workflows.items
export const selectRuns = (state: RootState) => state.workflows.runs
export const selectAnnouncements = (state: RootState) => state.announcements

/** Whether the user may do something. */
export const useMay = (permission: string) => useAppSelector((state) => state.permissions.includes(permission))

/** What a user does with notifications: shown at once, saved, and taken back if that fails. */
export const markRead = (session: Session, ids: string | number | readonly (string | number)[]) =>
  notifications.save(notifications.actions.markRead(ids), () => api.markRead(session, [ids].flat()))
export const markAllRead = (session: Session) => notifications.save(notifications.actions.markAllRead(), () => api.markRead(session, null))
export const markSeen = (session: Session) => notifications.save(notifications.actions.markSeen(), () => api.markSeen(session))
export const remove = (session: Session, ids: string | number | readonly (string | number)[]) =>
  notifications.save(notifications.actions.deleted(ids as never), () => api.remove(session, [ids].flat()))
