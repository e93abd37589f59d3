// `node --import ./react18.mjs`: whoever asks for React gets version 18.
import Module, { register } from 'node:module'

const resolve = Module._resolveFilename
Module._resolveFilename = function (name, ...rest) {
  return resolve.call(this, name.replace(/^(react|react-dom)(?=\/|$)/, '$118'), ...rest)
}
const hooks = 'export const resolve = (name, context, next) => next(name.replace(/^(react|react-dom)(?=\\/|$)/, "$118"), context)'
register(`data:text/javascript,${encodeURIComponent(hooks)}`)
