"""Files and folders that are written whole, or found out to be impossible before any work is done."""

import contextlib
import os
import tempfile
from pathlib import Path


def write_atomically(path: str | os.PathLike, data: bytes | str) -> None:
    """Write a file whole or not at all; text as UTF-8, names that are no text escaped. Raises OSError."""
    path = Path(path)
    data = data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)  # a temporary file is the owner's alone; a result is for everyone
            os.replace(file.name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(file.name)
            raise


def make_folder(out: Path, *, room: int = 2**16) -> None:
    """Make an output folder, and write so many bytes to it: one that fails does so before the work. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    probe = out / "write-test"
    write_atomically(probe, bytes(room))
    probe.unlink()


def make_empty_folder(out: Path, *, overwrite: bool) -> None:
    """The same, of a folder that is empty or may be overwritten. Raises FileExistsError."""
    if not overwrite and out.is_dir() and any(out.iterdir()):
        raise FileExistsError(17, "not empty", str(out))
    make_folder(out)
