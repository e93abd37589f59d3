// What tests/browser/test_pages.py asks a page, as functions of `looking`. It runs before the page's own scripts do, in the
// page, but not under its policy. Knows HTML; must not know any page.

{
  const refused = []
  document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
    refused.push(`${violatedDirective} ${blockedURI}`),
  )

  const all = (selector) => [...document.querySelectorAll(selector)]
  const named = (element) =>
    `${element.localName}#${element.id}.${element.getAttribute('class') ?? ''} ${(element.ariaLabel ?? element.textContent).slice(0, 40)}`

  /** Whether all of these stand on the page, or in its fields. */
  const shows = (texts) => {
    const text = [document.body.textContent, ...all('input, textarea').map(({ value }) => value)].join(' ')
    return texts.every((each) => text.includes(each))
  }

  const FOREIGN = 'script:not([src]), style, iframe, object, embed, base, body img[src="x"], body svg[onload]'
  const CODE = /^[\s\x00-\x1f]*(java\s*script|vbscript|data):/i

  /** Signs that a text has become code. */
  const harm = () => [
    ...('hacked' in window ? ['it has run'] : []),
    ...all(FOREIGN).map(({ outerHTML }) => outerHTML.slice(0, 80)),
    ...all('*').flatMap((element) =>
      [...element.attributes]
        .filter(({ name, value }) => name.startsWith('on') || (/^(href|src|action)$/.test(name) && CODE.test(value)))
        .map(({ name, value }) => `${element.localName} ${name}=${value.slice(0, 80)}`),
    ),
  ]

  /** Elements that stick out of the window, if that makes it scroll sideways. */
  const tooWide = () => {
    const width = document.documentElement.clientWidth
    if (document.documentElement.scrollWidth <= width) return []
    return all('body *').filter((element) => element.getBoundingClientRect().right > width + 1).map(named)
  }

  /** Elements whose end is further down than this, in pixels. */
  const tooLong = (most) => {
    if (document.documentElement.scrollHeight <= most) return []
    return all('body *').filter((element) => element.getBoundingClientRect().height > most / 4).map(named)
  }

  const TURNS = /[\u202a-\u202e\u2066-\u2069]/
  const isApart = (element) => {
    const { display, unicodeBidi } = getComputedStyle(element)
    return display !== 'inline' || /isolate|plaintext/.test(unicodeBidi)
  }

  /** Texts that turn the direction of what is written beside them. */
  const turning = () => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT, (text) => (TURNS.test(text.data) ? 1 : 2))
    const found = []
    while (texts.nextNode()) {
      let around = texts.currentNode.parentElement
      while (!isApart(around)) around = around.parentElement
      if (around.textContent.trim() !== texts.currentNode.data.trim() && around.getClientRects().length) found.push(`${named(around)} with ${texts.currentNode.data.slice(0, 30)}`)
    }
    return found
  }

  /** What keeps somebody out, as axe sees it: by these rules, or by all. */
  const barriers = async (rules) => {
    const { violations } = await axe.run(document, {
      resultTypes: ['violations'],
      ...(rules ? { runOnly: rules } : { rules: { 'target-size': { enabled: true } } }),
    })
    return violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(({ id, help, nodes }) => [id, help, ...nodes.map(({ target, any }) => `${target}: ${any[0]?.message ?? ''}`)])
  }

  /** Fields without a name. */
  const nameless = () =>
    all('input:not([type=hidden]), select, textarea, progress, meter, [role=img], canvas')
      .filter((field) => ![...(field.labels ?? [])].length && !field.ariaLabel && !field.getAttribute('aria-labelledby') && !field.ariaHidden)
      .map(named)

  let usable = []

  /** Note everything that can be used with the keyboard, and begin at the top; how much there is. */
  const begin = () => {
    const groups = new Set()
    const isOfItsGroup = ({ name, checked }) => {
      if (groups.has(name) || (!checked && all(`input[type=radio][name="${CSS.escape(name)}"]:checked`).length)) return false
      return groups.add(name)
    }
    usable = all('a[href], button, input, select, textarea, summary, [tabindex="0"]').filter(
      (element) =>
        !element.disabled &&
        !element.closest('[inert]') &&
        element.checkVisibility({ visibilityProperty: true }) &&
        (element.type !== 'radio' || isOfItsGroup(element)),
    )
    document.body.tabIndex = -1
    document.body.focus({ preventScroll: true })
    document.body.removeAttribute('tabindex')
    return usable.length
  }

  const LOOK = ['outlineStyle', 'outlineColor', 'outlineWidth', 'boxShadow', 'borderColor', 'backgroundColor']

  /** What has the focus: which of the usable, and whether somebody sees that; null if nothing has it. */
  const focused = () => {
    const at = document.activeElement
    if (!at || at === document.body) return null
    const look = () => JSON.stringify([at, ...(at.labels ?? [])].map((part) => LOOK.map((name) => getComputedStyle(part)[name])))
    const before = look()
    at.blur()
    const isSeen = look() !== before
    at.focus({ preventScroll: true, focusVisible: true })
    return { index: usable.indexOf(at), name: named(at), isSeen }
  }

  /** The usable that were not reached and are still there. */
  const missed = (reached) => usable.filter((element, index) => !reached.includes(index) && element.isConnected).map(named)

  const links = () => all('a[href], link[href]').map(({ href }) => href)

  window.looking = { refused: () => refused, shows, harm, tooWide, tooLong, turning, barriers, nameless, begin, focused, missed, links }
}
