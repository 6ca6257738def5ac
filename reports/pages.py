"""One page from what evaluations found: Markdown, and the same as HTML with its pictures inside. Knows no network.

found = gather(Path("results"))          # every evaluation below a folder
write(found, Path("results"))            # report.md and report.html
"""

import base64
import html
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote

from markdown_it import MarkdownIt

from evaluation import record
from files import write_atomically
from names import CLASSES, FAKE, REAL
from reports.tables import to_markdown

IN_DOMAIN, FOREIGN = "in-domain", "foreign"
PICTURES = {
    "confusion_matrix.png": "Confusion matrix at the stored threshold",
    "roc.png": "ROC curve",
    "precision_recall.png": "Precision and recall",
    "reliability.png": "Reliability: does a score mean what it says?",
    "scores.png": "Scores of each class",
    "sources.png": "Accuracy of each class and source",
    "robustness.png": "Robustness",
    "curves.png": "Training",
}
# Rows of the tables of models: heading -> the number, and whether an interval belongs beside it.
TELLS_APART = {
    "accuracy": "accuracy", "balanced accuracy": "balanced_accuracy", "precision": "precision",
    "recall of Fake": "recall", "recall of Real": "recall_real", "F1": "f1", "AUC": "auc", "AP": "ap", "EER": "eer",
    "recall at FPR 1 %": "recall_at_fpr_1", "at FPR 5 %": "recall_at_fpr_5",
}  # fmt: skip
MEANS = {
    "calibration error (ECE)": "ece", "Brier (MSE)": "brier", "RMSE": "rmse", "log loss": "log_loss",
    "Unsure": "unsure", "accuracy without Unsure": "accuracy_sure", "called Fake of Fake": "found",
    "called Fake of Real": "false_alarms",
}  # fmt: skip
BRIEF = {"balanced accuracy": "balanced_accuracy", "AUC": "auc", "recall of Fake": "recall",
         "recall of Real": "recall_real", "called Fake of Fake": "found", "called Fake of Real": "false_alarms",
         "ECE": "ece", "Unsure": "unsure"}  # fmt: skip
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: .875rem; margin: 1rem 0 }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid #8886; font-variant-numeric: tabular-nums }
th, td { white-space: nowrap }
img { max-width: 100%; max-height: 26rem; background: #fff; border-radius: 4px; margin: .25rem }
img[alt=Robustness], img[alt=Training] { max-height: none; width: 100% }
h2 { border-top: 1px solid #8886; padding-top: 1.5rem; margin-top: 2.5rem }
"""


@dataclass(frozen=True)
class Found:
    """What an evaluation wrote of one model on one set of images."""

    name: str  # of the model
    folder: Path
    facts: dict  # metrics.json, as eval.py writes it
    stress: dict | None  # stress.json

    @property
    def set_name(self) -> str:
        return self.facts["data"]["name"]

    @property
    def role(self) -> str:
        return self.facts["data"]["role"]


def gather(root: Path) -> list[Found]:
    """Every metrics.json of eval.py below a folder, in-domain before foreign sets, sorted. Others are passed over."""
    read = {path: read_json(path) for path in sorted(root.rglob("metrics.json"))}
    wanted = (record.FORMAT, record.VERSION)
    known = {
        path: facts for path, facts in read.items() if facts and (facts.get("format"), facts.get("version")) == wanted
    }
    found = []
    for path, facts in known.items():
        name, digest = (facts["model"][key] for key in ("name", "sha256"))
        if any(other["model"]["name"] == name and other["model"]["sha256"] != digest for other in known.values()):
            name = f"{name} ({digest[:6]})"  # `best` of several runs
        found.append(Found(name, path.parent, facts, read_json(path.parent / "stress.json")))
    return sorted(found, key=lambda one: (one.role != IN_DOMAIN, one.set_name, one.name))


def read_json(path: Path) -> dict | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write(found: list[Found], out: Path) -> None:
    """report.md and report.html in a folder. Raises OSError."""
    text = markdown([escaped(one) for one in found], out)
    write_atomically(out / "report.md", text)
    pictures = {(one.folder / name).resolve() for one in found for name in PICTURES}
    write_atomically(out / "report.html", as_html(text, out, pictures))


def escaped(one: Found) -> Found:
    """The same with names that Markdown takes for text, whatever they are made of."""
    facts, model = one.facts, one.facts["model"]
    plain = {
        key: model[key].replace("`", "'") if model[key] else model[key] for key in ("file", "recipe", "trained_on")
    }
    sources = [row | {"source": as_text(row["source"])} for row in facts["sources"]]
    changed = {"model": model | plain, "sources": sources, "data": facts["data"] | {"name": as_text(one.set_name)}}
    return replace(one, name=as_text(one.name), facts=facts | changed)


def as_text(name: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>~])", r"\\\1", " ".join(name.split()))


def markdown(found: list[Found], out: Path) -> str:
    """The page; its pictures are named relative to the folder `out`."""
    parts = ["# How good these detectors are, and where not", *warnings(found), side_by_side(found)]
    for foreign in sorted({one.set_name for one in found if one.role == FOREIGN}):
        here = [one for one in found if one.role == FOREIGN and one.set_name == foreign]
        parts += [f"## Foreign set: {foreign}", brief(here)]
    parts += [sources_text(found), size_and_speed(found), robustness_table(found)]
    for one in found:
        parts += details(one, out)
    parts.append(HOW_TO_READ)
    return "\n\n".join(part for part in parts if part) + "\n"


HOW_TO_READ = """## How to read this

Fake is the positive class. Accuracy, precision, recall and F1 are at the threshold of one half; none was chosen here.
Images inside the Unsure band are counted there too; "accuracy without Unsure" leaves them out. "Called Fake" counts
verdicts: images that are Unsure are not called Fake. In brackets: 95 % intervals by bootstrap, of images and, where
sub-folders name sources, of whole sources too.
The calibration error (ECE) is that of P(fake) in 15 bins of equal width. A score is no proof, and these numbers say
nothing about images unlike these."""


def warnings(found: list[Found]) -> list[str]:
    """Sentences on models whose numbers flatter them."""
    return [
        f"**{one.name}: these are the images of its {seen} ({one.set_name}); its numbers here flatter it.**"
        for one in found
        if (seen := one.facts["data"]["seen_in_training"])
    ]


def side_by_side(found: list[Found]) -> str:
    """The tables of all models on their in-domain sets."""
    here = [one for one in found if one.role == IN_DOMAIN]
    return "\n\n".join(
        [
            "## Models side by side",
            "How well they tell Fake from Real:",
            table(here, TELLS_APART),
            "What their scores are worth:",
            table(here, MEANS),
        ]
    )


def brief(found: list[Found]) -> str:
    return table(found, BRIEF)


def table(found: list[Found], columns: dict[str, str]) -> str:
    """A row for each model and set: numbers, with intervals where there are any; columns without any are left out."""
    rows = []
    for one in found:
        facts = one.facts["metrics"]
        row = {"model": one.name, "set": one.set_name, "n": facts["n"]}
        rows.append(row | {head: number(one.facts, key) for head, key in columns.items() if facts[key] is not None})
    heads = [head for head in ("model", "set", "n", *columns) if any(head in row for row in rows)]
    return to_markdown(rows, {head: head for head in heads})


def number(facts: dict, name: str) -> str:
    """ "0.912 (0.880 to 0.940)" """
    interval = facts["intervals"].get(name)
    return f"{facts['metrics'][name]:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def share(value: float, low: float | None = None, high: float | None = None) -> str:
    """ "12.3 % (8.0 to 17.1)" """
    return f"{100 * value:.1f} %" + ("" if low is None else f" ({100 * low:.1f} to {100 * high:.1f})")


def source_rows(found: list[Found], of: str) -> list[dict]:
    """Rows of record.of_sources of one class, of every set that a model was judged on; the set names the nameless."""
    return [
        row | {"set": one.set_name, "source": row["source"] or "(all)"}
        for one in found
        for row in one.facts["sources"]
        if row["class"] == of
    ]


def sources_text(found: list[Found]) -> str:
    """For each model: how often photos of each source are called Fake, and fakes of each generator found."""
    parts = ["## By source of photos, and by generator"]
    for name in dict.fromkeys(one.name for one in found):
        mine = [one for one in found if one.name == name]
        for of, head in ((CLASSES[REAL], "Real photos called Fake"), (CLASSES[FAKE], "Fake images called Fake")):
            rows = source_rows(mine, of)
            if rows:
                parts += [f"{name}: {head[0].lower()}{head[1:]}.", to_markdown([
                    {"set": row["set"], "source": row["source"], "n": row["n"],
                     "share": share(row["called_fake"], row["low"], row["high"]), "unsure": share(row["unsure"])}
                    for row in rows
                ], {"set": "set", "source": "source", "n": "n", "share": head, "unsure": "Unsure"})]  # fmt: skip
            parts += [f"**{sentence}**" for sentence in worst_sentences(rows, of)]
    return "\n\n".join(parts)


def worst_sentences(rows: list[dict], of: str) -> list[str]:
    worst = record.worst(rows, of)
    if worst is None:
        return []
    where = worst["set"] if worst["source"] == "(all)" else f"{worst['set']}/{worst['source']}"
    what = "of these photos are called Fake" if of == CLASSES[REAL] else "of these fakes are found"
    of_all = share(worst["called_fake"], worst["low"], worst["high"])
    return [f"The worst {'source of photos' if of == CLASSES[REAL] else 'generator'}: {where}. {of_all} {what}."]


def size_and_speed(found: list[Found]) -> str:
    why = "Judging alone, measured while evaluating: opening images and finding faces are not in it."
    return "\n\n".join(["## Size and speed", size_table(found), why])


def size_table(found: list[Found]) -> str:
    """A row for each model."""
    rows = []
    for one in {one.name: one for one in reversed(found)}.values():
        model, speed = one.facts["model"], one.facts["speed"]
        rate = speed["images_per_second"]
        rows.append(
            {"model": one.name, "arch": model["arch"], "parameters": f"{model['parameters'] / 1e6:.2f} M",
             "file": f"{model['bytes'] / 1e6:.1f} MB", "ms": f"{speed['ms_per_image']:.1f}",
             "rate": "-" if rate is None else f"{rate:.0f}", "device": speed["device"]}
        )  # fmt: skip
    heads = {"model": "model", "arch": "architecture", "parameters": "parameters", "file": "file", "ms": "ms an image",
             "rate": "images a second, in batches", "device": "judged on"}  # fmt: skip
    return to_markdown(sorted(rows, key=lambda row: row["model"]), heads)


def robustness_table(found: list[Found]) -> str:
    """AUC at the severest strength of each corruption, a column a model; and what the re-encode test found."""
    here = [one for one in found if one.stress]
    if not here:
        return ""
    rows: dict[str, dict] = {}
    for one in here:
        for row in one.stress["robustness"]:
            what = row["corruption"] + (f" {row['strength']:g}" if row.get("strength") is not None else "")
            rows.setdefault(what, {"what": what})[label(one, here)] = (
                None if row["auc"] is None else f"{row['auc']:.3f} ({row['auc_low']:.3f} to {row['auc_high']:.3f})"
            )
    names = [label(one, here) for one in here]
    parts = [
        "## Robustness: AUC of changed images",
        to_markdown(list(rows.values()), {"what": "change"} | dict(zip(names, names, strict=True))),
    ]
    parts.append("What the re-encode test found:")
    parts.append("\n".join(f"- {label(one, here)}: {sentence}" for one in here for sentence in one.stress["findings"]))
    return "\n\n".join(parts)


def label(one: Found, among: list[Found]) -> str:
    """A model's name, and the set's where the model stands there more than once."""
    return one.name if [other.name for other in among].count(one.name) == 1 else f"{one.name}, {one.set_name}"


def details(one: Found, out: Path) -> list[str]:
    """A section for one model on one set: what it is, sentences, the classification report, pictures."""
    facts = one.facts
    report = [{"class": name} | {key: f"{value:.3f}" if key != "n" else value for key, value in row.items()}
              for name, row in facts["classification_report"].items()]  # fmt: skip
    columns = ("class", "precision", "recall", "f1", "n")
    parts = [f"## {one.name} on {one.set_name} ({one.role})", *sentences(facts)]
    parts.append(to_markdown(report, dict(zip(columns, ("class", "precision", "recall", "F1", "n"), strict=True))))
    pictures = [(one.folder / name, text) for name, text in PICTURES.items()]
    return [*parts, "\n".join(f"![{text}]({address(path, out)})" for path, text in pictures if path.is_file())]


def sentences(facts: dict) -> list[str]:
    """What the numbers say, in words."""
    model, calibration, ece = facts["model"], facts["calibration"], facts["uncalibrated"]["ece"]
    after, n = facts["metrics"]["ece"], facts["metrics"]["n"]
    told = f"{model['arch']}, recipe `{model['recipe']}`, trained on `{model['trained_on']}`; file `{model['file']}`."
    if model["recipe"] is None:
        told = f"{model['arch']}; file `{model['file']}`."
    lines = [told + f" {n} images: {facts['metrics']['n_real']} Real, {facts['metrics']['n_fake']} Fake."]
    if facts["without_face"]:
        lines.append(
            f"In {len(facts['without_face'])} images no face was found: they are Unsure without a score, a miss in"
            " recall, and outside AUC and calibration error."
        )
    if facts["left_out"]:
        lines.append(
            f"{len(facts['left_out'])} images could not be read and are in no number; metrics.json names them."
        )
    if calibration["fitted_on"] is None:
        lines.append("Its scores are not calibrated (`python -m tools.calibrate`); the threshold is 0.5.")
    else:
        before = interval_text(ece, facts["uncalibrated"]["ece_95"])
        now = interval_text(after, facts["intervals"]["ece"])
        lines.append(
            f"Calibration, chosen on {calibration['n']} images of Validation, takes the calibration error from {before}"
            f" to {now}. Threshold {calibration['threshold']:.3f}; "
            + ("no score is Unsure." if calibration["unsure"] is None
               else "Unsure from {:.3f} to {:.3f}.".format(*calibration["unsure"]))
        )  # fmt: skip
    lines += gap_sentences(facts)
    lines += drawn_sentences(facts)
    if facts.get("stability"):
        lines.append(stability_sentence(facts["stability"]))
    return lines


def interval_text(value: float | None, interval: list | None) -> str:
    if value is None:  # nothing was decided
        return "not known"
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def gap_sentences(facts: dict) -> list[str]:
    if not facts["gap"]:
        return []
    words = {"auc": "AUC", "balanced_accuracy": "balanced accuracy"}
    told = [
        f"{words[name]} {row['validation']:.3f} there, {row['here']:.3f} here" for name, row in facts["gap"].items()
    ]
    return [f"From Validation, where it was chosen, to this set: {'; '.join(told)}."]


def drawn_sentences(facts: dict) -> list[str]:
    """Which images were changed, where it was not all of them."""
    drawn = facts.get("drawn")
    if not drawn or drawn["n"] == drawn["of"]:
        return []
    return [
        f"For robustness and stability {drawn['n']} of the {drawn['of']} images were changed, drawn with seed"
        f" {drawn['seed']}."
    ]


def stability_sentence(stability: dict) -> str:
    return (
        f"Of {stability['n']} verdicts, {share(stability['unstable'], stability['low'], stability['high'])} flip"
        " between Real and Fake when the image is saved again, resized, cropped or mirrored."
    )


def address(path: Path, out: Path) -> str:
    """A file as Markdown takes it: relative to the page's folder."""
    return quote(Path(os.path.relpath(path.resolve(), out.resolve())).as_posix())


def as_html(text: str, out: Path, pictures: set[Path]) -> str:
    """A self-contained page from our Markdown, relative to the folder `out`; of files, only `pictures` come inside."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)  # a model's name is text, not HTML

    def inside(match: re.Match) -> str:
        path = (out / unquote(html.unescape(match[1]))).resolve()
        if path not in pictures:
            return match[0]
        return f'src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"'

    body = re.sub(r'src="([^"]+)"', inside, body)
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>How good these detectors are</title>\n<style>{STYLE}</style>\n{body}</html>\n"
    )
