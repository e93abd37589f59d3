// The events of the stream: what they are called, and what they carry.
import type { Notification as Base } from 'headwater/redux'

export const SSEEventType = {
  // Connection events
  CONNECTION_ESTABLISHED: 'connection_established',
  HEARTBEAT: 'heartbeat',

  // Notification events
  NOTIFICATION_CREATED: 'notification.created',
  NOTIFICATION_UPDATED: 'notification.updated',
  NOTIFICATION_DELETED: 'notification.deleted',

  // User events
  USER_STATUS_CHANGED: 'user.status_changed',
  USER_UPDATED: 'user.updated',

  // Workflow events
  WORKFLOW_STARTED: 'workflow.started',
  WORKFLOW_COMPLETED: 'workflow.completed',
  WORKFLOW_FAILED: 'workflow.failed',

  // System events
  SYSTEM_ANNOUNCEMENT: 'system.announcement',
  SYSTEM_MAINTENANCE: 'system.maintenance',
} as const

export type SSEEventType = (typeof SSEEventType)[keyof typeof SSEEventType]

export type Level = 'info' | 'success' | 'warning' | 'error'

export interface Notification extends Base {
  id: string
  title: string
  message: string
  level: Level
  /** Who has sent it; null for the system. */
  from: string | null
  createdAt: string
}

export interface User {
  id: string
  name: string
  about: string
  status: 'online' | 'offline'
  lastSeenAt: string | null
}

/** A step of a workflow that was done. */
export interface Step {
  title: string
  note: string
  durationMs: number
}

/** One run of a workflow. */
export interface Run {
  id: string
  workflow: string
  title: string
  status: 'started' | 'completed' | 'failed'
  startedBy: string
  startedAt: string
  finishedAt: string | null
  durationMs: number | null
  steps: Step[]
  result: string | null
  error: string | null
}

/** What can be run. */
export interface Workflow {
  name: string
  title: string
  description: string
  steps: string[]
}

export interface Announcement {
  id: string
  type: typeof SSEEventType.SYSTEM_ANNOUNCEMENT | typeof SSEEventType.SYSTEM_MAINTENANCE
  title: string
  message: string
  level: Level
  by: string
  createdAt: string
  startsAt: string
  endsAt: string
}

export interface AppEvents {
  [SSEEventType.CONNECTION_ESTABLISHED]: { userId: string; timestamp: string; cursor: string }
  [SSEEventType.HEARTBEAT]: { timestamp: string }
  [SSEEventType.NOTIFICATION_CREATED]: Notification
  [SSEEventType.NOTIFICATION_UPDATED]: Notification
  [SSEEventType.NOTIFICATION_DELETED]: { id: string }
  [SSEEventType.USER_STATUS_CHANGED]: Pick<User, 'id' | 'status' | 'lastSeenAt'>
  [SSEEventType.USER_UPDATED]: User
  [SSEEventType.WORKFLOW_STARTED]: Run
  [SSEEventType.WORKFLOW_COMPLETED]: Run
  [SSEEventType.WORKFLOW_FAILED]: Run
  [SSEEventType.SYSTEM_ANNOUNCEMENT]: Announcement
  [SSEEventType.SYSTEM_MAINTENANCE]: Announcement
}

// From here on every hook knows these names and what they carry.
declare module 'headwater/react' {
  interface Register {
    events: AppEvents
  }
}
