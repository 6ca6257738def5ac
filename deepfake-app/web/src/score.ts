/** From a score and thresholds to what a person reads: pure functions. */

import type { Thresholds, Verdict } from './api'

export interface Band {
  from: number
  to: number
  verdict: Verdict
}

/** What the server says of a score, as detector/calibration.py has it. */
const verdictOf = (score: number, { fake, unsure }: Thresholds): Verdict =>
  unsure && unsure[0] <= score && score < unsure[1] ? 'Unsure' : score >= fake ? 'Fake' : 'Real'

/** The whole scale from 0 to 1 as bands of one verdict each, lowest first. */
export function bands(thresholds: Thresholds): Band[] {
  const { fake, unsure } = thresholds
  const cuts = [...new Set([0, fake, ...(unsure ?? [])])].filter((cut) => cut >= 0 && cut < 1).sort((a, b) => a - b)
  const found: Band[] = []
  cuts.forEach((from, place) => {
    const band = { from, to: cuts[place + 1] ?? 1, verdict: verdictOf(from, thresholds) }
    const last = found.at(-1)
    if (last?.verdict === band.verdict) last.to = band.to
    else found.push(band)
  })
  return found
}

/** Never 0 % or 100 %: no figure that claims certainty. */
export const clamped = (score: number): number => Math.min(0.99, Math.max(0.01, score))

export function percent(value: number, language: string, digits = 0): string {
  return new Intl.NumberFormat(language, { style: 'percent', maximumFractionDigits: digits }).format(value)
}

/** A score from 1 to 99 %, with as many digits as it takes to stay on its side of every threshold. */
export function scorePercent(score: number, thresholds: Thresholds, language: string): string {
  const shown = clamped(score)
  const verdict = verdictOf(shown, thresholds)
  let digits = 0
  while (digits < 4 && verdictOf(Number(shown.toFixed(digits + 2)), thresholds) !== verdict) digits++
  return percent(Number(shown.toFixed(digits + 2)), language, digits)
}
