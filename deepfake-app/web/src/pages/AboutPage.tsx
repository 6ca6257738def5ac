import { useText } from '../language'
import type { Key } from '../strings'

const COMMAND = `curl -F file=@photo.jpg ${window.location.origin}/api/predict`

/** What this is, what becomes of an image, and what a verdict is not for. */
export function AboutPage() {
  const { t } = useText()
  return (
    <div className="prose">
      <h1 tabIndex={-1}>{t('about')}</h1>
      <p className="lead">{t('aboutLead')}</p>
      <h2>{t('aboutImageTitle')}</h2>
      <p>{t('aboutImage')}</p>
      <h2>{t('aboutUseTitle')}</h2>
      <p>{t('aboutUse')}</p>
      <h2>{t('aboutApiTitle')}</h2>
      <p>{t('aboutApi')}</p>
      <p className="code">{COMMAND}</p>
      <Linked words="aboutApiMore" to="/api/openapi.json" />
      <Linked words="licence" to="/licences.txt" />
    </div>
  )
}

/** A sentence whose {link} is one. */
function Linked({ words, to }: { words: Key; to: string }) {
  const { t } = useText()
  const [before, after] = t(words, { link: '\n' }).split('\n')
  return (
    <p>
      {before}
      <a href={to}>{to}</a>
      {after}
    </p>
  )
}
