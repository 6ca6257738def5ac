/**
 * The built page in a real Chromium, against the real server. `npm run e2e` builds it first.
 *
 * PYTHON and CHROMIUM name other programs than .venv/bin/python and Debian's chromium.
 */

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { axe, drop, hold, makeWorld, openPage, until, WEB } from './world.mjs'

const PREDICT = '**/api/predict*'
const POLICY =
  "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
const REFUSED = /^Failed to load resource: the server responded with a status of (\d+)/

let world
before(async () => void (world = await makeWorld()))
after(() => world?.end())

/** A page for one test, in which nothing may go wrong but the HTTP statuses it expects. */
function inPage(name, options, act, refused = []) {
  test(name, async () => {
    const page = await openPage(world, options)
    try {
      await act(page)
      const statuses = page.wrong.map((text) => REFUSED.exec(text)?.[1] ?? text)
      assert.deepEqual([...new Set(statuses)], refused.map(String))
    } finally {
      await page.context().close()
    }
  })
}

const choose = (page, ...names) => page.setInputFiles('input[type=file]', names.map(world.image))
const heading = (page, name) => page.getByRole('heading', { name, exact: true })
const focused = (page, locator) => until(() => locator.evaluate((element) => element === document.activeElement))
const useModel = (page, name) => page.getByRole('combobox', { name: 'Model' }).selectOption(name)
const alert = (page, words) => page.getByRole('alert').filter({ hasText: words }).waitFor()
const noAxe = async (page, state) => assert.deepEqual(await axe(page), [], state)

test('JS and CSS together are at most 80 kB, gzipped', () => {
  const folder = path.join(WEB, 'dist/assets')
  const files = readdirSync(folder).filter((name) => /\.(js|css)$/.test(name))
  assert.ok(files.length >= 2)
  const bytes = files.reduce((sum, name) => sum + gzipSync(readFileSync(path.join(folder, name)), { level: 9 }).length, 0)
  console.log(`${bytes} bytes`)
  assert.ok(bytes <= 80_000, `${bytes} bytes`)
})

test('the server sends the policy that the page is built for', async () => {
  assert.equal((await fetch(world.url)).headers.get('content-security-policy'), POLICY)
})

inPage('a file chooser: JPEG first, no HEIC; the verdict is the server\'s', {}, async (page) => {
  const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.getByText('Choose images').click()])
  assert.ok(chooser.isMultiple())
  const accept = await page.getAttribute('input[type=file]', 'accept')
  assert.match(accept, /^image\/jpeg,/)
  assert.doesNotMatch(accept, /hei[cf]/)
  const answer = page.waitForResponse(PREDICT)
  await chooser.setFiles(world.image('portrait.jpg'))
  const { verdict, score, faces, thresholds } = await (await answer).json()
  assert.deepEqual([verdict, thresholds.fake, faces.length], ['Fake', 0.5, 1])
  await heading(page, 'Likely fake').waitFor()
  const shown = await page.getByRole('meter').evaluate((meter) => meter.value)
  assert.ok(Math.abs(shown - Math.min(0.99, Math.max(0.01, score))) < 1e-9)
  assert.equal(await page.locator('.boxes g').count(), 1)
})

inPage('the keyboard alone is enough', {}, async (page) => {
  page.on('filechooser', () => {}) // from now on choosers are caught: a key press would be sooner than the catching
  const tabTo = async (name) => {
    for (let presses = 0; presses < 20; presses++) {
      await page.keyboard.press('Tab')
      if ((await page.evaluate(() => document.activeElement?.textContent)) === name) return
    }
    assert.fail(`Tab never reaches ${name}`)
  }
  await page.keyboard.press('Tab')
  await focused(page, page.getByRole('button', { name: 'Skip to the content' }))
  await page.keyboard.press('Enter')
  await tabTo('Choose images')
  const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.keyboard.press('Enter')])
  await chooser.setFiles(world.image('portrait.jpg'))
  await focused(page, heading(page, 'Likely fake'))
  await tabTo('Details')
  await page.keyboard.press('Enter')
  await page.getByText('Model file, SHA-256').waitFor()
  await tabTo('Check another image')
  for (const _ of ['Details', 'Show the heat map']) await page.keyboard.press('Shift+Tab')
  await focused(page, page.getByRole('button', { name: 'Show the heat map' }))
  await page.keyboard.press('Enter')
  await page.locator('.heat img').waitFor()
  await focused(page, page.locator('.heat .frame'))
})

