import type { Thresholds, Verdict } from '../api'
import { useText } from '../language'
import { type Band, bands, percent } from '../score'
import { Shape } from './Shape'

/** The scale from 0 to 100 % as a strip, and in words. `verdict`: the one to point at. */
export function Bands({ thresholds, verdict }: { thresholds: Thresholds; verdict?: Verdict }) {
  const { t } = useText()
  const found = bands(thresholds)
  const words = useWords()
  return (
    <div className="bands">
      <svg className="strip" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
        {found.map(({ from, to, verdict }) => (
          <rect key={from} className={verdict} x={from * 100} width={(to - from) * 100} height="6" />
        ))}
      </svg>
      <ul>
        {found.map((band) => (
          <li key={band.from} className={band.verdict === verdict ? 'this' : undefined}>
            <Shape verdict={band.verdict} />
            <span>{t(band.verdict)}</span>
            <span className="number">{words(band)}</span>
          </li>
        ))}
      </ul>
    </div>
  )
}

function useWords(): (band: Band) => string {
  const { t, language } = useText()
  return ({ from, to }) => {
    const values = { from: percent(from, language, 1), to: percent(to, language, 1) }
    if (from === 0) return t(to === 1 ? 'bandAll' : 'bandBelow', values)
    return t(to === 1 ? 'bandFrom' : 'bandBetween', values)
  }
}
