import { useEffect, useRef, useState } from 'react'
import type { Key } from './strings'

interface Doors {
  onFiles: (files: File[]) => void
  onNotice: (key: Key) => void
}

/** Images dropped anywhere on the page, or pasted. Returns whether files are being dragged over it. */
export function useFiles(doors: Doors): boolean {
  const [dragging, setDragging] = useState(false)
  const latest = useRef(doors)
  useEffect(() => {
    latest.current = doors
  })
  useEffect(() => {
    const listening = new AbortController()
    const on = <Name extends keyof DocumentEventMap>(name: Name, act: (event: DocumentEventMap[Name]) => void) =>
      document.addEventListener(name, act, { signal: listening.signal })

    on('dragover', (event) => {
      if (!event.dataTransfer?.types.includes('Files')) return
      event.preventDefault() // without it the browser opens the file in place of the page
      event.dataTransfer.dropEffect = 'copy'
      setDragging(true)
    })
    on('dragleave', (event) => {
      if (!event.relatedTarget) setDragging(false) // out of the window, not from one element to the next
    })
    on('drop', (event) => {
      setDragging(false)
      if (!event.dataTransfer?.types.includes('Files')) return
      event.preventDefault()
      const { files, folders } = contents(event.dataTransfer)
      if (files.length) latest.current.onFiles(files)
      if (folders) latest.current.onNotice('foldersLeft')
    })
    on('paste', (event) => {
      const files = [...(event.clipboardData?.files ?? [])]
      if (files.length) latest.current.onFiles(files)
      else latest.current.onNotice('clipboardEmpty')
    })
    return () => listening.abort()
  }, [])
  return dragging
}

/** A dropped folder looks like a file that cannot be read; only its entry tells. */
function contents({ items, files }: DataTransfer): { files: File[]; folders: boolean } {
  const folder = [...items].filter((item) => item.kind === 'file').map((item) => item.webkitGetAsEntry()?.isDirectory)
  return { files: [...files].filter((_, place) => !folder[place]), folders: folder.includes(true) }
}
