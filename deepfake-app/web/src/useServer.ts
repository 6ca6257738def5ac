import { useEffect, useState } from 'react'
import { ApiError, type Config, get, type ModelInfo, type Problem } from './api'
import { useText } from './language'

const CONFIG = '/api/config'
const RETRY = 3000 // milliseconds
const FIRST_TYPES = ['image/jpeg', 'image/png', 'image/webp'] // until the server has named its own

/** What the server takes, and which models it has. */
export interface Server {
  config: Config | null
  models: string[] // the default first
  accept: string // for a file chooser: JPEG first and no HEIC, so that Safari converts; a dropped HEIC is sent as it is
}

export function useServer(): Server {
  const { data: config } = useFetched<Config>(CONFIG)
  const { data: list } = useFetched<{ models: string[] }>('/api/models')
  return { config, models: list?.models ?? [], accept: chosen(config?.media_types ?? FIRST_TYPES) }
}

const chosen = (types: string[]): string => types.filter((type) => !/^image\/hei[cf]/.test(type)).join(',')

/** What is known of a model; null: the server's default. */
export function useModel(name: string | null): Fetched<ModelInfo> {
  return useFetched<ModelInfo>(name ? `/api/model?${new URLSearchParams({ model: name })}` : '/api/model')
}

/** One sentence on what a model was trained on; null until it is known. */
export function useTrainedOn(name: string | null): string | null {
  const { t, language } = useText()
  const { data: model } = useModel(name)
  if (!model) return null
  const count = (n: number) => new Intl.NumberFormat(language).format(n)
  const { Train: train, Validation: validation } = model.data
  if (!train) return t('trainedUnknown')
  const words = validation
    ? t('trainedChosen', { train: count(train.n), validation: count(validation.n) })
    : t('trained', { train: count(train.n) })
  return `${words} ${t('trainedElse')}`
}

/** The server's limits, as a sentence says them. */
export function useLimits(config: Config | null): { types: string; mb: number; side: number } | null {
  const { language } = useText()
  if (!config) return null
  const types = config.media_types.map((type) => type.replace('image/', '').toUpperCase().replace('WEBP', 'WebP'))
  return {
    types: new Intl.ListFormat(language, { type: 'disjunction' }).format(types),
    mb: mebibytes(config),
    side: config.min_side,
  }
}

const mebibytes = ({ max_bytes }: Config): number => Math.floor(max_bytes / 2 ** 20)

/**
 * A courtesy: what the server would refuse for its size alone need not travel to it. Waits for the server's first word
 * on its limits: a file may be given before that has come, and of an upload that is cut off a browser sees no reason.
 */
export async function refused(file: File): Promise<Problem | undefined> {
  if (file.size === 0) return { slug: 'empty-file', status: 0 }
  await asked.get(CONFIG)
  const config = known.get(CONFIG)?.data as Config | null | undefined
  if (!config || file.size <= config.max_bytes) return undefined
  return { slug: 'too-large', status: 0, detail: `larger than ${mebibytes(config)} MiB` }
}

interface Fetched<T> {
  data: T | null
  problem: Problem | null
}

/** GET an address once for everybody who asks; again and again while the server is not there or not ready. */
function useFetched<T>(path: string): Fetched<T> {
  const [, show] = useState(0)
  useEffect(() => {
    let timer: number | null = 0 // null: nobody waits any more
    const ask = async () => {
      const final = await fetched(path)
      if (timer === null) return
      if (!final) timer = window.setTimeout(ask, RETRY)
      show((times) => times + 1)
    }
    void ask()
    return () => {
      window.clearTimeout(timer ?? 0)
      timer = null
    }
  }, [path])
  return (known.get(path) ?? NOTHING) as Fetched<T>
}

const NOTHING = { data: null, problem: null }
const PASSING = new Set(['network', 'timeout', 'unreachable', 'busy', 'not-ready'])
const known = new Map<string, Fetched<unknown>>()
const asked = new Map<string, Promise<void>>()

/** Make an answer known. What a model is does not change while the page is open. Returns whether it is the last word. */
async function fetched(path: string): Promise<boolean> {
  if (!asked.has(path)) asked.set(path, ask(path))
  await asked.get(path)
  const { problem } = known.get(path) ?? NOTHING
  if (problem) asked.delete(path)
  return !problem || !PASSING.has(problem.slug)
}

async function ask(path: string): Promise<void> {
  try {
    known.set(path, { data: await get(path), problem: null })
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    known.set(path, { data: null, problem: error })
  }
}

/** For tests, between which nothing may be remembered. */
export function forget(): void {
  known.clear()
  asked.clear()
}
