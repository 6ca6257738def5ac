import react from '@vitejs/plugin-react'
import { defineConfig } from 'vitest/config'

const server = process.env.DEEPFAKE_SERVER ?? 'http://127.0.0.1:5000'

export default defineConfig({
  plugins: [react()],
  build: {
    assetsInlineLimit: 0, // nothing becomes a data: address, which the server's Content-Security-Policy forbids
    modulePreload: { polyfill: false },
  },
  // Same origin for the browser, so that the server needs no CORS.
  server: { proxy: { '/api': server, '/upload': server } },
  test: { include: ['tests/*.test.{ts,tsx}'], environment: 'jsdom', setupFiles: 'tests/setup.ts', restoreMocks: true },
})