inPage('a drop anywhere, from another view; a second one replaces the first, whose late answer is dropped', {}, async (page) => {
  await page.getByRole('link', { name: 'About' }).click()
  const go = await hold(page, PREDICT)
  assert.ok(await drop(page, world.image('no-face.png')), 'the page says where to let go')
  await heading(page, 'Uploading').or(heading(page, 'Analysing')).waitFor()
  await drop(page, world.image('portrait.jpg'))
  await page.getByText('portrait.jpg').first().waitFor()
  await go()
  await heading(page, 'Likely fake').waitFor()
  assert.equal(await page.getByText('no-face.png').count(), 0)
})

inPage('a paste', { permissions: ['clipboard-read', 'clipboard-write'] }, async (page) => {
  await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(64, 64)
    canvas.getContext('2d').fillRect(8, 8, 20, 20)
    await navigator.clipboard.write([new ClipboardItem({ 'image/png': await canvas.convertToBlob() })])
  })
  await page.keyboard.press('Control+V')
  await heading(page, 'Unsure').waitFor() // there is no face to judge
  await page.evaluate(() => navigator.clipboard.writeText('words'))
  await page.keyboard.press('Control+V')
  await page.getByText('There is no image in the clipboard.').waitFor()
})

inPage('several images are rows', {}, async (page) => {
  const [long, portrait] = ['two faces, one of them mirrored, in a file with a very long name.jpg', 'portrait.jpg']
  await choose(page, long, portrait, 'damaged.jpg', 'no-face.png')
  await page.getByText('4 of 4 checked', { exact: true }).waitFor()
  assert.equal(await page.locator('.boxes g').count(), 2)
  assert.equal(await page.locator('.faces li').count(), 2)
  await page.getByRole('button', { name: /^damaged/ }).click()
  await alert(page, 'The picture is damaged or cut short.')
  await page.getByRole('button', { name: /^no-face/ }).click()
  await heading(page, 'Unsure').waitFor()
  await page.getByText('No score').waitFor()
  await noAxe(page, 'several')
}, [422])

for (const [name, words, detail, status] of [
  ['text.jpg', 'This is not a picture of a kind the server reads.', 'not a JPEG', 415],
  ['drawing.svg', 'This is not a picture of a kind the server reads.', 'it looks like SVG', 415],
  ['damaged.jpg', 'The picture is damaged or cut short.', 'damaged or cut short', 422],
  ['eleven-megabytes.jpg', 'The file is larger than the server takes.', 'larger than 10 MiB', null],
]) {
  inPage(`${name} gets a sentence`, {}, async (page) => {
    await choose(page, name)
    await alert(page, words)
    await alert(page, detail)
    await focused(page, heading(page, 'Not judged'))
    await noAxe(page, name)
  }, status ? [status] : [])
}

test('a file given before the limits are known waits for them', async () => {
  const page = await openPage(world)
  const go = await hold(page, '**/api/config')
  let asked = 0
  await page.route(PREDICT, (route) => (asked++, route.continue()))
  await page.reload({ waitUntil: 'domcontentloaded' })
  await choose(page, 'eleven-megabytes.jpg')
  await page.getByRole('progressbar').waitFor()
  await go()
  await alert(page, 'larger than 10 MiB')
  assert.equal(asked, 0)
  await page.context().close()
})

test('eleven megabytes that no limit holds back get a sentence too', async () => {
  const page = await openPage(world)
  await page.route('**/api/config', (route) => route.fulfill({ status: 404, body: '' }))
  await page.reload()
  await choose(page, 'eleven-megabytes.jpg')
  await page.getByRole('alert').filter({ hasText: /larger than the server takes|cannot be reached/ }).waitFor()
  await page.context().close()
})

test('with the network down there is a sentence, and once it is up another try succeeds', async () => {
  const page = await openPage(world)
  await page.context().setOffline(true)
  await choose(page, 'portrait.jpg')
  await alert(page, 'The server cannot be reached.')
  await noAxe(page, 'network')
  await page.context().setOffline(false)
  await page.getByRole('button', { name: 'Try again' }).click()
  await heading(page, 'Likely fake').waitFor()
  await page.context().close()
})

