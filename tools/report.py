"""Put all evaluations below a folder side by side: one Markdown file and one self-contained HTML file.

    python -m tools.report results/
    python -m tools.report results/reference --readme README.md
    python -m tools.report results/reference --card models/default.onnx

The folder gets report.md and report.html, made from what eval.py wrote below it. With --readme, the part of that file
between the lines `<!-- results -->` and `<!-- /results -->` becomes the tables of all models.

--card makes the card of a model from its file, from the evaluations of that very file, and from data_sets.json beside
it, which says what the data sets are: the part of README.md beside it between `<!-- card -->` and `<!-- /card -->`
(where there are several: `<!-- card default -->` and so on), and default.card.json for default.onnx, which the server
shows.

Exit status: 0 written; 1 a file cannot be read or written, or the card would not be whole or true; 2 usage, or nothing
to report.
"""

import argparse
import json
import sys
from pathlib import Path

from files import write_atomically
from reports import card, card_page, pages


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    root = Path(args.folder)
    if not root.is_dir():
        return fail(2, f"no such folder: {root}")
    found = pages.gather(root)
    if not found:
        return fail(2, f"no evaluation below {root}; python eval.py --models ... --data ... makes one")
    try:
        pages.write(found, root)
        if args.readme:
            fill(Path(args.readme), "results", summary([pages.escaped(one) for one in found], root))
        if args.card:
            write_card(Path(args.card), found, root)
    except OSError as error:
        return fail(1, f"{error.filename or root}: {error.strerror or error}")
    except ValueError as error:
        return fail(1, str(error))
    print(f"{root / 'report.md'}\n{root / 'report.html'}")
    if args.card:
        print(card_of(Path(args.card)))
    return 0


def summary(found: list[pages.Found], root: Path) -> str:
    """The tables of a README: how good on the data of each kind, how foreign, how fast."""
    here, foreign = ([one for one in found if one.role == role] for role in (pages.IN_DOMAIN, pages.FOREIGN))
    command = f"python -m tools.report {root.as_posix()} --readme README.md"
    parts = [f"Made by `{command}`; in brackets, 95 % intervals.", *pages.warnings(found), pages.brief(here)]
    if foreign:
        parts += ["On foreign sets:", pages.brief(foreign)]
    return "\n\n".join([*parts, pages.size_table(found)])


def write_card(path: Path, found: list[pages.Found], root: Path) -> None:
    """The card of a model, for people and for the server, beside it. Raises ValueError, and OSError."""
    known = card.read(path, found)
    readme = path.parent / "README.md"
    own = f"card {path.stem}"  # a folder of several detectors has a place for each
    place = own if f"<!-- {own} -->" in readme.read_text(encoding="utf-8") else "card"
    fill(readme, place, card_page.markdown(known, root))
    write_atomically(
        card_of(path), json.dumps(card.as_json(known), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    )


def card_of(path: Path) -> Path:
    """Where the server looks for the card of a model file."""
    return path.with_suffix(".card.json")


def fill(path: Path, name: str, text: str) -> None:
    """Put a text between the marks of that name in a file. Raises ValueError where it has none, and OSError."""
    marks = f"<!-- {name} -->", f"<!-- /{name} -->"
    whole = path.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise ValueError(f"{path} has no lines {' and '.join(marks)}")
    write_atomically(path, f"{before}{begin}\n{text}\n{end}{after}")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="FOLDER", help="where eval.py wrote: results/, or one evaluation in it")
    parser.add_argument("--readme", metavar="FILE", help="also fill in the tables of this file")
    parser.add_argument("--card", metavar="MODEL", help="also write the card of this model file, beside it")
    return parser.parse_args(argv)


def fail(status: int, message: str) -> int:
    print(f"report: error: {message}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
