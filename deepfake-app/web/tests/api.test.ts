import { describe, expect, test } from 'vitest'
import { ApiError, get, predict } from '../src/api'
import { ANSWER, FakeXHR, image, problem } from './fakes'

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.fail('it should have failed'),
    ({ slug, status, detail }: ApiError) => ({ slug, status, detail }),
  )

test('an image goes out as the one file of a form, without its name', async () => {
  const sent: number[] = []
  const answer = predict(image('private name.jpg'), { model: 'a b.onnx', explain: true, onSent: (part) => sent.push(part) })
  const xhr = FakeXHR.last()
  expect([xhr.method, xhr.url]).toEqual(['POST', '/api/predict?explain=1&model=a+b.onnx'])
  expect([...(xhr.body as FormData).keys()]).toEqual(['file'])
  expect(((xhr.body as FormData).get('file') as File).name).toBe('image')
  xhr.progress(40)
  xhr.upload.onload?.()
  xhr.answer(200, ANSWER)
  expect(await answer).toEqual(ANSWER)
  expect(sent).toEqual([0.4, 1])
})

test('without options nothing is added to the address', () => {
  void predict(image())
  expect(FakeXHR.last().url).toBe('/api/predict')
})

describe('a failure', () => {
  const answered = (status: number, body: unknown) => {
    const promise = failure(predict(image()))
    FakeXHR.last().answer(status, body)
    return promise
  }

  test('of the server keeps its slug and its sentence', async () => {
    const said = await answered(422, problem('damaged-image', 422, 'damaged or cut short'))
    expect(said).toEqual({ slug: 'damaged-image', status: 422, detail: 'damaged or cut short' })
  })

  test.each([
    [502, '<html><h1>502 Bad Gateway</h1></html>', 'unreachable'],
    [504, '', 'unreachable'],
    [413, '<html>413 Request Entity Too Large</html>', 'too-large'],
    [413, 'Payload Too Large', 'too-large'],
    [429, '', 'too-many-requests'],
    [403, '<html>Forbidden</html>', 'bad-answer'],
    [200, '<html>Please log in to this network</html>', 'bad-answer'],
    [200, 'null', 'bad-answer'],
    [200, { verdict: 'Perhaps', score: 0.1 }, 'bad-answer'],
    [200, { ...ANSWER, score: '0.1' }, 'bad-answer'],
    [200, { ...ANSWER, faces: undefined }, 'bad-answer'],
    [200, { ...ANSWER, thresholds: null }, 'bad-answer'],
    [500, { type: 'https://elsewhere/problems/x' }, 'unreachable'],
  ])('of status %i with %j is %s', async (status, body, slug) => {
    expect(await answered(status, body)).toEqual({ slug, status, detail: undefined })
  })

  test('of the network, and one that takes too long, have no status', async () => {
    const cut = failure(predict(image()))
    FakeXHR.last().onerror?.()
    expect(await cut).toEqual({ slug: 'network', status: 0, detail: undefined })
    const slow = failure(predict(image()))
    expect(FakeXHR.last().timeout).toBeGreaterThan(90_000)
    FakeXHR.last().ontimeout?.()
    expect(await slow).toMatchObject({ slug: 'timeout' })
  })
})

test('an abort aborts the request, or keeps it from being sent', async () => {
  const abort = new AbortController()
  const promise = failure(predict(image(), { signal: abort.signal }))
  abort.abort()
  expect(FakeXHR.last().aborted).toBe(true)
  expect(await promise).toMatchObject({ slug: 'aborted' })
  expect(await failure(predict(image(), { signal: abort.signal }))).toMatchObject({ slug: 'aborted' })
  expect(FakeXHR.all).toHaveLength(1)
})

test('get gives JSON', async () => {
  const promise = get('/api/models')
  FakeXHR.last().answer(200, { models: ['a'] })
  expect(await promise).toEqual({ models: ['a'] })
  expect([FakeXHR.last().method, FakeXHR.last().body]).toEqual(['GET', null])
})
