import { useRef } from 'react'
import type { Answer, Face } from '../api'
import type { Item } from '../check'
import { useFocusUnlessBusy } from '../focus'
import { useText } from '../language'
import { clamped, scorePercent } from '../score'
import { useTrainedOn } from '../useServer'
import { Bands } from './Bands'
import { Shape } from './Shape'

/** The verdict, what it rests on, and what it does not say. */
export function Result({ item, answer }: { item: Item; answer: Answer }) {
  const { t } = useText()
  const { name } = item.file
  const trainedOn = useTrainedOn(item.model)
  const { verdict, faces, notes } = answer
  const heading = useRef<HTMLHeadingElement>(null)
  useFocusUnlessBusy(heading)
  return (
    <article className={`result ${verdict}`} aria-labelledby="verdict">
      <p className="eyebrow">{t('judged', { name })}</p>
      <div className="verdict">
        <Shape verdict={verdict} />
        <h2 id="verdict" ref={heading} tabIndex={-1}>
          {t(verdict)}
        </h2>
      </div>
      <Score answer={answer} />
      <p className="proof">
        <strong>{t('proof')}</strong> {t('proofMore')}
      </p>
      {faces.length > 1 && <Faces faces={faces} answer={answer} />}
      {notes.length > 0 && (
        <section>
          <h3>{t('notes')}</h3>
          <ul className="notes" lang="en">
            {notes.map((note) => (
              <li key={note}>{note}</li>
            ))}
          </ul>
        </section>
      )}
      {trainedOn && (
        <section>
          <h3>{t('trainedOn')}</h3>
          <p>{trainedOn}</p>
        </section>
      )}
      <Details answer={answer} />
    </article>
  )
}

function Score({ answer: { score, thresholds, verdict } }: { answer: Answer }) {
  const { t, language } = useText()
  if (score === null) return <p className="no-score">{t('noScore')}</p>
  const shown = scorePercent(score, thresholds, language)
  return (
    <div className="score">
      <p className="figure">
        <span>{t('score')}</span> <small className="soft">{t('scoreAbout')}</small> <strong>{shown}</strong>
      </p>
      <meter min={0} max={1} value={clamped(score)} aria-label={t('score')} aria-valuetext={shown}>
        {shown}
      </meter>
      <Bands thresholds={thresholds} verdict={verdict} />
    </div>
  )
}

function Faces({ faces, answer }: { faces: Face[]; answer: Answer }) {
  const { t, language } = useText()
  return (
    <section>
      <h3>{t('faces')}</h3>
      <ol className="faces">
        {faces.map(({ score, verdict }, place) => (
          <li key={place}>
            <Shape verdict={verdict} />
            <span>{t('face', { number: place + 1 })}</span>
            <span>{t(verdict)}</span>
            <span className="number">{score === null ? '–' : scorePercent(score, answer.thresholds, language)}</span>
          </li>
        ))}
      </ol>
      <p className="soft">{t('facesRule')}</p>
    </section>
  )
}

function Details({ answer: { model, image } }: { answer: Answer }) {
  const { t } = useText()
  return (
    <details>
      <summary>{t('details')}</summary>
      <dl className="facts">
        <dt>{t('picture')}</dt>
        <dd>
          {image.format}, {image.width} × {image.height}
        </dd>
        <dt>{t('model')}</dt>
        <dd>{model.name}</dd>
        <dt>{t('architecture')}</dt>
        <dd>{model.arch}</dd>
        <dt>{t('checksum')}</dt>
        <dd className="code">{model.sha256}</dd>
      </dl>
    </details>
  )
}
