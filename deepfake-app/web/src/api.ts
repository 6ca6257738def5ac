/**
 * The single door to HTTP. Everything that can go wrong on the way comes out as one Problem, whose slug has a sentence in
 * strings.ts: the server's own problem+json, a proxy's HTML, a network that is down, an answer that is none.
 */

export type Verdict = 'Real' | 'Fake' | 'Unsure'
export const VERDICTS: readonly Verdict[] = ['Real', 'Fake', 'Unsure']

export interface Thresholds {
  fake: number // a score at or above it is Fake
  unsure: [low: number, high: number] | null // from low to below high is Unsure
}

export interface Face {
  box: [x: number, y: number, width: number, height: number] // pixels of the upright image
  score: number | null // P(fake), 0 to 1; null: too small to be judged
  verdict: Verdict
}

export interface Answer {
  verdict: Verdict
  score: number | null // P(fake), 0 to 1; null: there was nothing to judge
  faces: Face[]
  thresholds: Thresholds
  model: { name: string; arch: string; sha256: string }
  image: { width: number; height: number; format: string }
  notes: string[]
  heatmap?: string // data URL
  heatmap_sentence?: string
}

/** What may be sent: GET /api/config. */
export interface Config {
  media_types: string[]
  max_bytes: number
  min_side: number
}

/** What is known of a model: GET /api/model. null: its file does not say. */
export interface ModelInfo {
  name: string
  arch: string
  sha256: string
  input: { size: number; fit: string; frame: string }
  thresholds: Thresholds
  calibrated: boolean
  date: string | null
  epoch: number | null
  recipe: string | null
  pretrained: string | null
  git_commit: string | null
  data: { Train: { n: number } | null; Validation: { n: number } | null }
  validation: ({ n: number | null } & Record<string, number | null>) | null
  data_notes: string[] | null
  metrics: Record<string, unknown>[] | null
  confusion_matrix: Record<string, unknown> | null
  weak_spots: string[] | null
}

/** What went wrong: `slug` picks the sentence, `detail` is the server's own, in English. */
export interface Problem {
  slug: string
  status: number // of the HTTP answer; 0: there was none
  detail?: string
}

export class ApiError extends Error implements Problem {
  readonly slug: string
  readonly status: number
  readonly detail?: string

  constructor({ slug, status, detail }: Problem) {
    super(detail ?? slug)
    this.slug = slug
    this.status = status
    if (detail !== undefined) this.detail = detail
  }
}

interface Sending {
  signal?: AbortSignal
  onSent?: (part: number) => void // 0 to 1 of the body
}

const TIMEOUT = 150_000 // milliseconds; the server gives up on an upload after 90 seconds

export async function predict(
  file: File,
  { model, explain, ...sending }: { model?: string | null; explain?: boolean } & Sending = {},
): Promise<Answer> {
  const query = new URLSearchParams()
  if (explain) query.set('explain', '1')
  if (model) query.set('model', model)
  const form = new FormData()
  form.append('file', file, 'image') // its name stays here: nobody needs it
  const answer = await json(`/api/predict${query.size ? `?${query}` : ''}`, form, sending)
  if (!isAnswer(answer)) throw new ApiError({ slug: 'bad-answer', status: 200 })
  return answer
}

/** GET, as JSON. */
export const get = <T>(path: string, signal?: AbortSignal): Promise<T> => json(path, null, { signal }) as Promise<T>

async function json(path: string, body: FormData | null, sending: Sending): Promise<unknown> {
  const { status, text } = await send(body ? 'POST' : 'GET', path, body, sending)
  const answer = parsed(text)
  if (status >= 200 && status < 300 && answer !== undefined) return answer
  throw new ApiError(problem(status, answer))
}

/** fetch would do, if it told how much of an upload has been sent. */
function send(method: string, path: string, body: FormData | null, { signal, onSent }: Sending) {
  return new Promise<{ status: number; text: string }>((resolve, reject) => {
    const xhr = new XMLHttpRequest()
    const fail = (slug: string) => () => reject(new ApiError({ slug, status: 0 }))
    if (onSent) xhr.upload.onprogress = (event) => event.lengthComputable && onSent(event.loaded / event.total)
    if (onSent) xhr.upload.onload = () => onSent(1)
    xhr.onload = () => resolve({ status: xhr.status, text: xhr.responseText })
    xhr.onerror = fail('network')
    xhr.ontimeout = fail('timeout')
    xhr.onabort = fail('aborted')
    xhr.timeout = TIMEOUT
    xhr.open(method, path)
    xhr.setRequestHeader('Accept', 'application/json')
    if (signal?.aborted) return fail('aborted')()
    signal?.addEventListener('abort', () => xhr.abort())
    xhr.send(body)
  })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // a proxy's HTML
  }
}

/** RFC 9457 where the server answered; where something before it did, the status is all there is. */
function problem(status: number, answer: unknown): Problem {
  const { type, detail } = isObject(answer) ? answer : {}
  const slug = typeof type === 'string' ? type.match(/^\/problems\/([\w-]+)$/)?.[1] : undefined
  if (slug) return { slug, status, ...(typeof detail === 'string' && detail ? { detail } : {}) }
  if (status === 413) return { slug: 'too-large', status }
  if (status === 429) return { slug: 'too-many-requests', status }
  if (status >= 500) return { slug: 'unreachable', status }
  return { slug: 'bad-answer', status }
}

function isAnswer(value: unknown): value is Answer {
  if (!isObject(value)) return false
  const { verdict, score, faces, thresholds, model, image, notes } = value
  return (
    VERDICTS.includes(verdict as Verdict) &&
    (score === null || typeof score === 'number') &&
    Array.isArray(faces) &&
    Array.isArray(notes) &&
    [thresholds, model, image].every(isObject)
  )
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null
