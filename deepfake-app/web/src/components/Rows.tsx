import { finished, type Item } from '../check'
import { useText } from '../language'
import { percent, scorePercent } from '../score'
import { Shape } from './Shape'

interface Props {
  items: Item[]
  selected: number | null
  onSelect: (id: number) => void
}

/** Several images, a row each; the one that is shown is pressed. */
export function Rows({ items, selected, onSelect }: Props) {
  const { t } = useText()
  const done = items.filter(({ status }) => finished(status)).length
  return (
    <section className="rows" aria-labelledby="images">
      <h2 id="images">
        {t('images')}{' '}
        <span key={done} className="soft">
          {t('progress', { done, total: items.length })}
        </span>
      </h2>
      <ul>
        {items.map((item) => (
          <li key={item.id}>
            <button type="button" aria-pressed={item.id === selected} onClick={() => onSelect(item.id)}>
              <Mark item={item} />
              <span className="name">{item.file.name}</span>
              <Words item={item} />
            </button>
          </li>
        ))}
      </ul>
    </section>
  )
}

function Mark({ item: { status, answer } }: { item: Item }) {
  if (answer) return <Shape verdict={answer.verdict} />
  return <span className={`mark ${status}`} aria-hidden="true" />
}

/** How far it is. A new element for new words: they end at the right, and would count as moved. */
function Words({ item }: { item: Item }) {
  const words = useWords(item)
  return (
    <span key={words} className="state">
      {words}
    </span>
  )
}

function useWords({ status, sent, answer }: Item): string {
  const { t, language } = useText()
  if (answer) {
    const score = answer.score === null ? '' : ` ${scorePercent(answer.score, answer.thresholds, language)}`
    return t(answer.verdict) + score
  }
  if (status === 'uploading') return `${t('uploading')} ${percent(sent, language)}`
  return t(status === 'analysing' ? 'analysing' : status === 'error' ? 'failed' : 'waiting')
}
