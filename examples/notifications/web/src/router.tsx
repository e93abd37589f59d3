// Which page: the address decides. Two pages need no library.
import { useSyncExternalStore, type AnchorHTMLAttributes, type MouseEvent } from 'react'

const CHANGED = 'popstate'

const subscribe = (notify: () => void) => {
  addEventListener(CHANGED, notify)
  return () => removeEventListener(CHANGED, notify)
}

/** The path of the page, without a slash at its end. */
export const usePath = () => useSyncExternalStore(subscribe, () => location.pathname.replace(/(.)\/+$/, '$1'))

/** Go to another page of this application. */
export function go(path: string) {
  history.pushState(null, '', path)
  dispatchEvent(new PopStateEvent(CHANGED))
  scrollTo(0, 0)
}

const isPlain = ({ button, metaKey, ctrlKey, shiftKey, altKey }: MouseEvent) => button === 0 && !(metaKey || ctrlKey || shiftKey || altKey)

/** A link to a page of this application. */
export function Link({ href, onClick, ...rest }: AnchorHTMLAttributes<HTMLAnchorElement> & { href: string }) {
  const path = usePath()
  return (
    <a
      {...rest}
      href={href}
      aria-current={path === href ? 'page' : undefined}
      onClick={(event) => {
        onClick?.(event)
        if (!isPlain(event) || event.defaultPrevented) return
        event.preventDefault()
        go(href)
      }}
    />
  )
}
