/** A server that the test answers for, and what a real one says. */

import type { Answer, Config, ModelInfo } from '../src/api'

/** Stands in for XMLHttpRequest. Nothing is answered until the test does it. */
export class FakeXHR {
  static all: FakeXHR[] = []
  static last = (): FakeXHR => FakeXHR.all.at(-1) as FakeXHR
  static to = (path: string): FakeXHR[] => FakeXHR.all.filter(({ url }) => url.startsWith(path))

  method = ''
  url = ''
  body: FormData | null = null
  timeout = 0
  status = 0
  responseText = ''
  aborted = false
  upload: { onprogress?: (event: object) => void; onload?: () => void } = {}
  onload?: () => void
  onerror?: () => void
  ontimeout?: () => void
  onabort?: () => void

  open(method: string, url: string): void {
    Object.assign(this, { method, url })
  }
  setRequestHeader(): void {}
  send(body: FormData | null): void {
    this.body = body
    FakeXHR.all.push(this)
  }
  abort(): void {
    if (this.status) return // answered already: a browser does nothing then
    this.aborted = true
    this.onabort?.()
  }
  progress(loaded: number): void {
    this.upload.onprogress?.({ lengthComputable: true, loaded, total: 100 })
  }
  answer(status: number, body: unknown): void {
    this.status = status
    this.responseText = typeof body === 'string' ? body : JSON.stringify(body)
    this.onload?.()
  }
}

export const problem = (slug: string, status: number, detail = 'the server says why') => ({
  type: `/problems/${slug}`,
  title: 'Title',
  status,
  detail,
  instance: '0123456789abcdef',
  error: detail,
})

export const image = (name = 'photo.jpg', type = 'image/jpeg', bytes = 100) =>
  new File([new Uint8Array(bytes)], name, { type })

export const CONFIG: Config = { media_types: ['image/jpeg', 'image/png', 'image/heic'], max_bytes: 10 * 2 ** 20, min_side: 32 }

export const ANSWER: Answer = {
  verdict: 'Fake',
  score: 0.81,
  faces: [{ box: [10, 20, 30, 40], score: 0.81, verdict: 'Fake' }],
  thresholds: { fake: 0.5, unsure: null },
  model: { name: 'best.onnx', arch: 'tiny', sha256: 'ab'.repeat(32) },
  image: { width: 200, height: 100, format: 'JPEG' },
  notes: ['transparent parts are shown on white'],
}

export const MODEL: ModelInfo = {
  name: 'best.onnx',
  arch: 'tiny',
  sha256: 'ab'.repeat(32),
  input: { size: 64, fit: 'crop', frame: 'face' },
  thresholds: { fake: 0.6, unsure: [0.4, 0.6] },
  calibrated: true,
  date: '2026-11-21T11:41:58+00:00',
  epoch: 5,
  recipe: 'indomain',
  pretrained: 'imagenet',
  git_commit: 'abc',
  data: { Train: { n: 1400 }, Validation: { n: 300 } },
  validation: { n: 300, accuracy: 0.79, precision: 0.72, recall: 0.93, f1: 0.81, auc: 0.904 },
  data_notes: ['StyleGAN faces'],
  metrics: [
    { set: 'Test', AUC: 0.9 },
    { set: 'Swaps', AUC: 0.52 },
  ],
  confusion_matrix: { Real: { Real: 61, Fake: 39 }, Fake: { Real: 3, Fake: 97 } },
  weak_spots: ['face swaps'],
}
