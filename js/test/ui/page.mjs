// What the components meet in the unit tests: a page, and a hub whose streams the test writes.
import { mock } from 'node:test'
import { Window } from 'happy-dom'

const window = new Window({ url: 'http://hub/page' })
for (const name of ['window', 'document', 'navigator', 'location', 'HTMLElement', 'HTMLIFrameElement', 'Element', 'Node', 'Event', 'KeyboardEvent', 'FocusEvent', 'MouseEvent'])
  Object.defineProperty(globalThis, name, { value: name === 'window' ? window : window[name], configurable: true, writable: true })
globalThis.requestAnimationFrame = window.requestAnimationFrame.bind(window)
globalThis.IS_REACT_ACT_ENVIRONMENT = true

const { act, createElement, version } = await import('react')
const { createRoot } = await import('react-dom/client')
const { createClient } = await import('../../headwater.js')
const { nextFrame } = await import('../../batch.js')

export { act, createElement as h, version, window }

/** Do something; then everything that does not need time to pass has happened, and what came was shown. */
export const settle = (work) =>
  act(async () => {
    await work?.()
    for (let i = 0; i < 4; i += 1) await new Promise(setImmediate)
    const shown = new Promise((resolve) => nextFrame(resolve))
    try {
      mock.timers.tick(1) // when the clock is the test's
    } catch {} // it is the world's
    await shown
  })

/** A hub as one page knows it. */
export class Hub {
  /** Streams that are open. */
  streams = []
  asked = 0
  id = 0
  fetch = (url, { signal, headers }) =>
    new Promise((resolve, reject) => {
      signal.throwIfAborted()
      this.asked += 1
      if (headers.get('accept') !== 'text/event-stream') return reject(new TypeError('fetch failed'))
      const stream = { url: new URL(url), headers }
      const body = new ReadableStream({ start: (controller) => (stream.controller = controller) })
      signal.addEventListener('abort', () => {
        this.streams = this.streams.filter((each) => each !== stream)
        try {
          stream.controller.error(signal.reason)
        } catch {} // it has ended
      })
      this.streams.push(stream)
      stream.open = () => resolve(new Response(body, { headers: { 'content-type': 'text/event-stream' } }))
      if (this.isOpen) stream.open()
      if (this.isOpen) stream.controller.enqueue(new TextEncoder().encode(`id: ${this.id}\nevent: connected\ndata: {}\n\n`))
    })
  isOpen = true

  client(options) {
    return createClient({ url: 'http://hub/events', fetch: this.fetch, ...options })
  }
  /** To all streams, in one piece. */
  push(...events) {
    const text = events.map(([type, data]) => `id: ${(this.id += 1)}\nevent: ${type}\ndata: ${JSON.stringify(data)}\n\n`).join('')
    for (const { controller } of this.streams) controller.enqueue(new TextEncoder().encode(text))
  }
  async send(...events) {
    await settle(() => this.push(...events))
  }
  end() {
    for (const { controller } of this.streams) controller.close()
  }
}

/** What React complains of; not that events come when they will. */
export const complaints = []
console.error = (...what) => /not wrapped in act|MockTimers/.test(what[0]) || complaints.push(what.map(String).join(' '))

/** Show an element. @returns what ends it, and shows another. */
export const show = async (element) => {
  const place = document.body.appendChild(document.createElement('div'))
  const root = createRoot(place)
  const render = async (next) => {
    await act(async () => root.render(next))
    await settle()
  }
  await render(element)
  const end = async () => {
    await act(async () => root.unmount())
    place.remove()
  }
  return { place, root, render, end, get text() { return place.textContent } }
}

/** Call a hook in a component; what it returned last. */
export const use = async (hook, { wrap = (element) => element, props = {} } = {}) => {
  const seen = { current: null, renders: 0 }
  const Component = (given) => {
    seen.current = hook(given)
    seen.renders += 1
    return null
  }
  const shown = await show(wrap(createElement(Component, props)))
  return { seen, ...shown, render: (next) => shown.render(wrap(createElement(Component, next))), end: shown.end }
}
