"""The model card for people: a part of models/README.md, from what card.py knows. Each number is read, none is typed.

markdown(card, Path("results/reference"))    # Markdown, headings from the third level on
"""

import hashlib
import shlex
from dataclasses import replace
from pathlib import Path

from detector.checkpoint import read_metadata
from names import CLASSES
from reports import pages
from reports.card import (
    ABOUT,
    PARTS,
    SCORES,
    Card,
    CardError,
    auc,
    change,
    counts,
    data_set_of,
    found_of_kinds,
    score_rows,
    weak_spots,
    worst_changes,
)
from reports.pages import FOREIGN, IN_DOMAIN, as_text, share
from reports.tables import to_markdown

USES = """For research on detecting deepfakes and for evaluating detectors. Its score may be one hint among several to a
person who looks at the picture, knows where it comes from, and has read the numbers below."""
NEVER = """- Deciding anything about a person: work, credit, admission, insurance, accusation, punishment.
- Evidence, in a court or elsewhere. A score is no proof, in either direction.
- Removing, marking or ranking pictures without a person who looks at each.
- Finding out who someone is, or whether two pictures show the same person. It knows no one.
- Pictures of other kinds than those it was trained on: scenes, drawings, documents, medical pictures, video as a whole.
- Proving that a picture is genuine. Real means that it has found none of the traces it knows."""
# Arguments of train.py that decide where and how fast, not what.
ELSEWHERE = {
    "out", "overwrite", "resume", "save_every", "keep_epochs", "seeds", "cache", "workers", "device", "threads",
    "compile", "tensorboard", "strict", "split_seed",
}  # fmt: skip
FLAGS = {"learning_rate": "lr", "crops": "crop"}  # where a flag is called otherwise than its argument


