import { type RefObject, useEffect } from 'react'

/** Once an element appears, it gets the focus, unless somebody is choosing from the list of images. */
export function useFocusUnlessBusy(element: RefObject<HTMLElement | null>): void {
  useEffect(() => {
    if (!document.activeElement?.closest('.rows')) element.current?.focus()
  }, [element])
}
