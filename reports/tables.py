"""Tables from rows: for a terminal, for Markdown, for programs."""

import csv
import io
from collections.abc import Sequence


def to_csv(rows: Sequence[dict], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({column: "" if row.get(column) is None else row[column] for column in columns} for row in rows)
    return text.getvalue()


def to_text(rows: Sequence[dict], columns: dict[str, str]) -> str:
    """Aligned columns; `columns` maps a row's key to its heading."""
    cells = [list(columns.values()), *([_cell(row.get(key)) for key in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def to_markdown(rows: Sequence[dict], columns: dict[str, str]) -> str:
    lines = [
        list(columns.values()),
        ["---"] * len(columns),
        *([_cell(row.get(key)) for key in columns] for row in rows),
    ]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _cell(value) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
