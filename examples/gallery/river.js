// The river: events as drops that flow by, each application in an arm of its own. Decoration for what the numbers below it
// say, too. Knows a canvas and colours; must not know where events come from.

const CROSSING = 9000 // ms from one side to the other
const MAX_DROPS = 300
const LABEL = 1600 // ms between two drops of an arm that say what they are
const ROOM = 14 // px above the first arm, for its name
const NAMES = 110 // px on the left that belong to the names of the arms

export class River {
  #canvas
  #context
  #arms
  #drops = []
  #labelled = new Map()
  #colours = {}
  #names = '' // fonts
  #labels = ''
  #running = false
  #still = matchMedia('(prefers-reduced-motion: reduce)')

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{name: string, colour: string}[]} arms from top to bottom; `colour` is a custom property of the style sheet.
   */
  constructor(canvas, arms) {
    this.#canvas = canvas
    this.#context = canvas.getContext('2d')
    this.#arms = arms
    new ResizeObserver(() => this.#resize()).observe(canvas)
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.recolour())
    this.recolour()
  }

  /** Read the colours anew, after the theme has changed. */
  recolour() {
    const names = ['--line', '--text-soft', ...this.#arms.map(({ colour }) => colour)]
    const style = this.#canvas.style // a canvas cannot read pairs: its own element resolves them
    for (const name of names) {
      style.color = `var(${name})`
      this.#colours[name] = getComputedStyle(this.#canvas).color
    }
    style.font = '11px var(--mono)'
    this.#labels = getComputedStyle(this.#canvas).font
    style.font = '600 12px var(--sans)'
    this.#names = getComputedStyle(this.#canvas).font
    this.#draw(performance.now())
  }

  /** Let events flow in, spread over the time in which they were collected. */
  add(events, spread) {
    const now = performance.now()
    events.forEach(({ arm, type }, index) => {
      const born = now + (spread * index) / events.length
      const labelled = born - (this.#labelled.get(arm) ?? -LABEL) >= LABEL
      if (labelled) this.#labelled.set(arm, born)
      this.#drops.push({ arm, born, label: labelled ? type : '', wobble: Math.random() * 2 - 1 })
    })
    this.#drops.splice(0, Math.max(0, this.#drops.length - MAX_DROPS))
    this.#run()
  }

  #run() {
    if (this.#still.matches) return this.#draw(performance.now())
    if (this.#running) return
    this.#running = true
    const frame = (now) => {
      this.#drops = this.#drops.filter(({ born }) => now - born < CROSSING)
      this.#draw(now)
      this.#running = this.#drops.length > 0
      if (this.#running) requestAnimationFrame(frame)
    }
    requestAnimationFrame(frame)
  }

  #resize() {
    const { clientWidth, clientHeight } = this.#canvas
    const scale = devicePixelRatio || 1
    this.#canvas.width = clientWidth * scale
    this.#canvas.height = clientHeight * scale
    this.#context.setTransform(scale, 0, 0, scale, 0, 0)
    this.#draw(performance.now())
  }

  /** The height of an arm at a place, from 0 on the left to 1. The arms come together on the right, as rivers do. */
  #height(arm, x) {
    const { clientHeight } = this.#canvas
    const count = this.#arms.length
    const middle = (count - 1) / 2
    const join = 1 - 0.45 * x ** 2
    const lane = (clientHeight - ROOM) / count
    return (clientHeight + ROOM) / 2 + (arm - middle) * lane * join + Math.sin(x * 9 + arm * 1.7) * lane * 0.14
  }

  #draw(now) {
    const { clientWidth: width, clientHeight: height } = this.#canvas
    const context = this.#context
    context.clearRect(0, 0, width, height)
    this.#arms.forEach((_, arm) => this.#drawArm(arm, width))
    for (const drop of this.#drops) this.#drawDrop(drop, now, width)
    context.font = this.#names
    context.textBaseline = 'middle'
    this.#arms.forEach(({ name, colour }, arm) => {
      context.fillStyle = this.#colours[colour]
      context.fillText(name, 0, this.#height(arm, 0) - 17)
    })
  }

  #drawArm(arm, width) {
    const context = this.#context
    context.beginPath()
    for (let x = 0; x <= width; x += 8) context.lineTo(x, this.#height(arm, x / width))
    context.lineCap = 'round'
    context.strokeStyle = this.#colours[this.#arms[arm].colour]
    context.globalAlpha = 0.1
    context.lineWidth = 16
    context.stroke()
    context.globalAlpha = 1
    context.strokeStyle = this.#colours['--line']
    context.lineWidth = 1.5
    context.stroke()
  }

  #drawDrop({ arm, born, label, wobble }, now, width) {
    const age = now - born
    if (age < 0) return
    const context = this.#context
    const x = age / CROSSING
    const y = this.#height(arm, x) + wobble * 3
    const opacity = Math.min(1, age / 200, (1 - x) * 6)
    context.globalAlpha = Math.max(0, opacity)
    context.fillStyle = this.#colours[this.#arms[arm].colour]
    context.beginPath()
    context.arc(x * width, y, 4.5 + 4 * Math.max(0, 1 - age / 500), 0, 2 * Math.PI)
    context.fill()
    if (label && x * width > NAMES && age < 3 * LABEL) {
      context.globalAlpha = Math.max(0, Math.min(opacity, (x * width - NAMES) / 30, (3 * LABEL - age) / 600))
      context.fillStyle = this.#colours['--text-soft']
      context.font = this.#labels
      context.fillText(label, x * width + 9, y - 13)
    }
    context.globalAlpha = 1
  }
}