for (const [status, body, words] of [
  [502, '<html><body><h1>502 Bad Gateway</h1></body></html>', 'The server is not available at the moment.'],
  [413, 'Payload Too Large', 'The file is larger than the server takes.'],
]) {
  inPage(`a proxy's ${status} becomes a sentence`, {}, async (page) => {
    await page.route(PREDICT, (route) => route.fulfill({ status, body, contentType: 'text/html' }))
    await choose(page, 'portrait.jpg')
    await alert(page, words)
    assert.equal(await page.getByText('Bad Gateway').count(), 0)
  }, [status])
}

inPage('an upload shows how much has been sent, and can be cancelled', {}, async (page) => {
  const client = await page.context().newCDPSession(page)
  const slow = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 600_000 } // bytes a second
  await client.send('Network.enable')
  await client.send('Network.emulateNetworkConditions', slow)
  let failed
  page.on('requestfailed', (request) => (failed = request.url()))
  await choose(page, 'large.png')
  const parts = new Set()
  await until(async () => {
    const part = await page.getByRole('progressbar').evaluate((bar) => bar.position)
    if (part > 0 && part < 1) parts.add(part)
    return parts.size >= 3
  })
  await noAxe(page, 'uploading')
  await page.getByRole('button', { name: 'Cancel' }).click()
  await until(() => failed?.endsWith('/api/predict?model=a-fake.onnx'))
  await focused(page, page.getByRole('heading', { level: 1 }))
  await page.getByRole('button', { name: 'Choose images' }).waitFor()
})

inPage('a photo on its side is shown upright, and its box lies on the face', {}, async (page) => {
  const read = async (name) => {
    const answer = page.waitForResponse(PREDICT)
    await drop(page, world.image(name))
    const { faces, image } = await (await answer).json()
    await page.locator('.boxes g').waitFor()
    const pixels = await page.locator('.picture img').evaluate((img) => {
      const canvas = new OffscreenCanvas(64, 50)
      canvas.getContext('2d').drawImage(img, 0, 0, 64, 50)
      return [img.naturalWidth, img.naturalHeight, ...canvas.getContext('2d').getImageData(0, 0, 64, 50).data]
    })
    return { box: faces[0].box, image: [image.width, image.height], size: pixels.splice(0, 2), pixels }
  }
  const [upright, turned] = [await read('portrait.jpg'), await read('turned.jpg')]
  assert.deepEqual(turned.size, [512, 400])
  assert.deepEqual(turned.image, [512, 400])
  const apart = turned.pixels.reduce((sum, value, place) => sum + Math.abs(value - upright.pixels[place]), 0)
  assert.ok(apart / turned.pixels.length < 3, `${apart / turned.pixels.length} grey values apart`)
  for (const place of [0, 1, 2, 3]) assert.ok(Math.abs(turned.box[place] - upright.box[place]) < 5)
  // The box on the page is where the answer says, in the picture as it is drawn.
  const drawn = await page.locator('.boxes .over').boundingBox()
  const frame = await page.locator('.picture .frame').boundingBox()
  const scale = Math.min(frame.width / 512, frame.height / 400)
  const left = frame.x + (frame.width - 512 * scale) / 2 + turned.box[0] * scale
  assert.ok(Math.abs(drawn.x - left) < 4, `${drawn.x} is not ${left}`)
})

inPage('a heat map comes on demand; a model that cannot says so', {}, async (page) => {
  await choose(page, 'portrait.jpg')
  await page.getByRole('button', { name: 'Show the heat map' }).click()
  await until(() => page.locator('.heat img').evaluate((img) => img.naturalWidth > 0))
  await page.getByText('do not show where a picture was changed').waitFor()
  await noAxe(page, 'heat map')
  await useModel(page, 'd-no-heat.onnx')
  await page.getByRole('button', { name: 'Check again with d-no-heat.onnx' }).click()
  await page.getByRole('button', { name: 'Show the heat map' }).click()
  await alert(page, 'This model cannot draw a heat map.')
  await noAxe(page, 'no heat map')
}, [501])

