import { expect, test } from 'vitest'
import { isLanguage, KEYS, LANGUAGES, type Language, text } from '../src/strings'

const languages = Object.keys(LANGUAGES) as Language[]
const SAME_EVERYWHERE = new Set(['model', 'done', 'f1', 'limits'])

test.each(KEYS)('%s is complete, with the same {places} in each language', (key) => {
  const rows = languages.map((language) => text(language, key))
  for (const row of rows) expect(row.trim()).toBe(row)
  expect(rows.every(Boolean)).toBe(true)
  const places = rows.map((row) => [...row.matchAll(/\{\w+\}/g)].map(String).sort())
  expect(places[1]).toEqual(places[0])
  expect(places[2]).toEqual(places[0])
})

test('the three are three languages', () => {
  for (const key of KEYS.filter((key) => !SAME_EVERYWHERE.has(key))) {
    expect(text('ko', key), key).toMatch(/[가-힣]/)
    expect(text('en', key), key).not.toMatch(/[가-힣ąćęłńśźż]/)
    expect(text('pl', key), key).not.toBe(text('en', key))
  }
})

test('places are filled; what is not given stays visible', () => {
  expect(text('en', 'progress', { done: 1, total: 3 })).toBe('1 of 3 checked')
  expect(text('en', 'progress', { done: 1 })).toBe('1 of {total} checked')
})

test('only what is a language is one', () => {
  expect([isLanguage('pl'), isLanguage('de'), isLanguage('toString')]).toEqual([true, false, false])
})
