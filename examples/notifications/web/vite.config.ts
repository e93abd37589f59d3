// How this is built, and served while it is worked on: then the application answers beside it, as if it were one site.
import react from '@vitejs/plugin-react'
import { defineConfig, loadEnv } from 'vite'

export default defineConfig(({ mode }) => {
  const { APP_URL = 'http://localhost:8000' } = loadEnv(mode, '.', 'APP_')
  return {
    plugins: [react()],
    // `headwater` is a link to a folder that has a React of its own; there must be one only.
    resolve: { dedupe: ['react', 'react-dom'] },
    server: {
      port: 5173,
      fs: { allow: ['../../..'] }, // js/, and the style that all of Headwater's pages share
      proxy: { '/api': APP_URL, '/notifications': APP_URL },
    },
    // Nothing inline: neither scripts nor pictures, so that the strictest content policy lets all of it through.
    build: { target: 'es2022', assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  }
})
