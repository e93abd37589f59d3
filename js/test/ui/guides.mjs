// Runs the examples of the guides as what they are: whole modules, which import the package by its name.
import { readFileSync } from 'node:fs'
import { register } from 'node:module'
import { transform } from 'esbuild'

const js = new URL('../../', import.meta.url)
const hooks = `
export const resolve = (name, context, next) => next(name, context.parentURL?.startsWith('data:') ? { ...context, parentURL: '${js}package.json' } : context)
export const load = (url, context, next) => url.endsWith('.css') ? { format: 'module', source: '', shortCircuit: true } : next(url, context)`
register(`data:text/javascript,${encodeURIComponent(hooks)}`)

/** The examples of a guide, below the repository, in some languages. */
export const blocks = (guide, languages) => {
  const text = readFileSync(new URL(`../${guide}`, js), 'utf8')
  return [...text.matchAll(/^```(\w+)\n(.*?)^```/gms)].filter(([, language]) => languages.includes(language)).map(([, , code]) => code)
}

const ran = new Set()

/** Run the one example of a guide that contains a text. @returns what it exports, and as `made` the clients it made. */
export const run = async (guide, text, { languages = ['js', 'ts', 'tsx'], before = '' } = {}) => {
  const found = blocks(guide, languages).filter((code) => code.includes(text))
  if (found.length !== 1) throw new Error(`${found.length} examples with ${text}`)
  ran.add(found[0])
  const { code } = await transform(before + found[0], { loader: 'tsx', jsx: 'automatic', format: 'esm', target: 'es2022' })
  return import(`data:text/javascript,${encodeURIComponent(code)}`)
}

/** Those that nobody has run. */
export const left = (...guides) => guides.flatMap((guide) => blocks(guide, ['js', 'ts', 'tsx']).filter((code) => !ran.has(code)))
