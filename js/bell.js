'use client'
// A bell with a badge and a list behind it. `useNotificationBell` is all it does without how it looks; `NotificationBell`
// is a look, with `bell.css`. What a notification says is text, whatever it says, and no style or script is written
// into the page, so that it works under the strictest policy.

import { createElement as h, useEffect, useId, useRef, useState } from 'react'
import { useNotifications } from './react.js'

/** @import { BellOptions, BellProps, Labels, Sound } from './bell.d.ts' */
/** @import { NotificationSource } from './react.d.ts' */
/** @import { Notification as Item } from './notifications.d.ts' */

const GROUP = 1000 // ms in which those that come together are told of together
const QUIET = 3000 // ms between two sounds
/** Seconds of a unit. @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [['year', 31_557_600], ['month', 2_629_800], ['day', 86_400], ['hour', 3600], ['minute', 60]]
const COUNT = /^\(\d+\+?\) /

/** @type {Labels} */
const LABELS = {
  title: 'Notifications',
  button: (count) => (count ? `Notifications, ${count} new` : 'Notifications'),
  many: (count) => `${count} new notifications`,
  all: 'All',
  unread: 'Unread',
  markAll: 'Mark all as read',
  remove: 'Remove',
  empty: 'Nothing here yet',
  loading: 'Loading…',
  failed: 'That did not work.',
  retry: 'Try again',
  desktop: 'Notify me outside of this page, too',
  blocked: 'Your browser blocks notifications of this site.',
}

/** What may be shown of something that may be anything. @param {unknown} value */
const textOf = (value) => (/string|number/.test(typeof value) ? `${value}` : '')

/** Where it leads, if that is a page. @param {Item} item */
const hrefOf = ({ href }) => {
  try {
    if (typeof href === 'string' && /^https?:$/.test(new URL(href, 'http://page').protocol)) return href
  } catch {}
}

/** The newest value, for what is called later. @template T @param {T} value */
const useLatest = (value) => {
  const latest = useRef(value)
  useEffect(() => void (latest.current = value))
  return latest
}

/** Two soft notes, so that no file is needed. @param {AudioContext} audio @param {number} volume */
const chime = (audio, volume) => {
  for (const [note, at] of [[660, 0], [880, 0.12]]) {
    const tone = audio.createOscillator()
    const gain = audio.createGain()
    const start = audio.currentTime + at
    tone.frequency.value = note
    gain.gain.setValueAtTime(volume / 4, start)
    gain.gain.exponentialRampToValueAtTime(0.001, start + 0.4)
    tone.connect(gain).connect(audio.destination)
    tone.start(start)
    tone.stop(start + 0.4)
  }
}

/** Plays, once the user has touched the page: browsers allow none before. @param {boolean | Sound | undefined} sound @returns {() => void} */
const useSound = (sound) => {
  /** @type {{current: (() => unknown) | null}} */
  const play = useRef(null)
  const playedAt = useRef(0)
  const { src, volume = 0.5 } = typeof sound === 'object' ? sound : {}
  useEffect(() => {
    if (!sound) return
    const controller = new AbortController()
    const { signal } = controller
    const unlock = () => {
      controller.abort()
      const audio = src ? new Audio(src) : new AudioContext()
      play.current = () => (audio instanceof HTMLMediaElement ? ((audio.volume = volume), audio.play()) : chime(audio, volume))
    }
    for (const type of ['pointerdown', 'keydown']) document.addEventListener(type, unlock, { signal })
    return () => {
      controller.abort()
      play.current = null
    }
  }, [!sound, src, volume])
  return async () => {
    if (!play.current || Date.now() - playedAt.current < QUIET) return
    playedAt.current = Date.now()
    try {
      await play.current()
    } catch {} // not allowed, or no sound here: the rest matters more
  }
}

/** Outside of the page. @param {string} title @param {NotificationOptions} options @param {() => void} onClick */
const notify = async (title, options, onClick) => {
  try {
    const shown = new Notification(title, options)
    shown.onclick = () => {
      focus()
      shown.close()
      onClick()
    }
  } catch {
    // Chrome on Android leaves it to service workers.
    const worker = await navigator.serviceWorker?.getRegistration()
    worker?.showNotification(title, options)
  }
}

/** Tells of those that are new, together of those that come together. @param {NotificationSource} source
 * @param {(items: Item[]) => void} tell */
const useArrivals = ({ items, isLoading }, tell) => {
  /** @type {{current: Set<unknown> | null}} */
  const known = useRef(null)
  /** @type {{current: Item[]}} */
  const waiting = useRef([])
  /** @type {{current: any}} */
  const timer = useRef(0)
  const latest = useLatest(tell)
  const wasLoading = useRef(true)
  useEffect(() => {
    const before = known.current
    const isLoaded = wasLoading.current && !isLoading
    known.current = new Set(items.map(({ id }) => id))
    wasLoading.current = !!isLoading
    if (!before || isLoaded) return // they were here already
    const fresh = items.filter(({ id, read, seen }) => !before.has(id) && !read && !seen)
    waiting.current.unshift(...fresh)
    if (fresh.length)
      timer.current ||= setTimeout(() => {
        timer.current = 0
        latest.current(waiting.current.splice(0))
      }, GROUP)
  }, [items, isLoading])
  useEffect(() => () => void (timer.current = clearTimeout(timer.current)), [])
}

