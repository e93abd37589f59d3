// Notifications as data: what the React hook, the bell and the Redux slice have in common.

export interface Notification {
  id: string | number
  title?: string
  message?: string
  /** A date as text, or milliseconds of Unix time. Without one it is as new as its arrival. */
  createdAt?: string | number
  /** The user has dealt with it. */
  read?: boolean
  /** The user has had it in view. What is read is seen. */
  seen?: boolean
  /** Where it leads; other than `http:` and `https:` it leads nowhere. */
  href?: string
  [more: string]: any
}

/** What a server has. Counts of its own may go beyond the items. */
export type Snapshot = Notification[] | { items: Notification[]; unread?: number; unseen?: number }

export interface Notifications {
  /** The newest first. */
  readonly items: readonly Notification[]
  readonly unread: number
  readonly unseen: number
  readonly isLoading: boolean
  /** What a load or a save failed with. */
  readonly error: string | null
  /** Unread and unseen ones beyond the items. */
  readonly more: readonly [number, number]
  /** What has happened since a load began. */
  readonly held: readonly any[]
  /** What undoes the changes that are being saved. */
  readonly undo: Readonly<Record<string, any>>
}

export type NotificationAction =
  | { kind: 'created' | 'updated'; items: unknown }
  /** Notifications or their ids. */
  | { kind: 'deleted'; items: unknown; key?: string }
  /** null for all. */
  | { kind: 'read'; items: unknown; key?: string }
  | { kind: 'seen'; key?: string }
  | { kind: 'loading' }
  | { kind: 'loaded'; snapshot: Snapshot }
  | { kind: 'failed'; error: string }
  /** A change with this key was saved, or could not be: then it is undone. */
  | { kind: 'saved'; key: string }
  | { kind: 'unsaved'; key: string; error: string }

export const NONE: Notifications
export const TYPES: { created: string; updated: string; deleted: string }
export function reduce(state: Notifications, action: NotificationAction, cap?: number): Notifications
