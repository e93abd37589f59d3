interface ImportMetaEnv {
  readonly VITE_API_URL?: string
  readonly VITE_SSE_RECONNECT_INTERVAL?: string
  readonly VITE_SSE_MAX_RECONNECT_ATTEMPTS?: string
  readonly VITE_SSE_HEARTBEAT_INTERVAL?: string
}
