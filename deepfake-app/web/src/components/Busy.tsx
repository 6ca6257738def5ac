import { type Item, inFlight } from '../check'
import { useText } from '../language'
import { percent } from '../score'

/** How far an item is, and the way out. */
export function Busy({ item, onCancel }: { item: Item; onCancel: () => void }) {
  const { t, language } = useText()
  const word = t(item.status === 'uploading' ? 'uploading' : inFlight(item.status) ? 'analysing' : 'waiting')
  const sent = percent(item.sent, language)
  return (
    <div className="busy">
      <p className="eyebrow">{item.file.name}</p>
      <h2>{word}</h2>
      {item.status === 'uploading' ? (
        <progress value={item.sent} aria-label={word} />
      ) : (
        <progress aria-label={word} />
      )}
      <p className="soft">{item.status === 'uploading' ? t('uploaded', { percent: sent }) : '\u00a0'}</p>
      <button type="button" className="quiet" onClick={onCancel}>
        {t('cancel')}
      </button>
    </div>
  )
}
