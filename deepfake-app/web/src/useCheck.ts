import { type Dispatch, useEffect, useReducer } from 'react'
import { ApiError, predict, type Problem } from './api'
import { type Action, currentItem, EMPTY, type Item, reduce, type State } from './check'
import { refused } from './useServer'

/** The state of the check, and the requests that drive it. */
export function useCheck(): [State, Dispatch<Action>] {
  const [state, dispatch] = useReducer(reduce, EMPTY)
  useRequest(currentItem(state), dispatch, judge)
  useRequest(state.items.find(({ heat }) => heat.status === 'analysing'), dispatch, explain)
  return [state, dispatch]
}

type Request = (item: Item, dispatch: Dispatch<Action>, signal: AbortSignal) => Promise<void>

/** One request for each item, aborted as soon as another item, or none, takes its place. */
function useRequest(item: Item | undefined, dispatch: Dispatch<Action>, request: Request): void {
  useEffect(() => {
    if (!item) return
    const abort = new AbortController()
    void request(item, dispatch, abort.signal)
    return () => abort.abort()
    // Its id stands for the item: progress is no reason to begin again.
  }, [item?.id, dispatch, request])
}

async function judge({ id, file, model }: Item, dispatch: Dispatch<Action>, signal: AbortSignal): Promise<void> {
  dispatch({ type: 'started', id })
  const problem = await refused(file)
  if (signal.aborted) return
  if (problem) return dispatch({ type: 'failed', id, problem })
  try {
    const answer = await predict(file, { model, signal, onSent: (part) => dispatch({ type: 'sent', id, part }) })
    dispatch({ type: 'answered', id, answer })
  } catch (error) {
    if (!signal.aborted) dispatch({ type: 'failed', id, problem: asProblem(error) })
  }
}

async function explain({ id, file, model }: Item, dispatch: Dispatch<Action>, signal: AbortSignal): Promise<void> {
  try {
    dispatch({ type: 'heat-answered', id, answer: await predict(file, { model, explain: true, signal }) })
  } catch (error) {
    if (!signal.aborted) dispatch({ type: 'heat-failed', id, problem: asProblem(error) })
  }
}

function asProblem(error: unknown): Problem {
  if (error instanceof ApiError) return error
  throw error
}