for (const colorScheme of ['light', 'dark']) {
  inPage(`axe finds nothing in any state, ${colorScheme}`, { colorScheme }, async (page) => {
    await page.getByText('At most 10 MiB').waitFor()
    const [red] = await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor.match(/\d+/g))
    assert.equal(Number(red) < 60, colorScheme === 'dark')
    await noAxe(page, 'idle')
    const go = await hold(page, PREDICT)
    await choose(page, 'portrait.jpg')
    await page.getByRole('button', { name: 'Cancel' }).waitFor()
    await noAxe(page, 'busy')
    await go()
    for (const [model, words] of [['b-real.onnx', 'Likely real'], ['c-unsure.onnx', 'Unsure'], ['a-fake.onnx', 'Likely fake']]) {
      await useModel(page, model)
      await page.getByRole('button', { name: `Check again with ${model}` }).click()
      await focused(page, heading(page, words))
      await noAxe(page, words)
    }
    for (const [view, words] of [['Methodology', 'Known weak spots'], ['About', 'For programs']]) {
      await page.getByRole('link', { name: view }).click()
      await heading(page, words).waitFor()
      await noAxe(page, view)
    }
  })
}

inPage('nothing moves when the result appears', {}, async (page) => {
  await page.getByText('At most 10 MiB').waitFor()
  const go = await hold(page, PREDICT)
  await drop(page, world.image('two faces, one of them mirrored, in a file with a very long name.jpg'), world.image('portrait.jpg'))
  await page.locator('.picture img').waitFor()
  await page.waitForTimeout(600) // a shift soon after an input would not count
  await go()
  await page.getByText('2 of 2 checked', { exact: true }).waitFor()
  await heading(page, 'Likely fake').waitFor()
  await page.waitForTimeout(300)
  assert.deepEqual(await page.evaluate(() => window.shifts), [])
})

for (const locale of ['en-US', 'ko-KR', 'pl-PL']) {
  inPage(`320 pixels are enough, ${locale}`, { viewport: { width: 320, height: 640 }, locale }, async (page) => {
    const fits = async (state) => {
      assert.ok((await page.evaluate(() => document.scrollingElement.scrollWidth)) <= 320, `${state} scrolls sideways`)
      assert.deepEqual(await page.evaluate(smallTargets), [], state)
    }
    await page.locator('.model-choice select').waitFor()
    await fits('idle')
    const go = await hold(page, PREDICT)
    await choose(page, 'two faces, one of them mirrored, in a file with a very long name.jpg', 'portrait.jpg')
    await page.locator('.busy button').waitFor()
    await fits('busy')
    await go()
    await page.locator('.result h2').waitFor()
    await page.locator('.under button').click()
    await page.locator('.heat img').waitFor()
    await page.locator('summary').click()
    await fits('result')
    await choose(page, 'drawing.svg')
    await page.locator('.failure').waitFor()
    await fits('error')
    for (const view of ['methodology', 'about']) {
      await page.locator(`nav [href="#${view}"]`).click()
      await page.locator('.prose h2').first().waitFor()
      await fits(view)
    }
  }, [415])
}

function smallTargets() {
  const targets = [...document.querySelectorAll('button, a, select, summary')].filter((element) => element.checkVisibility())
  const small = targets.filter((element) => {
    const { width, height } = element.getBoundingClientRect()
    return width < 43.9 || height < 43.9
  })
  return small.map((element) => element.outerHTML)
}

inPage('the language is the browser\'s, until another is chosen, which is remembered', { locale: 'pl-PL' }, async (page) => {
  await page.getByText('Prawdziwa twarz czy deepfake?').waitFor()
  assert.equal(await page.getAttribute('html', 'lang'), 'pl')
  await page.getByRole('combobox', { name: 'Język' }).selectOption('ko')
  await page.getByText('진짜 얼굴일까요, 딥페이크일까요?').waitFor()
  await page.reload()
  await page.getByText('진짜 얼굴일까요, 딥페이크일까요?').waitFor()
  assert.equal(await page.getAttribute('html', 'lang'), 'ko')
  await choose(page, 'portrait.jpg')
  await heading(page, '가짜일 가능성이 높음').waitFor()
  await noAxe(page, 'Korean')
})

inPage('methodology is what the server says of the model', { hash: '/#methodology' }, async (page) => {
  await page.getByText('1,400', { exact: true }).waitFor()
  await page.getByText('everything', { exact: true }).waitFor()
  await page.getByRole('row', { name: 'Face swaps 200 0.5' }).waitFor()
  await page.getByText('Each is cut out as a square and brought to 64 × 64 pixels.').waitFor()
  await page.goBack()
})

inPage('nobody who wants less motion gets any', { reducedMotion: 'reduce' }, async (page) => {
  const go = await hold(page, PREDICT)
  await choose(page, 'portrait.jpg')
  await page.getByRole('progressbar').waitFor()
  const moving = await page.evaluate(() => document.getAnimations().length)
  await go()
  assert.equal(moving, 0)
})
