import { useEffect, useRef } from 'react'
import type { Heat } from '../check'
import { useText } from '../language'

interface Props {
  name: string
  heat: Heat
  onAsk: () => void
}

/** What moved the score, beside the image; or plainly, that this model cannot say. */
export function HeatMap({ name, heat, onAsk }: Props) {
  const { t, sentence } = useText()
  const frame = useRef<HTMLDivElement>(null)
  useEffect(() => frame.current?.focus(), []) // the button that asked for it is gone
  return (
    <figure className="picture heat">
      <div className="frame" ref={frame} tabIndex={-1} data-busy={heat.status === 'analysing'}>
        {heat.status === 'analysing' && <p className="no-preview">{t('heatBusy')}</p>}
        {heat.status === 'result' && <img src={heat.image} alt={t('heatAlt', { name })} />}
        {heat.status === 'error' && (
          <div className="no-preview" role="alert">
            <strong>{t('heatFailed')}</strong>
            <p>{sentence(heat.problem.slug)}</p>
          </div>
        )}
      </div>
      {heat.status === 'error' && !FINAL.has(heat.problem.slug) && (
        <button type="button" className="quiet" onClick={onAsk}>
          {t('again')}
        </button>
      )}
    </figure>
  )
}

/** What the map is and is not, below both pictures. `face`: which of several it shows, from 1. */
export function HeatNote({ face, heat }: { face: number | null; heat: Heat }) {
  const { t } = useText()
  if (heat.status === 'error') return null
  return (
    <div className="heat-note">
      <p>
        <strong>{face ? t('face', { number: face }) : t('heat')}.</strong> {t('heatAbout')}
      </p>
      {heat.status === 'result' && <p lang="en">{heat.sentence}</p>}
    </div>
  )
}

/** Another try would end the same way. */
const FINAL = new Set(['not-explainable', 'no-heat-map'])
