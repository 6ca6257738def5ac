"""Second-line commands, each run as `python -m tools.<name>` from the project's root."""
