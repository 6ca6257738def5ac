import { useRef } from 'react'
import { useText } from '../language'
import type { Key } from '../strings'

interface Props {
  label: Key
  accept: string
  onFiles: (files: File[]) => void
  quiet?: boolean
}

/** A real button, and the file chooser that it opens. */
export function Choose({ label, accept, onFiles, quiet }: Props) {
  const { t } = useText()
  const input = useRef<HTMLInputElement>(null)
  return (
    <>
      <button type="button" className={quiet ? 'quiet' : 'main'} onClick={() => input.current?.click()}>
        {t(label)}
      </button>
      <input
        ref={input}
        type="file"
        hidden
        multiple
        accept={accept}
        onChange={({ currentTarget }) => {
          onFiles([...(currentTarget.files ?? [])])
          currentTarget.value = '' // so that the same file can be chosen again
        }}
      />
    </>
  )
}
