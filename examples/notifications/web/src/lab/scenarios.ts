// What the buttons of the test page do, step by step. Each breaks something, creates notifications while it is broken, mends
// it, and sees what came.
import { SSEEventType } from '../events'
import { pause, type Lab } from './lab'
import { seconds } from './words'

export interface Scenario {
  readonly id: string
  readonly title: string
  /** What it breaks. */
  readonly about: string
  /** What to look for. */
  readonly look: string
  run(lab: Lab): Promise<void>
}

const PACE = 150 // ms between two calls of the throttled handler

const cut: Scenario = {
  id: 'cut',
  title: 'Cut the connection',
  about: 'The stream breaks off, and one more request fails.',
  look: 'A stream that had lasted is retried at once, then after a random part of a growing delay, from the last id.',
  async run(lab) {
    await lab.ready()
    lab.you('You cut the connection.')
    lab.network.down()
    await lab.next('connecting') // the try that comes at once
    await lab.next('waiting')
    await lab.send(3)
    lab.fact('3 notifications were created meanwhile. The network is back; the client is not told.')
    lab.network.up()
    await lab.until('open')
    await lab.arrived()
    lab.verdict()
  },
}

const wrongToken: Scenario = {
  id: 'wrong-token',
  title: 'Use a wrong token',
  about: 'From now on the page has a token that the server does not accept.',
  look: 'It asks for another token once. When that is refused, too, it stays failed, and does not knock again and again.',
  async run(lab) {
    await lab.ready()
    lab.you('You gave the page a wrong token, and had it connect anew.')
    lab.tokens = 'wrong'
    lab.client.reconnect()
    await lab.until('failed')
    await lab.send(2)
    lab.fact('2 notifications were created meanwhile.')
    lab.you('You signed in again: the token is right.')
    lab.tokens = 'good'
    lab.client.connect()
    await lab.until('open')
    await lab.arrived()
    lab.verdict()
  },
}

const expireToken: Scenario = {
  id: 'expire-token',
  title: 'Let the token expire',
  about: 'The server ends a stream with its token, and warns half a minute before. First a token ends soon, then one ends at once.',
  look: 'Warned, it fetches a new token and changes over before the end. Without that time it does so right after the end.',
  async run(lab) {
    await lab.ready()
    lab.you('You gave the page a token that ends in 34 seconds.')
    lab.lifetime = 34
    lab.client.reconnect()
    await lab.until('open')
    const changeover = lab.next('connecting')
    await lab.send(1)
    await changeover
    await lab.send(1)
    await lab.until('open')
    lab.you('You gave it a token that ends in 4 seconds.')
    lab.lifetime = 4
    lab.client.reconnect()
    await lab.until('open')
    const end = lab.next('waiting')
    await lab.send(1)
    await end
    await lab.send(2)
    await lab.until('open')
    await lab.arrived()
    lab.verdict()
  },
}

const restart: Scenario = {
  id: 'restart',
  title: 'Restart the server',
  about: 'The stream ends, and a proxy answers 503 with Retry-After: 1, twice.',
  look: 'It does not give up on a 503 as an EventSource does, and comes no sooner than it was asked to.',
  async run(lab) {
    await lab.ready()
    lab.you('You restarted the server.')
    lab.network.restart(2)
    await lab.next('waiting')
    await lab.send(3)
    lab.fact('3 notifications were created meanwhile.')
    await lab.until('open', 'polling')
    await lab.arrived()
    await lab.until('open')
    lab.verdict()
  },
}

const offline: Scenario = {
  id: 'offline',
  title: 'Go offline',
  about: 'The browser says that it has no network, as in a tunnel.',
  look: 'It waits instead of trying, and is back as soon as the browser says that it is online.',
  async run(lab) {
    await lab.ready()
    lab.you('You went offline, with the whole page.')
    lab.network.down()
    dispatchEvent(new Event('offline'))
    await lab.until('offline')
    await lab.send(3)
    lab.fact('3 notifications were created meanwhile.')
    lab.you('You are online again.')
    lab.network.up()
    dispatchEvent(new Event('online'))
    await lab.until('open')
    await lab.arrived()
    lab.verdict()
  },
}

const throttle: Scenario = {
  id: 'throttle',
  title: 'Throttle a burst',
  about: `12 notifications at once, for one handler that hears all, and one with { throttle: ${PACE} }.`,
  look: 'The throttled one is called for the first and the last, and now and then in between. The other misses none.',
  async run(lab) {
    await lab.ready()
    const seen: string[] = []
    const began = Date.now()
    const off = lab.client.on(SSEEventType.NOTIFICATION_CREATED, ({ data }) => seen.push(data.title), { throttle: PACE })
    lab.you('You had 12 notifications created.')
    await lab.send(12)
    await lab.arrived()
    await pause(2 * PACE) // the last of a burst is told of at its end
    off()
    lab.verdict(`The throttled handler was called ${seen.length} times in ${seconds(Date.now() - began)}, the last time for “${seen.at(-1)}”.`)
  },
}

const silence: Scenario = {
  id: 'silence',
  title: 'Put a bad proxy between',
  about: 'A proxy that keeps all of a stream to itself: connections open, and nothing comes.',
  look: 'After three tries it asks for events by polling, and returns to streaming by itself when that works again.',
  async run(lab) {
    await lab.ready()
    lab.you('You put a proxy between that lets no stream through.')
    lab.network.mute()
    await lab.next('polling')
    await lab.send(3)
    lab.fact('3 notifications were created meanwhile.')
    await lab.arrived()
    lab.you('You took the proxy away; the client is not told.')
    lab.network.up()
    await lab.until('open')
    await lab.send(1)
    await lab.arrived()
    lab.verdict()
  },
}

export const scenarios: readonly Scenario[] = [cut, wrongToken, expireToken, restart, offline, silence, throttle]
