"""What a machine can measure of the documents: no sentence without end, no line too wide, no link into nothing."""

import importlib
import re
import shlex

import pytest
from conftest import ROOT

PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]
WORDS, WIDTH = 40, 120
GENERATED = re.compile(r"<!-- (\w[\w ]*) -->.*?<!-- /\1 -->", re.DOTALL)  # by tools.report


def text_of(page: str) -> str:
    return GENERATED.sub("", (ROOT / page).read_text())


def without_code(text: str) -> str:
    """The lines, with those of code and tables empty: numbers of lines stay."""
    fenced, lines = False, []
    for line in text.splitlines():
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        lines.append("" if fence or fenced or line.startswith(("|", "#", "<")) else line)
    return "\n".join(lines)


def sentences(text: str) -> list[str]:
    """A list item begins a new one; code counts as one word, a link by its text."""
    found = []
    for paragraph in re.split(r"\n\s*\n|\n\s*(?=(?:[-*]|\d+\.) )", without_code(text)):
        plain = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "CODE", paragraph))
        found += re.split(r"(?<=[.!?:])\s+(?=[A-Z\[`*(])", " ".join(plain.split()))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_no_sentence_is_too_long(page):
    long = [sentence for sentence in sentences(text_of(page)) if len(sentence.split()) > WORDS]
    assert not long, f"{page}: split {long[0]}"


@pytest.mark.parametrize("page", PAGES)
def test_no_line_is_too_wide(page):
    """One that cannot be broken, a long piece of code say, may be."""
    for number, line in enumerate(without_code(text_of(page)).splitlines(), 1):
        fixed = re.sub(r"`[^`]*`|\]\([^)]*\)", lambda found: found.group().replace(" ", "_"), line)
        assert len(line) <= WIDTH or len(fixed.split()) <= 2, f"{page}:{number} is {len(line)} characters wide"


@pytest.mark.parametrize("page", [*PAGES, "models/README.md", "samples/README.md"])
def test_links_lead_somewhere(page):
    text, folder = (ROOT / page).read_text(), (ROOT / page).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, place = target.partition("#")
        other = folder / path if path else ROOT / page
        assert other.exists(), f"{page}: {target}"
        if place:
            headings = re.findall(r"^#+ (.*)$", other.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert place in anchors, f"{page}: {target}"


def printed_commands() -> list[tuple[str, str]]:
    """(page, command) of our programs, in blocks of code outside the log of experiments."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```\w*\n(.*?)```", text_of(page) if "experiments" not in page else "", re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                command = line.split(" #")[0].strip()
                if re.match(r"python (-m tools\.|train\.py|eval\.py|predict\.py|deepfake-app/)", command):
                    found.append((page, command))
    return found


def flags_of(program: str) -> str:
    """The source in which a program's flags stand."""
    if program.startswith("tools."):
        path = ROOT / program.replace(".", "/")
        files = list(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        if program == "tools.transfer":
            files.append(ROOT / "training/flags.py")
    else:
        files = [ROOT / program, *([ROOT / "training/flags.py"] if program == "train.py" else [])]
    return "".join(path.read_text() for path in files)


def test_printed_commands_exist_with_those_flags():
    commands = printed_commands()
    assert len(commands) > 20
    for page, command in commands:
        words = shlex.split(command)
        program = words[2] if words[1] == "-m" else words[1]
        if program.startswith("tools."):
            assert importlib.util.find_spec(program), f"{page}: {command}"
        source = flags_of(program)
        for flag in (word.split("=")[0] for word in words if word.startswith("--") and word != "--help"):
            assert f'"{flag}"' in source, f"{page}: {command}: {flag}"