/** What a bell does. @type {typeof import('./bell.d.ts').useNotificationBell} */
export const useNotificationBell = (source, options = {}) => {
  const { count: kind = 'unseen', max = 9, open, onOpenChange, sound, desktop, titleBadge, onActivate } = options
  const labels = { ...LABELS, ...options.labels }
  const { items, isLoading } = source
  const [isOwnOpen, setOpen] = useState(false)
  const [filter, setFilter] = useState(/** @type {'all' | 'unread'} */ ('all'))
  const [announcement, announce] = useState('')
  const [permission, setPermission] = useState('')
  /** @type {{current: any}} */
  const root = useRef(null)
  /** @type {{current: any}} */
  const button = useRef(null)
  /** @type {{current: any}} */
  const panel = useRef(null)
  const id = useId()
  const play = useSound(sound)
  const isOpen = open ?? isOwnOpen
  const count = source[kind]
  const badge = count > max ? `${max}+` : count ? `${count}` : ''

  /** @param {boolean} next */
  const turn = (next) => {
    setOpen(next)
    onOpenChange?.(next)
  }
  const close = () => {
    turn(false)
    button.current?.focus()
  }
  /** @param {Item} item @param {any} [event] */
  const activate = (item, event) => {
    source.markRead(item.id)
    if (hrefOf(item)) close()
    onActivate?.(item, event)
  }

  /** From outside of the page, where there is no link. @param {Item} item */
  const visit = (item) => {
    const href = hrefOf(item)
    activate(item)
    if (href && !onActivate) location.assign(href)
  }

  useArrivals(source, (fresh) => {
    const [newest] = fresh
    const isOne = fresh.length === 1
    const title = isOne ? textOf(newest.title) : labels.many(fresh.length)
    announce(title)
    if (source.client?.isLeader === false) return // another tab tells
    play()
    if (!desktop || !document.hidden || globalThis.Notification?.permission !== 'granted') return
    notify(title, { body: isOne ? textOf(newest.message) : '', tag: isOne ? `${newest.id}` : id }, () => (isOne ? visit(newest) : turn(true)))
  })

  useEffect(() => setPermission(globalThis.Notification?.permission ?? 'denied'), [])
  useEffect(() => {
    if (isOpen && !isLoading) source.markSeen() // and when more come, but not again when that could not be saved
  }, [isOpen, isLoading, items[0]?.id])
  useEffect(() => {
    if (!isOpen) return
    panel.current?.focus({ preventScroll: true })
    const leave = (/** @type {any} */ { target }) => root.current?.contains(target) || turn(false)
    document.addEventListener('pointerdown', leave)
    return () => document.removeEventListener('pointerdown', leave)
  }, [isOpen])
  useEffect(() => {
    if (isOpen && document.activeElement === document.body) panel.current?.focus() // what had the focus is gone
  }, [items, filter])
  useEffect(() => {
    if (!titleBadge) return
    const plain = document.title.replace(COUNT, '')
    document.title = badge ? `(${badge}) ${plain}` : plain
    return () => void (document.title = document.title.replace(COUNT, ''))
  }, [titleBadge, badge])

  /** @param {any} event */
  const onKeyDown = (event) => {
    const all = [...(panel.current?.querySelectorAll('[data-item]') ?? [])]
    const at = all.indexOf(document.activeElement)
    /** @type {Record<string, number>} */
    const steps = { ArrowDown: Math.min(at + 1, all.length - 1), ArrowUp: Math.max(at - 1, 0), Home: 0, End: all.length - 1 }
    if (event.key === 'Escape') close()
    else if (event.key in steps) all[steps[event.key]]?.focus()
    else return
    event.preventDefault()
    event.stopPropagation()
  }

  return {
    ...source,
    labels,
    count,
    badge,
    isOpen,
    open: () => turn(true),
    close,
    toggle: () => turn(!isOpen),
    filter,
    setFilter,
    visible: filter === 'unread' ? items.filter(({ read }) => !read) : items,
    announcement,
    activate,
    permission: desktop ? permission : '',
    /** To be called from a click. */
    askPermission: async () => setPermission(await Notification.requestPermission()),
    rootProps: {
      ref: root,
      onBlur: (/** @type {any} */ { relatedTarget }) => isOpen && relatedTarget && !root.current?.contains(relatedTarget) && turn(false),
    },
    buttonProps: {
      ref: button,
      type: 'button',
      'aria-label': labels.button(count),
      'aria-haspopup': 'dialog',
      'aria-expanded': isOpen,
      'aria-controls': isOpen ? id : undefined,
      onClick: () => turn(!isOpen),
    },
    panelProps: { ref: panel, id, role: 'dialog', 'aria-label': labels.title, tabIndex: -1, onKeyDown },
    itemProps: (item) => ({ 'data-item': '', href: hrefOf(item), onClick: (/** @type {any} */ event) => activate(item, event) }),
  }
}

