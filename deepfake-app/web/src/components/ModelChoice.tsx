import { useText } from '../language'

interface Props {
  names: string[]
  chosen: string | null
  onChoose: (name: string) => void
}

/** Which of the server's models judges. Where there is one, its name. */
export function ModelChoice({ names, chosen, onChoose }: Props) {
  const { t } = useText()
  if (names.length < 2) {
    return (
      <p className="model-choice">
        {t('model')}: <strong>{names[0] ?? '…'}</strong>
      </p>
    )
  }
  return (
    <p className="model-choice">
      <label htmlFor="model">{t('model')}</label>
      <select id="model" value={chosen ?? names[0]} onChange={({ target }) => onChoose(target.value)}>
        {names.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </p>
  )
}
