// The bell, over the list that the store keeps.
import { NotificationBell } from 'headwater/bell'
import { useSSE, type NotificationSource } from 'headwater/react'
import { useMemo } from 'react'
import { useSession } from '../session'
import { markAllRead, markRead, markSeen, remove, selectError, selectIsLoading, selectNotifications, selectUnreadCount, selectUnseenCount, useAppDispatch, useAppSelector } from '../store'

export function Bell() {
  const session = useSession()
  const dispatch = useAppDispatch()
  const { client } = useSSE()
  const items = useAppSelector(selectNotifications)
  const unread = useAppSelector(selectUnreadCount)
  const unseen = useAppSelector(selectUnseenCount)
  const isLoading = useAppSelector(selectIsLoading)
  const error = useAppSelector(selectError)
  const actions = useMemo(
    () => ({
      markRead: (ids: Parameters<NotificationSource['markRead']>[0]) => void dispatch(markRead(session, ids)),
      markAllRead: () => void dispatch(markAllRead(session)),
      markSeen: () => void dispatch(markSeen(session)),
      remove: (ids: Parameters<NotificationSource['markRead']>[0]) => void dispatch(remove(session, ids)),
    }),
    [session, dispatch],
  )
  return <NotificationBell source={{ items, unread, unseen, isLoading, error, client, ...actions }} sound desktop titleBadge />
}
