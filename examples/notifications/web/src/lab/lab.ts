// The connection of the test page: a client like any other, whose network and tokens can be broken. It creates notifications
// by the API (over the real network) and holds what its stream brought against them.
import { createClient, type Client, type State } from 'headwater'
import { api } from '../api'
import type { AppEvents } from '../events'
import { SSEEventType } from '../events'
import type { Session } from '../session'
import { address, settings } from '../settings'
import { Network } from './network'
import { eventHappening, judge, type Happening } from './runs'

const PATIENCE = 30_000 // ms for anything to happen
const TIDYING = 100 // ms between two deletions: the server bounds how fast a user may write
const STABLE = 1000 // ms that a stream must last to be retried at once; the client's default is 5000

export const pause = (delay: number) => new Promise((resolve) => setTimeout(resolve, delay))

type TokenKind = 'good' | 'wrong'

/** What a run is told of. */
export type Tell = (happening: Happening) => void

export class Lab {
  readonly network = new Network()
  readonly client: Client<AppEvents>
  /** What the client is given when it asks for a token. */
  tokens: TokenKind = 'good'
  /** Seconds for which the next token is good; null for as long as usual. */
  lifetime: number | null = null
  tell: Tell = () => {}
  #session: Session
  #sent: string[] = []
  #came: string[] = []
  #offs: (() => void)[] = []

  constructor(session: Session) {
    this.#session = session
    this.client = createClient<AppEvents>({
      ...settings,
      url: address('/sse'),
      fetch: this.network.fetch,
      token: ({ reason }) => this.#token(reason),
      retry: { ...settings.retry, stableAfter: STABLE },
      connectTimeout: 2000,
      probeEvery: 3000,
    })
  }

  async #token(reason: 'connect' | 'unauthorized' | 'expiring'): Promise<string> {
    if (reason === 'unauthorized') this.tell({ kind: 'token', text: 'asked for another token, because this one was refused' })
    if (reason === 'expiring') this.tell({ kind: 'token', text: 'asked for a new token, because the server said that this one expires' })
    if (this.tokens === 'wrong') return 'not-a-token'
    const { lifetime } = this
    this.lifetime = null
    return lifetime ? this.#session.shortToken(lifetime) : this.#session.token({ reason })
  }

  /** Begin to listen. @returns ends it, and everything else. */
  attach(): () => void {
    const { client } = this
    this.#offs = [
      client.onStatus((status) => this.tell({ kind: 'state', status, cursor: client.lastEventId })),
      client.on('*', (event) => {
        if (event.type !== SSEEventType.NOTIFICATION_DELETED) this.tell(eventHappening(event))
      }),
      client.on(SSEEventType.NOTIFICATION_CREATED, ({ data }) => void this.#came.push(`${data.id}`)),
      client.onReset(({ reason }) => this.tell({ kind: 'fact', text: `The server could not give everything (${reason}): what is shown would be loaded anew.` })),
    ]
    return () => {
      for (const off of this.#offs) off()
      client.close()
      void this.tidy().catch(() => {}) // if it was left in the middle of a run
    }
  }

  you(text: string) {
    this.tell({ kind: 'you', text })
  }

  fact(text: string) {
    this.tell({ kind: 'fact', text })
  }

  /** Wait until the client is in one of these states. */
  async until(...states: State[]): Promise<void> {
    await this.#wait((done) => {
      const look = () => states.includes(this.client.status.state) && done()
      look()
      return this.client.onStatus(look)
    }, `the client to be ${states.join(' or ')}`)
  }

  /** The next change to one of these states; being there already is not enough. */
  async next(...states: State[]): Promise<void> {
    await this.#wait((done) => this.client.onStatus(({ state }) => states.includes(state) && done()), `the client to become ${states.join(' or ')}`)
  }

  /** Connected, for so long that the client takes the stream for stable; and nothing sent or received yet. */
  async ready(): Promise<void> {
    this.network.up()
    this.tokens = 'good'
    this.client.connect()
    await this.until('open')
    this.#sent = []
    this.#came = []
    const rest = this.client.status.since + STABLE + 50 - Date.now()
    if (rest > 0) await pause(rest)
    await this.send(1)
    await this.arrived()
  }

  /** Create notifications, one after the other. */
  async send(count: number): Promise<void> {
    for (let n = 0; n < count; n += 1) {
      const created = await api.send(this.#session, { title: `Probe ${this.#sent.length + 1}`, message: 'Created by the test page, and deleted at the end.' })
      this.#sent.push(...created.map(({ id }) => id))
    }
  }

  /** Wait until all of them have come. */
  async arrived(): Promise<void> {
    const { client } = this
    await this.#wait((done) => {
      const look = () => this.#sent.every((id) => this.#came.includes(id)) && done()
      look()
      return client.on(SSEEventType.NOTIFICATION_CREATED, look)
    }, 'what was sent to arrive')
  }

  /** Hold what came against what was sent. */
  verdict(text?: string) {
    this.tell({ kind: 'verdict', verdict: { ...judge(this.#sent, this.#came), ...(text && { text }) } })
  }

  /** Mend everything, and delete what was created. */
  async tidy(): Promise<void> {
    if (this.network.isDown) dispatchEvent(new Event('online'))
    this.network.up()
    for (const id of this.#sent.splice(0)) {
      await api.remove(this.#session, [id])
      await pause(TIDYING)
    }
  }

  /** @param watch is given what to call when it has happened. @returns when it was called. */
  async #wait(watch: (done: () => void) => () => void, what: string): Promise<void> {
    let off = () => {}
    let timer: ReturnType<typeof setTimeout> | undefined
    try {
      await new Promise<void>((resolve, reject) => {
        timer = setTimeout(() => reject(new Error(`waited ${PATIENCE / 1000} s for ${what}`)), PATIENCE)
        off = watch(resolve)
      })
    } finally {
      clearTimeout(timer)
      off()
    }
  }
}
