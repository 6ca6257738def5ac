import { useEffect, useRef, useState } from 'react'
import { useText } from './language'
import { AboutPage } from './pages/AboutPage'
import { MainPage } from './pages/MainPage'
import { MethodologyPage } from './pages/MethodologyPage'
import { isLanguage, type Key, LANGUAGES } from './strings'
import { useCheck } from './useCheck'
import { useFiles } from './useFiles'
import { useModel, useServer } from './useServer'

const VIEWS = ['check', 'methodology', 'about'] as const
type View = (typeof VIEWS)[number]

/** The frame around the three views. What is being checked lives here, so that looking at another view does not end it. */
export function App() {
  const { t } = useText()
  const server = useServer()
  const [state, dispatch] = useCheck()
  const [wish, setModel] = useState<string | null>(null)
  const model = wish ?? server.models[0] ?? null
  useModel(model) // known before a result speaks of it: nothing then moves
  const [notice, setNotice] = useState<Key | null>(null)
  const [view, go] = useView()

  const take = (files: File[]) => {
    setNotice(null)
    go('check')
    dispatch({ type: 'chosen', model, files })
  }
  const dragging = useFiles({ onFiles: take, onNotice: setNotice })

  return (
    <>
      <SkipLink />
      <Header view={view} />
      <main id="main" tabIndex={-1}>
        {view === 'check' && (
          <MainPage
            {...{ state, dispatch, server, model, notice }}
            onModel={setModel}
            onFiles={take}
          />
        )}
        {view === 'methodology' && <MethodologyPage names={server.models} model={model} onModel={setModel} />}
        {view === 'about' && <AboutPage />}
      </main>
      <footer>
        <p>
          <strong>{t('proof')}</strong> {t('proofMore')}
        </p>
      </footer>
      {dragging && (
        <div className="dropping" aria-hidden="true">
          <p>{t('dropNow')}</p>
        </div>
      )}
    </>
  )
}

/** The view is the part of the address after #, so that it can be linked to and the back button works. */
function useView(): [View, (view: View) => void] {
  const [view, setView] = useState(viewOfAddress)
  const { t } = useText()
  const shown = useRef(view)
  useEffect(() => {
    const moved = () => setView(viewOfAddress())
    window.addEventListener('hashchange', moved)
    return () => window.removeEventListener('hashchange', moved)
  }, [])
  useEffect(() => {
    document.title = view === 'check' ? t('brand') : `${t(view)} · ${t('brand')}`
  })
  useEffect(() => {
    if (shown.current !== view) document.querySelector<HTMLElement>('main h1')?.focus()
    shown.current = view
  }, [view])
  return [view, (view) => void (window.location.hash = view)]
}

function viewOfAddress(): View {
  return VIEWS.find((view) => window.location.hash === `#${view}`) ?? 'check'
}

function SkipLink() {
  const { t } = useText()
  const skip = () => document.getElementById('main')?.focus()
  return (
    <button type="button" className="skip" onClick={skip}>
      {t('skip')}
    </button>
  )
}

function Header({ view }: { view: View }) {
  const { t, language, setLanguage } = useText()
  return (
    <header>
      <a className="brand" href="#check">
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <path d="M6 12V9a3 3 0 0 1 3-3h3M20 6h3a3 3 0 0 1 3 3v3M26 20v3a3 3 0 0 1-3 3h-3M12 26H9a3 3 0 0 1-3-3v-3" />
          <ellipse cx="16" cy="16" rx="4.2" ry="5.4" />
        </svg>
        {t('brand')}
      </a>
      <nav>
        {VIEWS.map((name) => (
          <a key={name} href={`#${name}`} aria-current={name === view ? 'page' : undefined}>
            {t(name)}
          </a>
        ))}
      </nav>
      <label className="languages">
        <span className="visually-hidden">{t('language')}</span>
        <select value={language} onChange={({ target }) => isLanguage(target.value) && setLanguage(target.value)}>
          {Object.entries(LANGUAGES).map(([code, name]) => (
            <option key={code} value={code} lang={code}>
              {name}
            </option>
          ))}
        </select>
      </label>
    </header>
  )
}
