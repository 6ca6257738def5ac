import { act, cleanup, fireEvent, render, screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { StrictMode } from 'react'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { Answer, Verdict } from '../src/api'
import { App } from '../src/App'
import { LanguageProvider } from '../src/language'
import { ANSWER, CONFIG, FakeXHR, image, MODEL, problem } from './fakes'

const tiny = (verdict: Answer['verdict'], score: number | null): Answer => ({ ...ANSWER, verdict, score, faces: [] })
const predictions = () => FakeXHR.to('/api/predict').filter(({ aborted }) => !aborted)
const status = () => screen.getAllByRole('status')[0]
const input = () => document.querySelector('input[type=file]') as HTMLInputElement

/** The page in front of a server that has answered everything but images. */
async function open(models = ['best.onnx']): Promise<void> {
  render(
    <LanguageProvider>
      <App />
    </LanguageProvider>,
  )
  await settle(models)
}

async function settle(models: string[]): Promise<void> {
  await act(async () => {
    for (const xhr of FakeXHR.all.filter(({ status }) => status === 0)) {
      if (xhr.url === '/api/config') xhr.answer(200, CONFIG)
      if (xhr.url === '/api/models') xhr.answer(200, { models })
      if (xhr.url.startsWith('/api/model?') || xhr.url === '/api/model') xhr.answer(200, MODEL)
    }
  })
}

const choose = (...files: File[]) => act(async () => void fireEvent.change(input(), { target: { files } }))
const drop = (...files: File[]) =>
  act(async () => void fireEvent.drop(document.body, { dataTransfer: { types: ['Files'], files, items: [] } }))
const answer = (xhr: FakeXHR | undefined, code: number, body: unknown) => act(async () => xhr?.answer(code, body))

async function judged(body: Answer, ...files: File[]): Promise<void> {
  await choose(...(files.length ? files : [image()]))
  await answer(predictions()[0], 200, body)
  await settle([])
}

describe('before there is an image', () => {
  test('there is a real button, and a chooser for JPEG first and no HEIC', async () => {
    await open()
    const opened = vi.spyOn(input(), 'click')
    await userEvent.click(screen.getByRole('button', { name: 'Choose images' }))
    expect(opened).toHaveBeenCalledOnce()
    expect(input().accept).toBe('image/jpeg,image/png')
    expect(input().multiple).toBe(true)
  })

  test('the limits are the server\'s', async () => {
    await open()
    expect(screen.getByText('JPEG, PNG, or HEIC. At most 10 MiB each, and at least 32 × 32 pixels.')).toBeVisible()
  })
})

describe('an image', () => {
  test('is uploaded, analysed and judged', async () => {
    await open()
    await choose(image('me.jpg'))
    expect(screen.getByRole('heading', { name: 'Uploading' })).toBeVisible()
    expect(status()).toHaveTextContent('Checking me.jpg')
    act(() => predictions()[0]?.progress(40))
    expect(screen.getByText('40% sent')).toBeVisible()
    expect(screen.getByRole('progressbar')).toHaveAttribute('value', '0.4')
    act(() => predictions()[0]?.upload.onload?.())
    expect(screen.getByRole('heading', { name: 'Analysing' })).toBeVisible()
    expect(screen.getByRole('progressbar')).not.toHaveAttribute('value')

    await answer(predictions()[0], 200, ANSWER)
    await settle([])
    const heading = screen.getByRole('heading', { name: 'Likely fake' })
    expect(heading).toHaveFocus()
    expect(status()).toHaveTextContent('me.jpg: Likely fake. Score: 81%')
    expect(screen.getByRole('meter', { name: 'Score' })).toHaveValue(0.81)
    const result = within(screen.getByRole('article'))
    expect(result.getByText('A score is not proof.')).toBeVisible()
    expect(result.getByText('transparent parts are shown on white')).toBeVisible()
    expect(result.getByText(/^Trained on 1,400 images, and chosen by how it did on 300 others\./)).toBeVisible()
    expect(result.getByText('below 50%')).toBeVisible()
    expect(result.getByText('best.onnx')).toBeInTheDocument()
  })

  test.each([
    ['Real', 0.001, 'Likely real', '1%'],
    ['Fake', 1, 'Likely fake', '99%'],
    ['Unsure', 0.5, 'Unsure', '50%'],
  ] as const)('that is %s at %d is called %s at %s', async (verdict, score, words, shown) => {
    await open()
    await judged(tiny(verdict, score))
    expect(screen.getByRole('heading', { name: words })).toBeVisible()
    expect(document.querySelector(`.verdict .shape.${verdict}`)).toBeInTheDocument()
    expect(screen.getByRole('meter').textContent).toBe(shown)
  })

  test('of a kind that the chooser does not ask for is sent as it is when it is dropped', async () => {
    await open()
    await drop(image('IMG_1.HEIC', 'image/heic'), image('no-type.heic', ''))
    expect((predictions()[0]?.body as FormData).get('file')).toMatchObject({ size: 100, type: 'image/heic' })
    await answer(predictions()[0], 200, ANSWER)
    expect((predictions()[1]?.body as FormData).get('file')).toMatchObject({ size: 100 })
  })

  test('without a score has no meter and offers no heat map', async () => {
    await open()
    await judged(tiny('Unsure', null))
    expect(screen.getByText(/^No score/)).toBeVisible()
    expect(screen.queryByRole('meter')).toBeNull()
    expect(screen.queryByRole('button', { name: 'Show the heat map' })).toBeNull()
  })

  test('of several faces gets a line and a box for each', async () => {
    const face = (score: number | null, verdict: Verdict) => ({ box: [1, 2, 3, 4] as Answer['faces'][0]['box'], score, verdict })
    await open()
    await judged({ ...ANSWER, faces: [face(0.2, 'Real'), face(0.81, 'Fake'), face(null, 'Unsure')] })
    expect(within(screen.getByRole('article')).getByText('Face 3').closest('li')).toHaveTextContent('Face 3Unsure–')
    expect(within(screen.getByRole('article')).getByText('Face 2').closest('li')).toHaveTextContent('Face 2Likely fake81%')
    load(200, 100)
    expect(document.querySelectorAll('.boxes g')).toHaveLength(3)
    expect(document.querySelector('.boxes')).toHaveAttribute('viewBox', '0 0 200 100')
  })

  test('that the browser turns another way has no boxes, and the page says so', async () => {
    await open()
    await judged(ANSWER)
    load(100, 200)
    expect(document.querySelector('.boxes')).toBeNull()
    expect(screen.getByText(/frames of the faces are left out/)).toBeVisible()
  })

  test('that the browser cannot show is judged all the same', async () => {
    await open()
    await judged(ANSWER)
    fireEvent.error(document.querySelector('.picture img') as Element)
    expect(screen.getByText('This browser cannot show this kind of file.')).toBeVisible()
    expect(screen.getByRole('heading', { name: 'Likely fake' })).toBeVisible()
  })
})

function load(width: number, height: number): void {
  const img = document.querySelector('.picture img') as HTMLImageElement
  Object.defineProperties(img, { naturalWidth: { value: width }, naturalHeight: { value: height } })
  fireEvent.load(img)
}

describe('what comes late', () => {
  test('an answer about an image that was replaced is dropped', async () => {
    await open()
    await choose(image('first.jpg'))
    const first = predictions()[0]
    await drop(image('second.jpg'))
    expect(first?.aborted).toBe(true)
    await answer(first, 200, tiny('Fake', 0.9))
    expect(screen.queryByText('Likely fake')).toBeNull()
    await answer(predictions()[0], 200, tiny('Real', 0.1))
    expect(screen.getByRole('heading', { name: 'Likely real' })).toBeVisible()
    expect(screen.getByText('Verdict on second.jpg')).toBeVisible()
  })

  test('cancel aborts, and the answer is dropped', async () => {
    await open()
    await choose(image())
    const xhr = predictions()[0]
    await userEvent.click(screen.getByRole('button', { name: 'Cancel' }))
    expect(xhr?.aborted).toBe(true)
    await answer(xhr, 200, ANSWER)
    expect(screen.queryByRole('article')).toBeNull()
    expect(screen.getByRole('heading', { level: 1 })).toHaveFocus()
    expect(screen.getByRole('button', { name: 'Choose images' })).toBeVisible()
  })

  test('a new image takes the place of a result', async () => {
    await open()
    await judged(ANSWER)
    await choose(image('new.jpg'))
    expect(screen.queryByRole('article')).toBeNull()
    expect(screen.getByText('new.jpg')).toBeVisible()
  })

  test('a page that React mounts twice ends with one result', async () => {
    render(
      <StrictMode>
        <LanguageProvider>
          <App />
        </LanguageProvider>
      </StrictMode>,
    )
    await settle(['best.onnx'])
    await choose(image())
    await waitFor(() => expect(predictions()).toHaveLength(1))
    await answer(predictions()[0], 200, ANSWER)
    expect(screen.getByRole('heading', { name: 'Likely fake' })).toBeVisible()
  })
})

describe('an error', () => {
  const alert = () => screen.getByRole('alert')

  test.each([
    [502, '<html>502 Bad Gateway</html>', 'The server is not available at the moment. Try again in a minute.'],
    [413, 'Payload Too Large', 'The file is larger than the server takes.'],
    [415, problem('unsupported-type', 415, 'it looks like SVG'), 'This is not a picture of a kind the server reads.'],
    [422, problem('damaged-image', 422), 'The picture is damaged or cut short.'],
    [503, problem('busy', 503), 'The server is busy with other images.'],
    [418, problem('teapot', 418, 'short and stout'), 'The server refused this image.'],
  ])('%i is a sentence', async (code, body, words) => {
    await open()
    await choose(image())
    await answer(predictions()[0], code, body)
    expect(alert()).toHaveTextContent(words)
    expect(screen.getByRole('heading', { name: 'Not judged' })).toHaveFocus()
    if (typeof body === 'object') expect(alert()).toHaveTextContent(body.detail)
  })

  test('of the network can be tried again', async () => {
    await open()
    await choose(image())
    await act(async () => predictions()[0]?.onerror?.())
    expect(alert()).toHaveTextContent('The server cannot be reached.')
    await userEvent.click(screen.getByRole('button', { name: 'Try again' }))
    await answer(predictions().at(-1), 200, ANSWER)
    expect(screen.getByRole('heading', { name: 'Likely fake' })).toHaveFocus()
  })

  test('that will not pass offers no other try', async () => {
    await open()
    await choose(image())
    await answer(predictions()[0], 422, problem('damaged-image', 422))
    expect(screen.queryByRole('button', { name: 'Try again' })).toBeNull()
  })

  test('of size costs no request', async () => {
    await open()
    await choose(image('big.png', 'image/png', CONFIG.max_bytes + 1))
    expect(alert()).toHaveTextContent('larger than 10 MiB')
    await choose(image('empty.png', 'image/png', 0))
    expect(alert()).toHaveTextContent('The file is empty.')
    expect(predictions()).toHaveLength(0)
  })

  test('a name or a type refuses nothing: the server decides', async () => {
    await open()
    await choose(image('photo.txt', 'text/plain'))
    expect(predictions()).toHaveLength(1)
  })
})

describe('several images', () => {
  test('are rows, judged one after another, any of which can be looked at', async () => {
    await open()
    await choose(image('a.jpg'), image('b.jpg'), image('c.jpg'))
    expect(predictions()).toHaveLength(1)
    const row = (name: string) => screen.getByRole('button', { name: new RegExp(name) })
    expect(row('c.jpg')).toHaveTextContent('Waiting')
    await answer(predictions()[0], 200, tiny('Fake', 0.9))
    expect(predictions()).toHaveLength(2)
    await answer(predictions()[1], 422, problem('damaged-image', 422))
    await answer(predictions()[2], 200, tiny('Real', 0.1))
    expect(row('a.jpg')).toHaveTextContent('Likely fake 90%')
    expect(row('b.jpg')).toHaveTextContent('Not judged')
    expect(screen.getByText('3 of 3 checked')).toBeVisible()
    await userEvent.click(row('c.jpg'))
    expect(screen.getByRole('heading', { name: 'Likely real' })).toBeVisible()
    expect(row('c.jpg')).toHaveFocus() // who goes through the list stays in it
    expect(row('c.jpg')).toHaveAttribute('aria-pressed', 'true')
  })
})

describe('other ways in', () => {
  test('a drop anywhere', async () => {
    await open()
    const dataTransfer = { types: ['Files'], files: [image('dropped.jpg')], items: [], dropEffect: '' }
    fireEvent.dragOver(document.body, { dataTransfer })
    expect(screen.getByText('Let go to check')).toBeVisible()
    expect(fireEvent.drop(document.body, { dataTransfer })).toBe(false) // the browser would open the file
    expect(screen.queryByText('Let go to check')).toBeNull()
    await waitFor(() => expect(screen.getByText('dropped.jpg')).toBeVisible())
  })

  test('a dropped folder is refused in words', async () => {
    await open()
    const items = [{ kind: 'file', webkitGetAsEntry: () => ({ isDirectory: true }) }]
    fireEvent.drop(document.body, { dataTransfer: { types: ['Files'], files: [image('folder', '')], items } })
    expect(screen.getByText(/^A folder cannot be taken/)).toBeVisible()
    expect(predictions()).toHaveLength(0)
  })

  test('dragged text is left alone', async () => {
    await open()
    expect(fireEvent.dragOver(document.body, { dataTransfer: { types: ['text/plain'] } })).toBe(true)
    expect(screen.queryByText('Let go to check')).toBeNull()
  })

  test('a paste, also from another view', async () => {
    await open()
    await userEvent.click(screen.getByRole('link', { name: 'About' }))
    expect(await screen.findByRole('heading', { level: 1, name: 'About' })).toHaveFocus()
    fireEvent.paste(document.body, { clipboardData: { files: [image('pasted.png')] } })
    await waitFor(() => expect(screen.getByText('pasted.png')).toBeVisible())
  })

  test('a paste without an image says so', async () => {
    await open()
    fireEvent.paste(document.body, { clipboardData: { files: [] } })
    expect(screen.getByText('There is no image in the clipboard.')).toBeVisible()
    await choose(image())
    expect(screen.queryByText('There is no image in the clipboard.')).toBeNull()
  })
})

describe('a heat map', () => {
  const ask = () => userEvent.click(screen.getByRole('button', { name: 'Show the heat map' }))

  beforeEach(async () => {
    await open()
    await judged(ANSWER)
    await ask()
  })

  test('is asked for when it is wanted, and says what it is not', async () => {
    expect(FakeXHR.last().url).toBe('/api/predict?explain=1&model=best.onnx')
    expect(status()).toHaveTextContent('Drawing the heat map')
    const body = { ...ANSWER, heatmap: 'data:image/jpeg;base64,AA', heatmap_sentence: 'Hiding it changes little.' }
    await answer(FakeXHR.last(), 200, body)
    expect(screen.getByRole('img', { name: 'Heat map of the image photo.jpg' })).toHaveAttribute('src', body.heatmap)
    expect(screen.getByText(/do not show where a picture was changed/)).toBeVisible()
    expect(screen.getByText('Hiding it changes little.')).toBeVisible()
  })

  test('that the model cannot draw is said plainly', async () => {
    await answer(FakeXHR.last(), 501, problem('not-explainable', 501))
    expect(screen.getByRole('alert')).toHaveTextContent('This model cannot draw a heat map.')
    expect(screen.queryByRole('button', { name: 'Try again' })).toBeNull()
    expect(screen.getByRole('heading', { name: 'Likely fake' })).toBeVisible()
  })

  test('that comes after a new image was chosen is dropped', async () => {
    const late = FakeXHR.last()
    await choose(image('new.jpg'))
    expect(late.aborted).toBe(true)
    await answer(late, 200, { ...ANSWER, heatmap: 'data:image/jpeg;base64,AA' })
    expect(screen.queryByRole('img', { name: /^Heat map/ })).toBeNull()
  })
})

describe('models', () => {
  test('of several, one is chosen by name; an image can be checked again with it', async () => {
    await open(['a.onnx', 'b.onnx'])
    await judged(ANSWER)
    expect(FakeXHR.to('/api/predict')[0]?.url).toBe('/api/predict?model=a.onnx')
    await userEvent.selectOptions(screen.getByRole('combobox', { name: 'Model' }), 'b.onnx')
    await userEvent.click(screen.getByRole('button', { name: 'Check again with b.onnx' }))
    expect(FakeXHR.last().url).toBe('/api/predict?model=b.onnx')
  })
})

describe('languages', () => {
  const choice = () => screen.getByRole('combobox', { name: /Language|언어|Język/ })

  test('the browser\'s is taken first, the chosen one is remembered', async () => {
    vi.spyOn(navigator, 'languages', 'get').mockReturnValue(['fr-FR', 'pl-PL'])
    await open()
    expect(screen.getByRole('heading', { level: 1 })).toHaveTextContent('Prawdziwa twarz czy deepfake?')
    expect(document.documentElement.lang).toBe('pl')
    await userEvent.selectOptions(choice(), 'ko')
    expect(screen.getByRole('button', { name: '이미지 선택' })).toBeVisible()
    expect(document.documentElement.lang).toBe('ko')
    expect(localStorage.getItem('deepfake-language')).toBe('ko')
    expect(document.title).toBe('딥페이크 확인')
  })

  test('a stored one wins, unless it is none', async () => {
    localStorage.setItem('deepfake-language', 'ko')
    await open()
    expect(document.documentElement.lang).toBe('ko')
    cleanup()
    localStorage.setItem('deepfake-language', 'xx')
    await open()
    expect(document.documentElement.lang).toBe('en')
  })

  test('a result is said in the new language at once', async () => {
    await open()
    await judged(ANSWER)
    await userEvent.selectOptions(choice(), 'pl')
    expect(screen.getByRole('heading', { name: 'Prawdopodobnie fałszywe' })).toBeVisible()
  })

  test('storage that is switched off ends nothing', async () => {
    vi.spyOn(Storage.prototype, 'getItem').mockImplementation(() => {
      throw new DOMException('denied')
    })
    vi.spyOn(Storage.prototype, 'setItem').mockImplementation(() => {
      throw new DOMException('denied')
    })
    await open()
    await userEvent.selectOptions(choice(), 'pl')
    expect(document.documentElement.lang).toBe('pl')
  })
})

describe('methodology', () => {
  const go = async () => {
    await userEvent.click(screen.getByRole('link', { name: 'Methodology' }))
    await screen.findByRole('heading', { level: 1, name: 'Methodology' })
  }

  test('is drawn from what the server says of the model', async () => {
    await open()
    await go()
    await settle([])
    expect(screen.getByText('Faces are searched. Each is cut out as a square and brought to 64 × 64 pixels.')).toBeVisible()
    expect(screen.getByText('40% to below 60%')).toBeVisible()
    expect(screen.getByText('0.904')).toBeVisible()
    expect(screen.getByText('November 21, 2026')).toBeVisible()
    expect(screen.getByText('face swaps')).toBeVisible()
    expect(screen.getByRole('cell', { name: '97' })).toBeVisible()
    expect(screen.getByRole('row', { name: 'Swaps 0.52' })).toBeVisible()
  })

  test('of a model that says nothing says so', async () => {
    await open()
    await go()
    const silent = { ...MODEL, data: { Train: null, Validation: null }, validation: null, metrics: null, weak_spots: null }
    await answer(FakeXHR.to('/api/model?')[0], 200, { ...silent, confusion_matrix: null, data_notes: null, date: null })
    expect(screen.getByText('The model file does not say what it was trained on.')).toBeVisible()
    expect(screen.getByText('The model names none. It has some all the same.')).toBeVisible()
  })

  test('waits for a model that is still being loaded', async () => {
    await open()
    await go()
    vi.useFakeTimers()
    await answer(FakeXHR.to('/api/model?')[0], 503, problem('not-ready', 503))
    expect(screen.getByText(/The model is still being loaded/)).toBeVisible()
    await act(() => vi.advanceTimersByTimeAsync(3000))
    await answer(FakeXHR.to('/api/model?')[1], 200, MODEL)
    vi.useRealTimers()
    expect(screen.getByText('0.904')).toBeVisible()
    expect(screen.queryByText(/still being loaded/)).toBeNull()
  })
})
