import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import '../../../../src/headwater/web/style.css'
import 'headwater/bell.css'
import './styles/app.css'
import './styles/dashboard.css'
import './styles/bench.css'
import { App } from './app'

const root = document.getElementById('root')
if (!root) throw new Error('index.html has no #root')

createRoot(root).render(
  <StrictMode>
    <App />
  </StrictMode>,
)
