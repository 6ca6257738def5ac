/**
 * What is being checked, and how far it is: one reducer, one Status. An action about an item that is gone, or that is no
 * longer where the action expects it, changes nothing: that is how a late answer is dropped.
 */

import type { Answer, Problem } from './api'

/** `idle` waits for its turn; `uploading` and `analysing` are in flight; the others are the end. */
export type Status = 'idle' | 'uploading' | 'analysing' | 'result' | 'error'

/** A heat map is asked for when somebody wants one. It has no upload to watch, so `uploading` never occurs. */
export type Heat =
  | { status: 'idle' | 'analysing' }
  | { status: 'result'; image: string; sentence: string | undefined }
  | { status: 'error'; problem: Problem }

export interface Item {
  id: number
  file: File
  status: Status
  sent: number // 0 to 1 of the upload
  model: string | null // by name; null: the server's default
  answer?: Answer
  problem?: Problem
  heat: Heat
}

export interface State {
  items: Item[]
  selected: number | null // the id of the item that is shown
  next: number // the id of the next item
}

export type Action =
  | { type: 'chosen'; files: File[]; model: string | null }
  | { type: 'started'; id: number }
  | { type: 'sent'; id: number; part: number }
  | { type: 'answered'; id: number; answer: Answer }
  | { type: 'failed'; id: number; problem: Problem }
  | { type: 'selected'; id: number }
  | { type: 'again'; id: number; model: string | null }
  | { type: 'cancelled' }
  | { type: 'cleared' }
  | { type: 'heat-asked'; id: number }
  | { type: 'heat-answered'; id: number; answer: Answer }
  | { type: 'heat-failed'; id: number; problem: Problem }

export const EMPTY: State = { items: [], selected: null, next: 1 }

export const inFlight = (status: Status): boolean => status === 'uploading' || status === 'analysing'
export const finished = (status: Status): boolean => status === 'result' || status === 'error'
export const selectedItem = (state: State): Item | undefined => state.items.find(({ id }) => id === state.selected)

/** The item to work on: the one in flight, else the first that waits. One at a time: the server has others to serve. */
export const currentItem = ({ items }: State): Item | undefined =>
  items.find(({ status }) => inFlight(status)) ?? items.find(({ status }) => status === 'idle')

export function reduce(state: State, action: Action): State {
  switch (action.type) {
    case 'chosen':
      return choose(state, action)
    case 'started':
      return change(state, action.id, ['idle'], { status: 'uploading', sent: 0 })
    case 'sent':
      return change(state, action.id, ['uploading'], {
        sent: action.part,
        status: action.part < 1 ? 'uploading' : 'analysing',
      })
    case 'answered':
      return change(state, action.id, ['uploading', 'analysing'], { status: 'result', answer: action.answer })
    case 'failed':
      return change(state, action.id, ['uploading', 'analysing'], { status: 'error', problem: action.problem })
    case 'selected':
      return { ...state, selected: action.id }
    case 'again':
      return again(state, action)
    case 'cancelled':
      return keep(state, ({ status }) => finished(status))
    case 'cleared':
      return { ...EMPTY, next: state.next }
    case 'heat-asked':
      return change(state, action.id, ['result'], { heat: { status: 'analysing' } })
    case 'heat-answered': {
      const { heatmap, heatmap_sentence: sentence } = action.answer
      const heat: Heat = heatmap
        ? { status: 'result', image: heatmap, sentence }
        : { status: 'error', problem: { slug: 'no-heat-map', status: 200 } }
      return changeHeat(state, action.id, heat)
    }
    case 'heat-failed':
      return changeHeat(state, action.id, { status: 'error', problem: action.problem })
  }
}

/** New images take the place of the old ones, whatever those were doing. */
function choose(state: State, { files, model }: Extract<Action, { type: 'chosen' }>): State {
  if (!files.length) return state
  const items = files.map((file, place): Item => {
    return { id: state.next + place, file, status: 'idle', sent: 0, model, heat: { status: 'idle' } }
  })
  return { items, selected: state.next, next: state.next + files.length }
}

/** The same file as a new item in the same place: an answer to the old one finds nobody. */
function again(state: State, { id, model }: Extract<Action, { type: 'again' }>): State {
  const items = state.items.map((item): Item => {
    if (item.id !== id) return item
    return { id: state.next, file: item.file, status: 'idle', sent: 0, model, heat: { status: 'idle' } }
  })
  return { items, selected: state.selected === id ? state.next : state.selected, next: state.next + 1 }
}

function keep(state: State, wanted: (item: Item) => boolean): State {
  const items = state.items.filter(wanted)
  const selected = items.some(({ id }) => id === state.selected) ? state.selected : (items[0]?.id ?? null)
  return { ...state, items, selected }
}

function change(state: State, id: number, from: Status[], values: Partial<Item>): State {
  if (!state.items.some((item) => item.id === id && from.includes(item.status))) return state
  return { ...state, items: state.items.map((item) => (item.id === id ? { ...item, ...values } : item)) }
}

function changeHeat(state: State, id: number, heat: Heat): State {
  const item = state.items.find((item) => item.id === id)
  return item?.heat.status === 'analysing' ? change(state, id, ['result'], { heat }) : state
}
