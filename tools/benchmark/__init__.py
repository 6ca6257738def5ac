"""python -m tools.benchmark: this program against the original one, side by side."""
