import { describe, expect, test } from 'vitest'
import { type Action, currentItem, EMPTY, reduce, type State, selectedItem } from '../src/check'
import { ANSWER, image } from './fakes'

const failed = { slug: 'busy', status: 503 }
const after = (...actions: Action[]): State => actions.reduce(reduce, EMPTY)
const chosen = (...names: string[]): Action => ({
  type: 'chosen',
  model: null,
  files: names.map((name) => image(name)),
})
const statuses = (state: State) => state.items.map(({ status }) => status)

describe('one image', () => {
  test('goes from idle through uploading and analysing to its result', () => {
    const actions: Action[] = [
      chosen('a'),
      { type: 'started', id: 1 },
      { type: 'sent', id: 1, part: 0.4 },
      { type: 'sent', id: 1, part: 1 },
      { type: 'answered', id: 1, answer: ANSWER },
    ]
    const seen = actions.map((_, end) => after(...actions.slice(0, end + 1)).items[0])
    expect(seen.map((item) => item?.status)).toEqual(['idle', 'uploading', 'uploading', 'analysing', 'result'])
    expect(seen[2]?.sent).toBe(0.4)
    expect(seen[4]?.answer).toBe(ANSWER)
  })

  test('that fails says why, and another try is another item', () => {
    const state = after(chosen('a'), { type: 'started', id: 1 }, { type: 'failed', id: 1, problem: failed })
    expect(selectedItem(state)).toMatchObject({ id: 1, status: 'error', problem: failed })
    const again = reduce(state, { type: 'again', id: 1, model: 'other.onnx' })
    expect(selectedItem(again)).toMatchObject({ id: 2, status: 'idle', model: 'other.onnx' })
    expect(selectedItem(again)?.problem).toBeUndefined()
  })
})

describe('what comes late', () => {
  const begun = after(chosen('a'), { type: 'started', id: 1 })
  const late: Action[] = [
    { type: 'sent', id: 1, part: 1 },
    { type: 'answered', id: 1, answer: ANSWER },
    { type: 'failed', id: 1, problem: failed },
  ]

  test('finds nobody once a new image took the place', () => {
    const replaced = reduce(begun, chosen('b'))
    for (const action of late) expect(reduce(replaced, action)).toBe(replaced)
    expect(replaced.items).toHaveLength(1)
  })

  test('finds nobody once it was cancelled', () => {
    const cancelled = reduce(begun, { type: 'cancelled' })
    expect(cancelled).toMatchObject({ items: [], selected: null })
    for (const action of late) expect(reduce(cancelled, action)).toBe(cancelled)
  })

  test('does not turn an error into a result, nor a result into an error', () => {
    const error = reduce(begun, { type: 'failed', id: 1, problem: failed })
    for (const action of late) expect(reduce(error, action)).toBe(error)
    const result = reduce(begun, { type: 'answered', id: 1, answer: ANSWER })
    for (const action of late) expect(reduce(result, action)).toBe(result)
  })
})

describe('several images', () => {
  test('are worked on in order, one at a time', () => {
    let state = after(chosen('a', 'b', 'c'))
    expect(currentItem(state)?.id).toBe(1)
    state = reduce(state, { type: 'started', id: 1 })
    expect(currentItem(state)?.id).toBe(1)
    state = reduce(state, { type: 'answered', id: 1, answer: ANSWER })
    expect(currentItem(state)?.id).toBe(2)
    expect(statuses(state)).toEqual(['result', 'idle', 'idle'])
    expect(state.selected).toBe(1)
  })

  test('keep what is finished when the rest is cancelled', () => {
    const state = after(
      chosen('a', 'b', 'c'),
      { type: 'started', id: 1 },
      { type: 'answered', id: 1, answer: ANSWER },
      { type: 'started', id: 2 },
      { type: 'selected', id: 2 },
      { type: 'cancelled' },
    )
    expect(state.items.map(({ id }) => id)).toEqual([1])
    expect(state.selected).toBe(1)
  })

  test('numbers are never used twice', () => {
    expect(after(chosen('a', 'b'), { type: 'cancelled' }, chosen('c')).items[0]?.id).toBe(3)
  })
})

describe('a heat map', () => {
  const result = after(chosen('a'), { type: 'started', id: 1 }, { type: 'answered', id: 1, answer: ANSWER })
  const asked = reduce(result, { type: 'heat-asked', id: 1 })
  const heat = (state: State) => state.items[0]?.heat

  test('is asked for and comes', () => {
    const answer = { ...ANSWER, heatmap: 'data:image/jpeg;base64,AA', heatmap_sentence: 'so' }
    expect(heat(asked)).toEqual({ status: 'analysing' })
    const come = { status: 'result', image: 'data:image/jpeg;base64,AA', sentence: 'so' }
    expect(heat(reduce(asked, { type: 'heat-answered', id: 1, answer }))).toEqual(come)
  })

  test('that an answer lacks is an error', () => {
    const without = reduce(asked, { type: 'heat-answered', id: 1, answer: ANSWER })
    expect(heat(without)).toMatchObject({ status: 'error', problem: { slug: 'no-heat-map' } })
  })

  test('that nobody asked for changes nothing', () => {
    expect(reduce(result, { type: 'heat-failed', id: 1, problem: failed })).toBe(result)
    const waiting = after(chosen('a'))
    expect(reduce(waiting, { type: 'heat-asked', id: 1 })).toBe(waiting)
  })
})
