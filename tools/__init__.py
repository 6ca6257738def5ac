"""Second-line commands, each run as `python -m tools.<name>` from the project's root."""

from quiet import require

require("numpy", "PIL", "torch", "sklearn", "tqdm")
