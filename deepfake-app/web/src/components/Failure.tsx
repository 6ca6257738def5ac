import { useRef } from 'react'
import type { Problem } from '../api'
import { useFocusUnlessBusy } from '../focus'
import { useText } from '../language'

/** Why an image was not judged, in the reader's language, and in the server's own words. */
export function Failure({ name, problem, onAgain }: { name: string; problem: Problem; onAgain: () => void }) {
  const { t, sentence } = useText()
  const heading = useRef<HTMLHeadingElement>(null)
  useFocusUnlessBusy(heading)
  return (
    <div className="failure">
      <p className="eyebrow">{name}</p>
      <h2 ref={heading} tabIndex={-1}>
        {t('failed')}
      </h2>
      <div role="alert">
        <p className="sentence">{sentence(problem.slug)}</p>
        {problem.detail && (
          <p className="soft" lang="en">
            {problem.detail}
          </p>
        )}
      </div>
      {MAY_PASS.has(problem.slug) && (
        <button type="button" className="quiet" onClick={onAgain}>
          {t('again')}
        </button>
      )}
    </div>
  )
}

/** Problems that another try may not meet. */
const MAY_PASS = new Set([
  'network', 'timeout', 'unreachable', 'bad-answer', 'busy', 'not-ready', 'too-many-requests', 'internal',
]) // prettier-ignore
