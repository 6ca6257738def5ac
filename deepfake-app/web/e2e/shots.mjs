/**
 * The pictures of the page in the README, from a server that runs:
 *
 *     node e2e/shots.mjs http://127.0.0.1:5000 photo.jpg ../../docs/images
 */

import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { chromium } from 'playwright-core'

const [url, image, folder] = process.argv.slice(2)
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
const PYTHON = process.env.PYTHON ?? path.join(import.meta.dirname, '../../../.venv/bin/python')
const SHRINK = `
import sys
from PIL import Image
Image.open(sys.argv[1]).convert("RGB").quantize(256, kmeans=4).save(sys.argv[1], optimize=True)`
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] })
for (const colorScheme of ['light', 'dark']) {
  const page = await browser.newPage({ colorScheme, viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce' })
  await page.goto(url)
  await page.getByText('At most').waitFor()
  await page.setInputFiles('input[type=file]', image)
  await page.getByRole('button', { name: 'Show the heat map' }).click()
  await page.locator('.heat img').waitFor()
  await page.mouse.move(0, 0)
  const file = path.join(folder, `page-${colorScheme}.png`)
  await page.screenshot({ path: file })
  execFileSync(PYTHON, ['-c', SHRINK, file])
  await page.close()
}
await browser.close()
