import { type Dispatch, useEffect, useRef } from 'react'
import type { Answer } from '../api'
import { type Action, finished, type Item, selectedItem, type State } from '../check'
import { Busy } from '../components/Busy'
import { Choose } from '../components/Choose'
import { Failure } from '../components/Failure'
import { HeatMap, HeatNote } from '../components/HeatMap'
import { ModelChoice } from '../components/ModelChoice'
import { Preview } from '../components/Preview'
import { Result } from '../components/Result'
import { Rows } from '../components/Rows'
import { useText } from '../language'
import { scorePercent } from '../score'
import type { Key } from '../strings'
import { type Server, useLimits } from '../useServer'

interface Props {
  state: State
  dispatch: Dispatch<Action>
  server: Server
  model: string | null
  onModel: (name: string) => void
  onFiles: (files: File[]) => void
  notice: Key | null
}

/** Check an image: where it is given, while it is judged, and what came of it. */
export function MainPage(props: Props) {
  const { t } = useText()
  const { state, notice } = props
  const item = selectedItem(state)
  const status = useStatusLine(state, item)
  const title = useRef<HTMLHeadingElement>(null)
  const begun = useRef(false)
  useEffect(() => {
    if (begun.current && !item) title.current?.focus() // cancelled: the button that did it is gone
    begun.current = Boolean(item)
  }, [item])
  return (
    <>
      <h1 ref={title} tabIndex={-1}>
        {t('title')}
      </h1>
      <p className="visually-hidden" role="status">
        {status}
      </p>
      <p className="notice" role="status">
        {notice && t(notice)}
      </p>
      {item ? <Stage {...props} item={item} /> : <Start {...props} />}
    </>
  )
}

/** Before there is an image. */
function Start({ server, model, onModel, onFiles }: Props) {
  const { t } = useText()
  const limits = useLimits(server.config)
  return (
    <>
      <div className="start frame">
        <p className="lead">{t('lead')}</p>
        <Choose label="choose" accept={server.accept} onFiles={onFiles} />
        <p>{t('or')}</p>
        <p className="limits soft">{limits && t('limits', limits)}</p>
        <ModelChoice names={server.models} chosen={model} onChoose={onModel} />
      </div>
      <ul className="promises">
        {PROMISES.map(([title, words]) => (
          <li key={title}>
            <h2>{t(title)}</h2>
            <p>{t(words)}</p>
          </li>
        ))}
      </ul>
    </>
  )
}

const PROMISES: [Key, Key][] = [
  ['factMemoryTitle', 'factMemory'],
  ['factProofTitle', 'factProof'],
  ['factOpenTitle', 'factOpen'],
]

/** One image, or several, of which one is shown. */
function Stage({ state, dispatch, item, server, model, onModel, onFiles }: Props & { item: Item }) {
  const { t } = useText()
  const { id, file, heat, answer, problem } = item
  const again = () => dispatch({ type: 'again', id, model })
  const askHeat = () => dispatch({ type: 'heat-asked', id })
  return (
    <div className="stage">
      <div className="seen">
        <div className="pictures">
          <Preview key={id} item={item} />
          {heat.status !== 'idle' && (
            <HeatMap key={`heat${id}`} name={file.name} heat={heat} onAsk={askHeat} />
          )}
        </div>
        <div className="under">
          {answer && answer.score !== null && heat.status === 'idle' && (
            <button type="button" className="quiet" onClick={askHeat}>
              {t('heatShow')}
            </button>
          )}
          {heat.status !== 'idle' && <HeatNote face={mostFake(answer)} heat={heat} />}
        </div>
        {state.items.length > 1 && (
          <Rows items={state.items} selected={state.selected} onSelect={(id) => dispatch({ type: 'selected', id })} />
        )}
      </div>
      <div className="panel">
        {answer && <Result key={id} item={item} answer={answer} />}
        {problem && <Failure key={id} name={file.name} problem={problem} onAgain={again} />}
        {!finished(item.status) && <Busy item={item} onCancel={() => dispatch({ type: 'cancelled' })} />}
      </div>
      {finished(item.status) && (
        <div className="next">
          <Choose label="another" accept={server.accept} onFiles={onFiles} />
          {server.models.length > 1 && <ModelChoice names={server.models} chosen={model} onChoose={onModel} />}
          {model && model !== (item.model ?? server.models[0]) && (
            <button type="button" className="quiet" onClick={again}>
              {t('againWith', { model })}
            </button>
          )}
        </div>
      )}
    </div>
  )
}

/** The face that the heat map shows, where there are several. */
function mostFake(answer: Answer | undefined): number | null {
  if (!answer || answer.faces.length < 2) return null
  const scores = answer.faces.map(({ score }) => score ?? -1)
  return scores.indexOf(Math.max(...scores)) + 1
}

/** What a screen reader says while there is nothing to focus: what is being checked, and what came of it. */
function useStatusLine({ items }: State, item: Item | undefined): string {
  const { t, language } = useText()
  if (!item) return ''
  const { name } = item.file
  const done = items.filter(({ status }) => finished(status)).length
  const several = items.length > 1 ? ` ${t('progress', { done, total: items.length })}` : ''
  if (!finished(item.status)) return t('checking', { name }) + several
  if (!item.answer) return several
  if (item.heat.status === 'analysing') return t('heatBusy')
  const { verdict, score, thresholds } = item.answer
  const words = score === null ? '' : `. ${t('scoreOf', { percent: scorePercent(score, thresholds, language) })}`
  return t('done', { name, verdict: t(verdict) }) + words + several
}