def markdown(card: Card, root: Path) -> str:
    """The card as a part of a page, headings from the third level on; root: the folder of the evaluations."""
    parts = [
        f"Made by `python -m tools.report {root.as_posix()} --card {card.path.as_posix()}`;"
        " in brackets, 95 % intervals.",
        *what_it_is(card),
        "**Research and evaluation use.** " + " ".join(USES.split()),
        "### What it must not be used for", NEVER,
        "### Data", *data_text(card),
        "### Protocol and operating points", *protocol(card, root),
        "### What it finds", bullets(found_of_kinds(card)),
        "### How good", *scores_text(card),
        "### Changed pictures", *changes_text(card),
        "### Speed", pages.size_table([pages.escaped(card.found[0])]),
        "Judging alone: opening pictures and finding faces are not in it.",
        "### Where it fails", bullets(weak_spots(card)),
        "### Making it again", *again(card),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def what_it_is(card: Card) -> list[str]:
    preprocess, model = card.metadata.preprocess, card.found[0].facts["model"]
    upright = ", turned upright" if preprocess.upright else ""
    frame = f"the square around each face{upright}" if preprocess.frame == "face" else "the picture as one"
    turned = ", and in the mirror," if preprocess.mirror else ","
    told = (
        f"`{card.path.stem}` is a `{model['arch']}` with {model['parameters'] / 1e6:.2f} M parameters. It"
        f" judges {frame}, at {preprocess.size} x {preprocess.size} pixels{turned} and gives P(fake), from 0 to 1, and"
        " a verdict: Real, Fake or Unsure."
    )
    return [told, to_markdown(files(card), {"file": "file", "size": "size", "sha256": "SHA-256"})]


def files(card: Card) -> list[dict]:
    """The model's file, and the same detector beside it in the other format. Raises CardError if it is another one."""
    rows = [{"file": f"`{card.path.name}`", "size": size(card.path), "sha256": f"`{card.sha256}`"}]
    for suffix in {".onnx", ".safetensors"} - {card.path.suffix}:
        other = card.path.with_suffix(suffix)
        if other.is_file():
            if read_metadata(other) != card.metadata:
                raise CardError(f"{other} is another detector than {card.path}; export it again, or remove it")
            with other.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            rows.append({"file": f"`{other.name}`", "size": size(other), "sha256": f"`{digest}`"})
    return rows


def size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


def data_text(card: Card) -> list[str]:
    """What each data set is and its terms, and how many images of each there were in training."""
    sets = dict.fromkeys([*card.trained_on, *(data_set_of(card, one) for one in card.found)])
    about = [
        {"set": as_text(name), "used": "training" if name in card.trained_on else "evaluation only"}
        | {key: as_text(card.known[name][key]) for key in ABOUT}
        for name in sets
        if name
    ]
    rows = [row | {"data set": as_text(row["data set"]), "images": f"{row['images']:,}"} for row in counts(card)]
    heads = ("split", "data set", *(name for name in CLASSES if any(name in row for row in rows)), "images")
    parts = [
        to_markdown(about, {"set": "data set", "used": "for", "what": "what", "terms": "terms", "from": "from"}),
        to_markdown(rows, dict(zip(heads, heads, strict=True))),
    ]
    for part in PARTS:
        facts = card.of_training("data", part)
        if facts.get("left_out"):
            parts.append(f"{part}: {facts['left_out']:,} images could not be read and were left out.")
        if facts.get("without_face"):
            parts.append(f"{part}: in {facts['without_face']:,} images no face was found; they took no part.")
    digests = [f"{part} `{card.of_training('data', part, 'digest')}`" for part in PARTS]
    return [*parts, f"Digests: {', '.join(digests)}. None of these images is part of this repository."]


def protocol(card: Card, root: Path) -> list[str]:
    """What chose what, and the thresholds that came of it."""
    calibration, epoch = card.metadata.calibration, card.of_training("epoch")
    chosen = [f"the epoch (number {epoch}, by AUC)"] if isinstance(epoch, int) else []
    if calibration.fitted_on == card.of_training("data", "Validation", "digest"):
        chosen += ["temperature and offset of the scores", "the thresholds", "the Unsure band"]
    lines = ["Train fits the weights." + (f" Validation chose {', '.join(chosen)}." if chosen else "")]
    elsewhere = card.of_training("calibrated_on", "sources")
    if isinstance(elsewhere, dict) and calibration.fitted_on != card.of_training("data", "Validation", "digest"):
        listed = ", ".join(f"{n:,} {source}" for source, n in elsewhere.items())
        lines[0] += f" Scores, thresholds and the Unsure band were chosen on Validation images too: {listed}."
    lines[0] += (
        " Test takes no part in that: `train.py` and `tools.calibrate` choose nothing on a folder of that name."
        " `eval.py` judged each set below with what the file stores; of each there is one evaluation below"
        f" `{root.as_posix()}`."
    )
    if calibration.fitted_on is None:
        return [*lines, f"{'; '.join(calibration.notes()).capitalize()}."]
    found = card.of_training("calibrated") or {}
    rows = [("threshold", calibration.threshold, "recall")]
    rows += [
        (
            f"with {percent} % of Real called Fake",
            getattr(calibration, f"threshold_fpr_{percent}"),
            f"recall_at_fpr_{percent}",
        )
        for percent in (5, 1)
    ]
    table = [
        {
            "point": what,
            "score": f"{score:.3f}",
            "finds": share(found[key]) if isinstance(found.get(key), float) else None,
        }
        for what, score, key in rows
        if score is not None
    ]
    if calibration.band:
        low, high = calibration.band
        table.insert(1, {"point": "Unsure band", "score": f"{low:.3f} to {high:.3f}"})
        if isinstance(found.get("unsure"), float):
            table[1]["finds"] = f"{share(found['unsure'])} of all images are Unsure"
    heads = {"point": "operating point", "score": "score", "finds": "fakes found on Validation"}
    told = (
        "A score inside the band is Unsure. Below the band it is Real, above it Fake. A score is the probability of"
        " Fake where half of the pictures are fake, so one half divides them. A picture of several faces is Fake only"
        " if its highest score is as rare among so many genuine faces as Fake is for one."
    )
    return [
        *lines,
        to_markdown(table, heads),
        told + " The last rows are for whoever reads scores and fears a false alarm.",
    ]


def scores_text(card: Card) -> list[str]:
    """The numbers of each set, those of Validation, and the sources of sets that have any."""
    parts = []
    for role, head in ((IN_DOMAIN, "On sets like its training images:"), (FOREIGN, "On foreign sets:")):
        rows = [row | {"set": as_text(row["set"])} for row in score_rows(card.by_role(role))]
        heads = [name for name in ("set", "n", *SCORES) if any(row[name] is not None for row in rows)]
        parts += [head, to_markdown(rows, dict(zip(heads, heads, strict=True)))] if rows else []
    before = card.of_training("calibrated")
    if isinstance(before, dict):
        told = [f"{head} {before[key]:.3f}" for head, key in SCORES.items() if isinstance(before.get(key), float)]
        parts.append(f"Validation chose it and so flatters it (n = {before.get('n')}). There: {'; '.join(told)}.")
    rows = [
        {"set": as_text(row["set"]), "class": row["class"], "source": as_text(row["source"]), "n": row["n"],
         "called": share(row["called_fake"], row["low"], row["high"]), "unsure": share(row["unsure"])}
        for one in card.found
        if one.facts["clustered_by_source"]
        for label in CLASSES
        for row in pages.source_rows([one], label)
    ]  # fmt: skip
    if rows:
        heads = {
            "set": "set",
            "class": "class",
            "source": "source",
            "n": "n",
            "called": "called Fake",
            "unsure": "Unsure",
        }
        parts += ["By source:", to_markdown(rows, heads)]
    return parts


def changes_text(card: Card) -> list[str]:
    """For each set that was stressed: pictures saved again, each corruption at its worst, and what was found."""
    parts = []
    for one in card.found:
        name = as_text(one.set_name)
        parts += [f"{name}: {sentence}" for sentence in pages.drawn_sentences(one.facts)]
        if one.stress:
            untouched, *corrupted = worst_changes(one) or [None]
            saved = [row for row in one.stress["reencode"] if row["saved_again"] == "both" and row["auc"] is not None]
            saved = [row | {"corruption": f"both classes saved again as {row['as']}"} for row in saved]
            rows = [
                {"change": change(row), "auc": auc(row), "real": recall(row, "real"), "fake": recall(row, "fake")}
                for row in (untouched, *saved, *corrupted)
                if row
            ]
            heads = {"change": "change", "auc": "AUC", "real": "recall of Real", "fake": "recall of Fake"}
            parts.append(f"{name}; of changes with a strength, the one where AUC is lowest:")
            parts += [to_markdown(rows, heads), bullets(one.stress["findings"])]
        if one.facts["stability"]:
            parts.append(f"{name}: {pages.stability_sentence(one.facts['stability'])}")
    return parts or ["Not measured."]


def bullets(sentences: list[str]) -> str:
    return "\n".join(f"- {as_text(sentence)}" for sentence in sentences)


def recall(row: dict, name: str) -> str:
    return share(row[f"recall_{name}"], row[f"recall_{name}_low"], row[f"recall_{name}_high"])


def again(card: Card) -> list[str]:
    """The commands that make and judge such a detector, and with what this one was made."""
    run, steps = f"results/{card.path.stem}", card.of_training("steps")
    if isinstance(steps, list):  # several runs, each from the last one's weights
        return ["```\n" + "\n".join([*map(str, steps), evaluation_command(card)]) + "\n```", *this_one(card)]
    parts = card.of_training("joined")
    if isinstance(parts, list):
        return joined_again(card, parts)
    lines, checkpoint = [f"{training_command(card)} --out {run}"], f"{run}/best.safetensors"
    preprocess = card.metadata.preprocess
    ways = [way for way in ("mirror", "upright") if getattr(preprocess, way) and not card.of_training("arguments", way)]
    if ways:  # it was made to afterwards
        data = shlex.quote(Path(card.of_training("arguments", "data") or "data").name)
        lines.append(" ".join([f"python -m tools.calibrate {checkpoint} --data {data}", *(f"--{way}" for way in ways)]))
        checkpoint = f"{run}/best_calibrated.safetensors"
    if card.path.suffix == ".onnx":
        lines.append(f"python -m tools.export {checkpoint} --out {shlex.quote(card.path.as_posix())}")
    lines.append(evaluation_command(card))
    return ["```\n" + "\n".join(lines) + "\n```", *this_one(card)]


def joined_again(card: Card, parts: list[dict]) -> list[str]:
    """The same for several detectors as one network (tools.join): each of them, then how they are joined."""
    names, weights, lines = [], [], []
    for number, part in enumerate(parts, 1):
        own = replace(card, metadata=replace(card.metadata, training=part["training"]))
        steps = own.of_training("steps")
        run = f"results/{card.path.stem}_{number}"
        lines += map(str, steps) if isinstance(steps, list) else [f"{training_command(own)} --out {run}"]
        names.append(f"{run}/best.safetensors")
        weights.append(f"{part['weight']:.4g}")
    joined = f"results/{card.path.stem}.safetensors"
    lines.append(f"python -m tools.join {' '.join(names)} --weights {','.join(weights)} --out {joined}")
    lines.append(f"python -m tools.export {joined} --small --out {shlex.quote(card.path.as_posix())}")
    lines.append(f"python -m tools.calibrate {shlex.quote(card.path.as_posix())} --data {card.folder} --balance root")
    return ["```\n" + "\n".join([*lines, evaluation_command(card)]) + "\n```", *this_one(card)]


def this_one(card: Card) -> list[str]:
    """When and on what it was made."""
    facts = {name: card.of_training(name) for name in ("started", "device", "precision", "git_commit")}
    told = [f"{name.replace('_', ' ')} `{value}`" for name, value in facts.items() if isinstance(value, str)]
    start = card.of_training("settings", "pretrained")
    if isinstance(start, str):
        told.append(f"weights to start from `{start}`" + (" (SHA-256)" if len(start) == 64 else ""))
    if str(facts["git_commit"]).endswith("+"):
        told.append("the + says that the code had changes which were not committed")
    versions = card.of_training("versions")
    if isinstance(versions, dict):
        told.append("versions " + ", ".join(f"{name} {value}" for name, value in versions.items()))
    return [f"This one: {'; '.join(told)}."] if told else []


def training_command(card: Card) -> str:
    """train.py with the arguments that decide on the result; of files and folders, the names alone."""
    arguments = dict(card.of_training("arguments") or {})
    arguments["head"] = card.of_training("settings", "head", "hidden")
    processes = card.of_training("processes")
    several = isinstance(processes, int) and processes > 1
    words = ["torchrun", "--nproc-per-node", str(processes), "train.py"] if several else ["python", "train.py"]
    for name, value in arguments.items():
        if not value or value == "auto" or name in ELSEWHERE:
            continue
        for one in value if isinstance(value, list) else [value]:
            words.append(f"--{FLAGS.get(name, name).replace('_', '-')}")
            words += [] if one is True else [shlex.quote(Path(one).name if isinstance(one, str) else str(one))]
    return " ".join(words)


def evaluation_command(card: Card) -> str:
    words = ["python", "eval.py", "--models", card.path.as_posix()]
    for one in card.found:
        words += ["--data", one.set_name] if one.role == IN_DOMAIN else ["--extra", f"{one.set_name}={one.set_name}"]
    stressed = [one.set_name for one in card.found if one.stress]
    words += ["--robustness", *stressed] if stressed else []
    words += ["--stability"] if any(one.facts["stability"] for one in card.found) else []
    return " ".join(map(shlex.quote, words))