/** In the user's language: five minutes ago. @param {number} time @param {string} [locale] */
const ago = (time, locale) => {
  const seconds = (time - Date.now()) / 1000
  const format = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' })
  for (const [unit, size] of UNITS) if (Math.abs(seconds) >= size) return format.format(Math.trunc(seconds / size), unit)
  return format.format(0, 'second')
}

/** @param {{item: Item, locale?: string}} props */
const Content = ({ item, locale }) => {
  const time = +new Date(item.createdAt ?? NaN)
  const message = textOf(item.message)
  return [
    h('span', { key: 1, className: 'hw-bell-subject', dir: 'auto' }, textOf(item.title)),
    message && h('span', { key: 2, className: 'hw-bell-message', dir: 'auto' }, message),
    time ? h('time', { key: 3, dir: 'auto', dateTime: new Date(time).toISOString() }, ago(time, locale)) : null,
  ]
}

/** @param {ReturnType<typeof useNotificationBell>} bell @param {BellProps} props */
const listOf = ({ visible, itemProps, labels, remove, isLoading }, { renderItem, locale }) => {
  if (!visible.length) return h('p', { className: 'hw-bell-note' }, isLoading ? labels.loading : labels.empty)
  const rows = visible.map((item) => {
    const { href, ...props } = itemProps(item)
    const content = renderItem ? renderItem(item) : h(Content, { item, locale })
    const mark = !item.read && h('span', { className: 'hw-bell-hidden' }, labels.unread, ': ')
    return h(
      'li',
      { key: item.id, 'data-unread': item.read ? undefined : '' },
      h(href ? 'a' : 'button', { ...props, ...(href ? { href } : { type: 'button' }), className: 'hw-bell-item' }, mark, content),
      remove && h('button', { type: 'button', className: 'hw-bell-remove', 'aria-label': `${labels.remove}: ${textOf(item.title)}`, onClick: () => remove(item.id) }, '×'),
    )
  })
  return h('ul', { 'aria-busy': isLoading || undefined }, rows)
}

/** @param {ReturnType<typeof useNotificationBell>} bell @param {BellProps} props */
const panelOf = (bell, props) => {
  const { labels, unread, error, filter, setFilter, permission } = bell
  /** @param {'all' | 'unread'} name */
  const tab = (name) => h('button', { type: 'button', 'aria-pressed': filter === name, onClick: () => setFilter(name) }, labels[name])
  return h(
    'div',
    { ...bell.panelProps, className: 'hw-bell-panel' },
    h('header', null, h('h2', null, labels.title), h('button', { type: 'button', 'aria-disabled': !unread, onClick: () => unread && bell.markAllRead() }, labels.markAll)),
    h('div', { className: 'hw-bell-tabs', role: 'group', 'aria-label': labels.title }, tab('all'), tab('unread')),
    error && h('p', { className: 'hw-bell-error', role: 'alert' }, labels.failed, ' ', bell.reload && h('button', { type: 'button', onClick: bell.reload }, labels.retry)),
    listOf(bell, props),
    permission === 'default' && h('button', { type: 'button', className: 'hw-bell-wide', onClick: bell.askPermission }, labels.desktop),
    permission === 'denied' && h('p', { className: 'hw-bell-note' }, labels.blocked),
    props.footer,
  )
}

const ICON = h(
  'svg',
  { viewBox: '0 0 24 24', width: 24, height: 24, fill: 'none', stroke: 'currentColor', strokeWidth: 1.8, strokeLinecap: 'round', strokeLinejoin: 'round', 'aria-hidden': true },
  h('path', { d: 'M6 16V11a6 6 0 0 1 12 0v5l1.6 2H4.4zM10 21h4M12 5V3' }),
)

/** @param {BellProps & {source: NotificationSource}} props */
const Bell = ({ source, ...props }) => {
  const bell = useNotificationBell(source, props)
  return h(
    'div',
    { ...bell.rootProps, className: `hw-bell ${props.className ?? ''}`, 'data-theme': props.theme, 'data-align': props.align },
    h('button', { ...bell.buttonProps, className: 'hw-bell-button' }, props.icon ?? ICON),
    bell.badge && h('span', { className: 'hw-bell-badge', 'aria-hidden': true }, bell.badge), // the button's name says more
    h('span', { role: 'status', className: 'hw-bell-hidden' }, bell.announcement),
    bell.isOpen && panelOf(bell, props),
  )
}

/** @param {BellProps} props */
const OwnBell = (props) => {
  const source = useNotifications(props)
  return h(Bell, { ...props, source: props.onRemove ? source : { ...source, remove: undefined } })
}

/** A bell with a list of its own, or with one that is given. @type {typeof import('./bell.d.ts').NotificationBell} */
export const NotificationBell = (props) => (props.source ? h(Bell, /** @type {any} */ (props)) : h(OwnBell, props))
