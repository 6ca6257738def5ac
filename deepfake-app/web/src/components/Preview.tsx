import { useEffect, useState } from 'react'
import type { Answer } from '../api'
import { inFlight, type Item } from '../check'
import { useText } from '../language'

type Shown = 'loading' | 'none' | { width: number; height: number } // as the browser turns it

/**
 * The image in a frame of fixed size, with a box around each face. The browser turns it upright by its EXIF mark, as the
 * server does; where the two disagree, a box would mark the wrong place, and there is none.
 */
export function Preview({ item }: { item: Item }) {
  const { t } = useText()
  const url = useObjectUrl(item.file)
  const [shown, setShown] = useState<Shown>('loading')
  const { answer } = item
  const fits = typeof shown === 'object' && answer !== undefined && sameShape(shown, answer.image)
  const boxes = fits && answer.faces.length > 0
  const turned = typeof shown === 'object' && answer !== undefined && answer.faces.length > 0 && !fits
  return (
    <figure className="picture">
      <div className="frame" data-busy={inFlight(item.status)}>
        {url && shown !== 'none' && (
          <img
            src={url}
            alt={t(boxes ? 'boxed' : 'preview', { name: item.file.name })}
            onLoad={({ currentTarget: { naturalWidth: width, naturalHeight: height } }) => setShown({ width, height })}
            onError={() => setShown('none')}
          />
        )}
        {shown === 'none' && <p className="no-preview">{t('noPreview')}</p>}
        {boxes && <Boxes answer={answer} />}
      </div>
      {turned && <figcaption>{t('noBoxes')}</figcaption>}
    </figure>
  )
}

function Boxes({ answer: { image, faces } }: { answer: Answer }) {
  const unit = Math.max(image.width / 480, image.height / 440) // about one pixel of the page
  return (
    <svg className="boxes" viewBox={`0 0 ${image.width} ${image.height}`} aria-hidden="true">
      {faces.map(({ box: [x, y, width, height], verdict }, place) => (
        <g key={place} className={verdict}>
          <rect className="under" x={x} y={y} width={width} height={height} rx={6 * unit} />
          <rect className="over" x={x} y={y} width={width} height={height} rx={6 * unit} />
          {faces.length > 1 && <Number at={[x, y]} unit={unit} text={String(place + 1)} />}
        </g>
      ))}
    </svg>
  )
}

function Number({ at: [x, y], unit, text }: { at: [number, number]; unit: number; text: string }) {
  return (
    <>
      <circle cx={x} cy={y} r={13 * unit} />
      <text x={x} y={y} fontSize={15 * unit} dominantBaseline="central" textAnchor="middle">
        {text}
      </text>
    </>
  )
}

/** Whether two sizes are one shape, to within a rounded pixel: a file may say at which size it wants to be shown. */
function sameShape(a: { width: number; height: number }, b: { width: number; height: number }): boolean {
  return Math.abs(a.width * b.height - b.width * a.height) <= Math.max(a.width, a.height, b.width, b.height)
}

function useObjectUrl(file: File): string | null {
  const [url, setUrl] = useState<string | null>(null)
  useEffect(() => {
    const made = URL.createObjectURL(file)
    setUrl(made)
    return () => URL.revokeObjectURL(made)
  }, [file])
  return url
}
