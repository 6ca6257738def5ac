import '@testing-library/jest-dom/vitest'
import { cleanup } from '@testing-library/react'
import { afterEach, beforeEach, vi } from 'vitest'
import { forget } from '../src/useServer'
import { FakeXHR } from './fakes'

beforeEach(() => {
  FakeXHR.all = []
  vi.stubGlobal('XMLHttpRequest', FakeXHR)
  vi.spyOn(navigator, 'languages', 'get').mockReturnValue(['en'])
  URL.createObjectURL = () => 'blob:image' // which jsdom does not have
  URL.revokeObjectURL = () => undefined
})

afterEach(() => {
  cleanup()
  forget()
  localStorage.clear()
  window.location.hash = ''
  vi.unstubAllGlobals()
})
