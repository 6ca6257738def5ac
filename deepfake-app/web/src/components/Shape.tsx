import type { Verdict } from '../api'

/** A verdict as a shape, for those who cannot tell its colour: circle, triangle, broken square with a question mark. */
export function Shape({ verdict }: { verdict: Verdict }) {
  return (
    <svg className={`shape ${verdict}`} viewBox="0 0 24 24" aria-hidden="true">
      {SHAPES[verdict]}
    </svg>
  )
}

const SHAPES = {
  Real: (
    <>
      <circle className="body" cx="12" cy="12" r="9.5" />
      <circle className="mark dot" cx="12" cy="12" r="3" />
    </>
  ),
  Fake: (
    <>
      <path className="body" d="M12 2.6 22.4 21H1.6Z" />
      <path className="mark" d="M12 9.6v5M12 17.7v.1" />
    </>
  ),
  Unsure: (
    <>
      <rect className="body broken" x="3" y="3" width="18" height="18" rx="4" />
      <path className="mark" d="M9.6 10a2.4 2.4 0 1 1 3.4 2.2c-.7.3-1 .8-1 1.5v.2M12 16.9v.1" />
    </>
  ),
}
