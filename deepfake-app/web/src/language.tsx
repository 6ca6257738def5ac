import { createContext, type ReactNode, useContext, useEffect, useState } from 'react'
import { isKey, isLanguage, type Key, type Language, text } from './strings'

type Values = Record<string, string | number>

interface Text {
  language: Language
  setLanguage: (language: Language) => void
  t: (key: Key, values?: Values) => string
  /** The sentence for a problem's slug. */
  sentence: (slug: string) => string
}

const Context = createContext<Text | null>(null)
const STORED = 'deepfake-language'

export function LanguageProvider({ children }: { children: ReactNode }) {
  const [language, show] = useState(firstLanguage)
  useEffect(() => {
    document.documentElement.lang = language
  }, [language])
  const setLanguage = (name: Language) => {
    show(name)
    remember(name)
  }
  const t = (key: Key, values?: Values) => text(language, key, values)
  const sentence = (slug: string) => {
    const key = `error.${slug}`
    return t(isKey(key) ? key : 'error.unknown')
  }
  return <Context value={{ language, setLanguage, t, sentence }}>{children}</Context>
}

export function useText(): Text {
  const text = useContext(Context)
  if (!text) throw new Error('useText needs a LanguageProvider around it')
  return text
}

/** The language chosen last time, else the first of the browser's that we have. */
function firstLanguage(): Language {
  const wishes = [stored(), ...navigator.languages].map((name) => name.slice(0, 2).toLowerCase())
  return wishes.find(isLanguage) ?? 'en'
}

function stored(): string {
  try {
    return localStorage.getItem(STORED) ?? ''
  } catch {
    return '' // storage is switched off; the choice then lasts as long as the page
  }
}

function remember(language: Language): void {
  try {
    localStorage.setItem(STORED, language)
  } catch {
    // as above
  }
}
