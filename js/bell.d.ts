// The public types of `headwater/bell`.
import type { ReactNode, Ref } from 'react'
import type { Notification } from './notifications.d.ts'
import type { NotificationSource, NotificationsOptions } from './react.d.ts'

export type { Notification } from './notifications.d.ts'
export type { NotificationSource, NotificationsOptions } from './react.d.ts'

/** Every word that is shown or read out. */
export interface Labels {
  title: string
  /** The button's name. */
  button: (count: number) => string
  /** What is said of those that come together. */
  many: (count: number) => string
  all: string
  unread: string
  markAll: string
  remove: string
  empty: string
  loading: string
  failed: string
  retry: string
  /** Asks for notifications outside of the page. */
  desktop: string
  blocked: string
}

export interface Sound {
  /** A file; two notes without one. */
  src?: string
  /** From 0 to 1. Default: 0.5. */
  volume?: number
}

export interface BellOptions {
  /** What the badge counts. Default: `unseen`, which opening the list sets to nothing. */
  count?: 'unseen' | 'unread'
  /** The highest number of the badge; above it is `9+`. Default: 9. */
  max?: number
  /** Whether the list is open, if that is not the bell's own affair. */
  open?: boolean
  onOpenChange?: (isOpen: boolean) => void
  labels?: Partial<Labels>
  /** Play a sound, at most every three seconds, and not before the user has touched the page. */
  sound?: boolean | Sound
  /** Notify outside of the page while it is hidden. The list then offers to ask for permission. */
  desktop?: boolean
  /** Show the count in the page's title. */
  titleBadge?: boolean
  /** The user has chosen one; it is marked as read already. The event is missing when that was outside of the page. */
  onActivate?: (item: Notification, event?: any) => void
}

export interface BellProps extends BellOptions, NotificationsOptions {
  /** A list of notifications that is kept elsewhere, as by Redux. Without it the bell keeps one. */
  source?: NotificationSource
  /** What stands in one row. Default: title, message and time. */
  renderItem?: (item: Notification) => ReactNode
  /** Below the list. */
  footer?: ReactNode
  icon?: ReactNode
  /** Of the dates. Default: the browser's. */
  locale?: string
  className?: string
  /** Default: as the system is. */
  theme?: 'light' | 'dark'
  /** Which edge of the bell the list keeps to. Default: `end`. */
  align?: 'start' | 'end'
}

/** A bell; `headwater/bell.css` is its look. */
export function NotificationBell(props: BellProps): ReactNode

export interface Bell extends NotificationSource {
  readonly labels: Labels
  readonly count: number
  /** `9+`, `3`, or nothing. */
  readonly badge: string
  readonly isOpen: boolean
  open(): void
  /** Gives the focus back to the button. */
  close(): void
  toggle(): void
  readonly filter: 'all' | 'unread'
  setFilter(filter: 'all' | 'unread'): void
  /** The items that the filter lets through. */
  readonly visible: readonly Notification[]
  /** What is to be read out, in an element with `role="status"`. */
  readonly announcement: string
  /** Marks one as read and tells `onActivate`. */
  activate(item: Notification, event?: any): void
  /** Of notifications outside of the page: `default`, `granted` or `denied`; nothing when they are not wanted. */
  readonly permission: string
  /** To be called from a click. */
  askPermission(): Promise<void>
  /** Of the element around button and list. */
  readonly rootProps: { ref: Ref<any>; onBlur: (event: any) => void }
  readonly buttonProps: {
    ref: Ref<any>
    type: 'button'
    'aria-label': string
    'aria-haspopup': 'dialog'
    'aria-expanded': boolean
    'aria-controls': string | undefined
    onClick: () => void
  }
  /** Of the list's element, which is there only while it is open. */
  readonly panelProps: { ref: Ref<any>; id: string; role: 'dialog'; 'aria-label': string; tabIndex: number; onKeyDown: (event: any) => void }
  /** Of what is clicked in a row: a link where `href` is there, else a button. */
  itemProps(item: Notification): { 'data-item': string; href: string | undefined; onClick: (event?: any) => void }
}

/** All that the bell does, without a look. */
export function useNotificationBell(source: NotificationSource, options?: BellOptions): Bell
