// A request that was answered with no.

/** What the server refused, in its own words. */
export class Refused extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** Whether it may work next time: nobody answered, or not the one who should. */
export const mayPass = (error: unknown) => !(error instanceof Refused) || error.status >= 500
