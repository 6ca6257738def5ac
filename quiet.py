"""What libraries would do behind one's back, and may not: call home, and write to the home folder.

Importing this is enough, before the library is imported: `imaging` and `model`, which everything passes, do so first.
What is kept between runs lies in cache_folder(), and nowhere else.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # onnxruntime since 1.29 else reports to its maker, with a lasting device id
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # huggingface_hub, through which timm fetches weights, adds what runs it
os.environ["DO_NOT_TRACK"] = "1"  # what others ask for


def cache_folder() -> Path:
    """Where indexes of data folders, decoded pictures and matplotlib's list of fonts are kept.

    Below $XDG_CACHE_HOME where that is set, else in results/.cache. It may not exist yet; what is not there is made.
    """
    chosen = os.environ.get("XDG_CACHE_HOME")
    return Path(chosen, "deepfake-detector") if chosen else ROOT / "results" / ".cache"


os.environ.setdefault("MPLCONFIGDIR", str(cache_folder() / "matplotlib"))  # else ~/.config and ~/.cache


def require(*packages: str) -> None:
    """End the program with a sentence where a package is not installed: a traceback says no remedy."""
    for package in packages:
        if find_spec(package) is None:
            missing(package)


def missing(package: str | None) -> NoReturn:
    """What to do about a package that is not there."""
    program = Path(sys.argv[0]).name
    wanted = "deepfake-app/requirements.txt" if program == "server.py" else "requirements.txt"
    beside = ROOT / ".venv/bin/python"
    other = f", or run it with {beside}" if beside.exists() and Path(sys.executable) != beside else ""
    print(
        f"{program}: error: {package} is not installed for {sys.executable}; install it with"
        f" {sys.executable} -m pip install -r {wanted}{other}",
        file=sys.stderr,
    )
    raise SystemExit(1)
