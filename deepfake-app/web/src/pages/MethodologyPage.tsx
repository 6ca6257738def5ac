import type { ReactNode } from 'react'
import type { ModelInfo } from '../api'
import { Bands } from '../components/Bands'
import { ModelChoice } from '../components/ModelChoice'
import { useText } from '../language'
import type { Key } from '../strings'
import { useModel, useTrainedOn } from '../useServer'

interface Props {
  names: string[]
  model: string | null
  onModel: (name: string) => void
}

/** How a model judges, what it learned from, how well it did: all of it as /api/model says it. */
export function MethodologyPage({ names, model, onModel }: Props) {
  const { t, sentence } = useText()
  const { data, problem } = useModel(model)
  return (
    <div className="prose">
      <h1 tabIndex={-1}>{t('methodology')}</h1>
      <p className="lead">{t('methodLead')}</p>
      <ModelChoice names={names} chosen={model} onChoose={onModel} />
      <div role="status">
        {problem && (
          <p>
            {t('methodNone')} {sentence(problem.slug)}
          </p>
        )}
      </div>
      {data && <Model model={data} />}
    </div>
  )
}

function Model({ model }: { model: ModelInfo }) {
  const { t } = useText()
  return (
    <>
      <h2>{t('steps')}</h2>
      <Steps model={model} />
      <Bands thresholds={model.thresholds} />
      <p>{t(model.calibrated ? 'calibrated' : 'uncalibrated')}</p>

      <h2>{t('data')}</h2>
      <Training model={model} />

      <h2>{t('quality')}</h2>
      <Quality model={model} />

      <h2>{t('weak')}</h2>
      {model.weak_spots?.length ? <Lines lines={model.weak_spots} /> : <p>{t('weakUnknown')}</p>}
    </>
  )
}

function Steps({ model: { arch, input } }: { model: ModelInfo }) {
  const { t } = useText()
  const faces = input.frame === 'face'
  const taken: Key = faces ? 'stepFace' : input.fit === 'crop' ? 'stepCrop' : 'stepResize'
  return (
    <ol className="steps">
      <li>{t('stepOpen')}</li>
      <li>{t(taken, { size: input.size })}</li>
      <li>{t('stepNetwork', { arch })}</li>
      {faces && <li>{t('stepHighest')}</li>}
      <li>{t('stepVerdict')}</li>
    </ol>
  )
}

function Training({ model }: { model: ModelInfo }) {
  const { t, language } = useText()
  const { data, date, epoch, recipe, pretrained, sha256, arch, data_notes } = model
  const count = (part: { n: number } | null) => part && new Intl.NumberFormat(language).format(part.n)
  return (
    <>
      <p>{useTrainedOn(model.name)}</p>
      {data_notes && <Lines lines={data_notes} />}
      <Facts
        facts={[
          [t('forTraining'), count(data.Train)],
          [t('forChoosing'), count(data.Validation)],
          [t('pretrained'), pretrained],
          [t('recipe'), recipe],
          [t('epoch'), epoch],
          [t('started'), date && asDay(date, language)],
          [t('architecture'), arch],
          [t('checksum'), <span className="code">{sha256}</span>],
        ]}
      />
    </>
  )
}

const FIGURES = ['accuracy', 'precision', 'recall', 'f1', 'auc'] as const

function Quality({ model: { validation, metrics, confusion_matrix: matrix } }: { model: ModelInfo }) {
  const { t, language } = useText()
  if (!validation && !metrics?.length && !matrix) return <p>{t('unknown')}</p>
  const number = new Intl.NumberFormat(language, { minimumFractionDigits: 3, maximumFractionDigits: 3 })
  const figure = (value: number | null | undefined) => (typeof value === 'number' ? number.format(value) : null)
  return (
    <>
      {validation && (
        <>
          <p>{t('flattering', { n: validation.n ?? '?' })}</p>
          <Facts facts={FIGURES.map((name) => [t(name), figure(validation[name])])} />
        </>
      )}
      {metrics && metrics.length > 0 && <Table caption={t('quality')} rows={metrics} />}
      {matrix && <Table caption={t('confusion')} rows={rowsOf(matrix, t('truth'))} />}
    </>
  )
}

type Row = Record<string, unknown>

/** Rows of a model card as a table: a column for each name, in English. */
function Table({ caption, rows }: { caption: string; rows: Row[] }) {
  const columns = [...new Set(rows.flatMap(Object.keys))]
  return (
    <div className="table" role="region" aria-label={caption} tabIndex={0}>
      <table lang="en">
        <thead>
          <tr>
            {columns.map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, place) => (
            <tr key={place}>
              {columns.map((name) => (
                <td key={name}>{said(row[name])}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

/** {label: {verdict: count}} as rows. */
function rowsOf(matrix: Row, corner: string): Row[] {
  return Object.entries(matrix).map(([label, counts]) => ({ [corner]: label, ...(isObject(counts) ? counts : { '': counts }) }))
}

/** What is known; what is not is left out. */
function Facts({ facts }: { facts: [string, ReactNode][] }) {
  return (
    <dl className="facts">
      {facts
        .filter(([, value]) => value !== null)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  )
}

/** Sentences of a model card, in English. */
function Lines({ lines }: { lines: string[] }) {
  return (
    <ul lang="en">
      {lines.map((line) => (
        <li key={line}>{line}</li>
      ))}
    </ul>
  )
}

const said = (value: unknown): string =>
  value === undefined || value === null ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value)

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

function asDay(date: string, language: string): string {
  const day = new Date(date)
  return Number.isNaN(day.valueOf()) ? date : new Intl.DateTimeFormat(language, { dateStyle: 'long' }).format(day)
}
