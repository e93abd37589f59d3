// What the hooks and the store share: when what has come is shown, and from when on nothing is missed.
// Knows neither React nor Redux.

/** @import { Client } from './types.d.ts' */

const BLINK = 100 // ms to wait for a frame that does not come, because the page was hidden meanwhile
const PATIENCE = 1000 // ms to wait for the stream before something is loaded all the same

/** @type {Set<() => void>} */
const jobs = new Set()

/**
 * Do it with the next frame, and once, however often that is asked for; soon where there are no frames. All that is due is
 * done in one task, so that React makes one update of it: one per event would be error #185 in a burst.
 * @param {() => void} job
 */
export const nextFrame = (job) => {
  if (jobs.has(job)) return
  const isSeen = globalThis.document?.hidden === false
  const flush = () => {
    clearTimeout(timer)
    for (const due of jobs) queueMicrotask(due) // what one throws is not the next one's trouble
    jobs.clear()
  }
  const timer = setTimeout(flush, isSeen ? BLINK : 0)
  if (isSeen) requestAnimationFrame(flush)
  jobs.add(job)
}

/**
 * Do it as soon as whatever happens from now on will come over the stream; state that was loaded before may have a gap.
 * @param {Client<any>} client @param {() => void} work @returns {() => void} gives up waiting.
 */
export const whenLive = (client, work) => {
  const isLive = () => client.lastEventId || /sse|tab/.test(`${client.status.transport}`)
  const done = () => {
    off()
    work()
  }
  const offs = [client.on('connected', done), client.onStatus(() => isLive() && done())]
  const off = () => offs.forEach((each) => each())
  if (isLive()) done()
  return off
}

/**
 * Load something that the stream will keep up to date: once it does, or in a while, and then again; and after a reset.
 * @param {Client<any>} client @param {() => void} load @returns {() => void} ends it.
 */
export const loadWhenLive = (client, load) => {
  const begin = () => {
    clearTimeout(timer)
    load()
  }
  const timer = globalThis.document && setTimeout(load, PATIENCE) // a server whose client is not connected loads nothing
  const offs = [() => clearTimeout(timer), client.onReset(load), whenLive(client, begin)]
  return () => offs.forEach((off) => off())
}
