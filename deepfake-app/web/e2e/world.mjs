/** The real server with models whose verdicts are known, and a real Chromium that notes whatever goes wrong in a page. */

import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { chromium } from 'playwright-core'

export const WEB = path.dirname(import.meta.dirname)
const ROOT = path.resolve(WEB, '../..')
const PYTHON = process.env.PYTHON ?? path.join(ROOT, '.venv/bin/python')
const BROWSER = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync)
const AXE = readFileSync(path.join(WEB, 'node_modules/axe-core/axe.min.js'), 'utf8')

export async function makeWorld() {
  const folder = path.join(mkdtempSync(path.join(tmpdir(), 'deepfake-page-')), 'world')
  const env = { ...process.env, PYTHONPATH: ROOT, OMP_NUM_THREADS: '1' }
  execFileSync(PYTHON, [path.join(WEB, 'e2e/world.py'), folder], { cwd: ROOT, env })
  const server = await startServer(path.join(folder, 'models'))
  const browser = await chromium.launch({ executablePath: BROWSER, args: ['--no-sandbox', '--disable-gpu'] })
  return {
    url: server.url,
    browser,
    image: (name) => path.join(folder, 'images', name),
    async end() {
      await browser.close()
      await server.stop()
      rmSync(path.dirname(folder), { recursive: true })
    },
  }
}

/** server.py on a port that is free, once it is ready. */
async function startServer(models) {
  const child = spawn(PYTHON, ['deepfake-app/server.py', '--model', models, '--port', '0'], { cwd: ROOT })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  let said = ''
  child.stderr.on('data', (data) => (said += data))
  const url = await until(() => {
    if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}: ${said}`)
    return said.match(/listening on (http:\S+?),/)?.[1]
  })
  await until(async () => (await fetch(`${url}/readyz`)).ok)
  return {
    url,
    stop: () => {
      child.kill('SIGTERM')
      return ended
    },
  }
}

export async function until(look, seconds = 60) {
  for (const end = Date.now() + 1000 * seconds; Date.now() < end; ) {
    const seen = await look()
    if (seen) return seen
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`waited ${seconds} s for ${look}`)
}

/** A page of its own. `wrong` fills with console errors, exceptions and violations of the Content-Security-Policy. */
export async function openPage({ browser, url }, options = {}) {
  const { hash = '', ...context } = options
  const opened = await browser.newContext({ viewport: { width: 1280, height: 860 }, locale: 'en-US', ...context })
  const page = await opened.newPage()
  page.setDefaultTimeout(15_000)
  page.wrong = []
  page.on('console', (message) => message.type() === 'error' && page.wrong.push(message.text()))
  page.on('pageerror', (error) => page.wrong.push(String(error)))
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => console.error('CSP', event.violatedDirective))
    window.shifts = []
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) {
        const moved = entry.sources.map(({ node }) => node?.outerHTML ?? node?.textContent ?? '?')
        if (!entry.hadRecentInput) window.shifts.push(`${entry.value}: ${moved.join(' | ')}`)
      }
    }).observe({ type: 'layout-shift', buffered: true })
  })
  await page.goto(url + hash)
  await page.getByRole('heading', { level: 1 }).waitFor()
  return page
}

/** What axe finds against WCAG 2.2 A and AA, and its best practices. Reads no network, so the page's policy holds. */
export async function axe(page) {
  await page.evaluate(AXE) // not a script of the page: the policy is not touched
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }))
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' | ')}`)
}

/** Holds back what the page asks of an address, until `go()`. */
export async function hold(page, address) {
  let go
  const gate = new Promise((resolve) => (go = resolve))
  await page.route(address, async (route) => {
    await gate
    await route.continue().catch(() => undefined) // aborted meanwhile
  })
  return async () => {
    go()
    await page.unroute(address)
  }
}

/** A file dragged in from outside and dropped, as Chromium itself does it. */
export async function drop(page, ...files) {
  const client = await page.context().newCDPSession(page)
  const data = { items: [], files, dragOperationsMask: 1 }
  const at = { x: 300, y: 700, data }
  await client.send('Input.dispatchDragEvent', { type: 'dragEnter', ...at })
  await client.send('Input.dispatchDragEvent', { type: 'dragOver', ...at })
  const over = await page.getByText('Let go to check').isVisible()
  await client.send('Input.dispatchDragEvent', { type: 'drop', ...at })
  return over
}
