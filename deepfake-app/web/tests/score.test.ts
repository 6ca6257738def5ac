import { describe, expect, test } from 'vitest'
import { bands, percent, scorePercent } from '../src/score'

const plain = { fake: 0.5, unsure: null }

describe('the scale', () => {
  test.each([
    [plain, 'Real 0-0.5, Fake 0.5-1'],
    [{ fake: 0.6, unsure: [0.4, 0.6] as [number, number] }, 'Real 0-0.4, Unsure 0.4-0.6, Fake 0.6-1'],
    [{ fake: 0.5, unsure: [0.4, 0.6] as [number, number] }, 'Real 0-0.4, Unsure 0.4-0.6, Fake 0.6-1'],
    [{ fake: 0.7, unsure: [0.4, 0.6] as [number, number] }, 'Real 0-0.4, Unsure 0.4-0.6, Real 0.6-0.7, Fake 0.7-1'],
    [{ fake: 0, unsure: null }, 'Fake 0-1'],
    [{ fake: 1, unsure: null }, 'Real 0-1'],
    [{ fake: 0.5, unsure: [0, 1] as [number, number] }, 'Unsure 0-1'],
    [{ fake: 0.5, unsure: [0.3, 0.3] as [number, number] }, 'Real 0-0.5, Fake 0.5-1'],
  ])('of %j is %s', (thresholds, said) => {
    expect(bands(thresholds).map(({ verdict, from, to }) => `${verdict} ${from}-${to}`).join(', ')).toBe(said)
  })
})

describe('a score in words', () => {
  test.each([
    [0, '1%'],
    [0.004, '1%'],
    [0.31, '31%'],
    [0.9999, '99%'],
    [1, '99%'],
  ])('%f is %s: never certain', (score, said) => expect(scorePercent(score, plain, 'en')).toBe(said))

  test.each([
    [0.496, '49.6%'],
    [0.4996, '49.96%'],
    [0.5, '50%'],
    [0.494, '49%'],
  ])('%f is %s: on its side of the threshold', (score, said) => expect(scorePercent(score, plain, 'en')).toBe(said))

  test('has the commas of its language', () => {
    expect(scorePercent(0.496, plain, 'pl')).toBe('49,6%')
    expect(percent(0.437, 'ko', 1)).toBe('43.7%')
  })
})
