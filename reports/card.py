"""What is known of a detector that ships: its file and its evaluations, and the card that the server shows.

    card = read(Path("models/default.onnx"), pages.gather(Path("results/reference")))
    as_json(card)                 # models/default.card.json
    weak_spots(card)              # sentences: where not to trust it

Every number is read: from the metadata in the model file, and from the metrics.json and stress.json of its evaluations.
What a data set is, and its terms, stand in data_sets.json beside the model. card_page.py makes the page for people.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from dataset import SPLIT_NAMES
from detector import MIN_FACE
from detector.checkpoint import Metadata, ModelError, read_metadata
from evaluation.metrics import proportion_interval
from evaluation.stress import IS_FRAGILE, READS_CODEC
from names import CLASSES, FAKE, REAL
from reports import pages
from reports.pages import FOREIGN, IN_DOMAIN, Found, number, share

DATA_SETS = "data_sets.json"
ABOUT = ("what", "terms", "from")  # texts of one of its entries; "limits" is a list of sentences
PARTS = ("Train", "Validation")
TRAINING = {name for part in PARTS for name in SPLIT_NAMES[part]}  # what folders of these parts are called
SCORES = pages.BRIEF | {"accuracy without Unsure": "accuracy_sure"}
OFTEN, SELDOM = 0.7, 0.3  # shares of the fakes of a kind that are called Fake
ALWAYS = (
    "It knows the traces of the fakes it was trained on. Of other generators and programs a score may mean nothing.",
    "Whoever wants to deceive it may well succeed: changes made for that purpose were not tested.",
    "How it does on people of different age, sex or skin was not measured: the data sets do not say.",
)


class CardError(ValueError):
    """A card that cannot be made; str(error) is a sentence for people."""


@dataclass(frozen=True)
class Card:
    """A model file with all that is known of it."""

    path: Path
    metadata: Metadata
    sha256: str
    found: list[Found]  # its evaluations, in-domain first
    known: dict[str, dict]  # data_sets.json

    def of_training(self, *names: str):
        """What the file says of its training under these names, one below the other; None where it says nothing."""
        value = self.metadata.training
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def by_role(self, role: str) -> list[Found]:
        return [one for one in self.found if one.role == role]

    @property
    def folder(self) -> str:
        """The name of the folder it was trained on."""
        return Path(str(self.of_training("arguments", "data") or "data")).name

    @property
    def trained_on(self) -> list[str]:
        """The data sets of its training images, as data_sets.json calls them."""
        return list(dict.fromkeys(row["data set"] for row in counts(self)))


def read(path: Path, found: list[Found]) -> Card:
    """The card of a model file, with those evaluations that are of this very file. Raises CardError, and OSError."""
    try:
        metadata = read_metadata(path)
    except ModelError as error:
        raise CardError(f"{path}: {error}") from error
    if metadata is None:
        raise CardError(f"{path} holds plain weights, which do not say how they were trained; no card can be made")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    mine = [one for one in found if one.facts["model"]["sha256"] == digest]
    card = Card(path, metadata, digest, mine, read_data_sets(path.parent / DATA_SETS))
    check(card)
    return card


def read_data_sets(path: Path) -> dict[str, dict]:
    """{name: {"what", "terms", "from", "limits"}}. Raises CardError, and OSError."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        whole = all(
            all(isinstance(one[key], str) for key in ABOUT) and isinstance(one.get("limits", []), list)
            for one in known.values()
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CardError(f"{path} must name data sets, each with {', '.join(ABOUT)} ({error!r})") from error
    if not whole:
        raise CardError(f"{path}: {', '.join(ABOUT)} must be texts, limits a list of them")
    return known


def check(card: Card) -> None:
    """Raises CardError where the card would say less than it must, or something false."""
    for part in PARTS:
        if not isinstance(card.of_training("data", part, "n"), int):
            raise CardError(f"{card.path} does not say on how many images it was trained and chosen ({part})")
    if not card.found:
        raise CardError(
            f"no evaluation of {card.path} (SHA-256 {card.sha256[:12]}...) there;"
            f" python eval.py --models {card.path} --data ... makes one"
        )
    names = [one.set_name for one in card.found]
    for one in card.found:
        if names.count(one.set_name) > 1:
            raise CardError(f"{one.set_name} was evaluated more than once; keep one ({one.folder} is one of them)")
        if one.facts["data"]["seen_in_training"] or one.set_name.split("/")[-1].lower() in TRAINING:
            raise CardError(f"{one.set_name} is what it was trained or chosen on; a card needs other images: Test")
    if not isinstance(card.of_training("data", "Train", "sources"), dict):
        return  # of an older file: which data sets it was trained on is not said
    for one in card.found:
        trained = data_set_of(card, one) in card.trained_on
        if trained and one.role == FOREIGN:
            raise CardError(f"{one.set_name} is not foreign: the detector was trained on it; evaluate it with --data")
        if data_set_of(card, one) and not trained and one.role == IN_DOMAIN:
            raise CardError(f"{one.set_name} is foreign: the detector was not trained on it; evaluate it with --extra")


def data_set_of(card: Card, one: Found) -> str | None:
    """The entry of data_sets.json that a set belongs to by its name: dfdc for dfdc/Test."""
    return next((part for part in one.set_name.split("/") if part in card.known), None)


def counts(card: Card) -> list[dict]:
    """A row for each split and data set of training: how many images of each class, or None where that is not known."""
    rows: dict[tuple, dict] = {}
    for part in PARTS:
        sources = card.of_training("data", part, "sources")
        if not isinstance(sources, dict):
            rows[part, None] = {
                "split": part,
                "data set": named(card, ""),
                "images": card.of_training("data", part, "n"),
            }
            continue
        for source, n in sources.items():
            label, _, name = source.partition("/")
            if label not in CLASSES or not isinstance(n, int):
                raise CardError(f"{card.path}: its counts of training images cannot be read ({source!r}: {n!r})")
            where = named(card, name)
            row = rows.setdefault((part, where), {"split": part, "data set": where, **dict.fromkeys(CLASSES, 0)})
            row[label] += n
            row["images"] = row.get("images", 0) + n
    return list(rows.values())


def named(card: Card, source: str) -> str:
    """A source of training images as data_sets.json calls it: by its own name, its folder's, or that of its set."""
    for name in (source, card.folder):
        if name in card.known:
            return name
    for name, about in card.known.items():
        if source in about.get("sources", []):
            return name
    raise CardError(
        f"{card.path.parent / DATA_SETS} says nothing of {source or card.folder}, which {card.path} was trained on; add"
        f" {', '.join(ABOUT)}"
    )


def as_json(card: Card) -> dict:
    """What the server passes on to its page: date, data, metrics, confusion_matrix, weak_spots."""
    several = len(card.by_role(IN_DOMAIN)) > 1
    matrix = {
        f"{label} ({one.set_name})" if several else label: dict(zip(CLASSES, row, strict=True))
        for one in card.by_role(IN_DOMAIN)
        for label, row in zip(CLASSES, one.facts["confusion_matrix"], strict=True)
    }
    date = card.of_training("started")
    return {
        "date": date if isinstance(date, str) else None,
        "data": ["For research and evaluation only.", *data_sentences(card)],
        "metrics": score_rows(card.found),
        "confusion_matrix": matrix,
        "weak_spots": weak_spots(card),
    }


def score_rows(found: list[Found]) -> list[dict]:
    """A row for each set: its name, role and n, and SCORES with intervals as texts; None where one is not defined."""
    return [
        {"set": one.set_name, "kind": one.role, "n": one.facts["metrics"]["n"]}
        | {head: None if one.facts["metrics"][key] is None else number(one.facts, key) for head, key in SCORES.items()}
        for one in found
    ]


def found_of_kinds(card: Card) -> list[str]:
    """A sentence for each kind of fakes that it was judged on: found often, sometimes or not.

    By the share that is called Fake: "often" where its interval lies above OFTEN, "not" where it lies below SELDOM.
    """
    lines = []
    for one in card.found:
        about = card.known.get(data_set_of(card, one) or "", {}).get("kinds", {})
        for row in one.facts["sources"]:
            if row["class"] != CLASSES[FAKE]:
                continue
            kind = about.get(row["source"], f"{one.set_name}, {row['source']}" if row["source"] else one.set_name)
            often = row["low"] > OFTEN
            word = "found often" if often else "not found" if row["high"] < SELDOM else "found sometimes"
            real = max(0.0, 1 - row["called_fake"] - row["unsure"])
            told = share(row["called_fake"], row["low"], row["high"])
            lines.append(
                f"{kind[0].upper()}{kind[1:]}: {word}. Of {row['n']:,}, {told} are called Fake,"
                f" {share(row['unsure'])} Unsure, {share(real)} Real."
            )
    return lines


def of_left_out(card: Card) -> list[str]:
    """What detectors trained likewise, but without one kind, said of that kind: as a kind that is new to this one."""
    told = card.of_training("left_out")
    if not isinstance(told, dict):
        return []
    rows = [row for row in told.values() if isinstance(row, dict) and isinstance(row.get("confident_mistakes"), float)]
    if not rows:
        return []
    mean = sum(row["confident_mistakes"] for row in rows) / len(rows)
    each = ", ".join(f"{name} {share(row['confident_mistakes'])} of {row['n']}" for name, row in told.items())
    joined = " Of its parts the first alone was trained anew for this." if card.of_training("joined") else ""
    return [
        "Fakes of a kind that it was not shown may get a very low score. Where one kind was left out of training,"
        f" {share(mean)} of it on average scored below 0.1: {each}.{joined}"
    ]


def data_sentences(card: Card) -> list[str]:
    lines = []
    for name in card.trained_on:
        rows = [row for row in counts(card) if row["data set"] == name]
        told = [f"{row['images']:,} images for {row['split']}" for row in rows]
        lines.append(f"{name}: {card.known[name]['what']}. {' and '.join(told)}. Terms: {card.known[name]['terms']}.")
    return lines


def weak_spots(card: Card) -> list[str]:
    """Sentences on where not to trust it: from its numbers, then what holds for any such detector."""
    lines = [sentence for one in card.found for sentence in (*of_set(card, one), *of_changes(one))]
    for role, kind in ((IN_DOMAIN, "sets like its training images"), (FOREIGN, "foreign sets")):
        for label in CLASSES:
            rows = pages.source_rows(card.by_role(role), label)
            lines += [
                f"On {kind}, {sentence[0].lower()}{sentence[1:]}" for sentence in pages.worst_sentences(rows, label)
            ]
    sets = [*card.trained_on, *(data_set_of(card, one) for one in card.found)]
    for name in dict.fromkeys(name for name in sets if name):
        lines += [f"{name}: {sentence}" for sentence in card.known[name].get("limits", [])]
    seldom = [sentence for sentence in found_of_kinds(card) if ": found often." not in sentence]
    return [*seldom, *lines, *of_left_out(card), *of_input(card), *ALWAYS]


def of_set(card: Card, one: Found) -> list[str]:
    """What its numbers on a set warn of: errors of each kind, chance, scores that mean less."""
    facts, wrong = one.facts, []
    for label, called in ((REAL, FAKE), (FAKE, REAL)):
        row = facts["confusion_matrix"][label]
        if n := sum(row):
            told = share(row[called] / n, *proportion_interval(row[called], n))
            wrong.append(f"{told} of {n:,} {CLASSES[label]} images are called {CLASSES[called]}")
    unsure = f"; {share(facts['metrics']['unsure'])} of all are Unsure" if facts["metrics"]["unsure"] else ""
    lines = [f"{one.set_name}: {', '.join(wrong)}{unsure}.", *chance(one)]
    before, limits = card.of_training("calibrated", "ece"), facts["intervals"]["ece"]
    if isinstance(before, float) and limits and limits[0] > before:
        lines.append(
            f"{one.set_name}: a score means less than on Validation; its calibration error is {number(facts, 'ece')},"
            f" there {before:.3f}."
        )
    if facts["without_face"]:
        lines.append(
            f"{one.set_name}: no face was found in {len(facts['without_face']):,} of {facts['metrics']['n']:,} images."
        )
    return lines


def chance(one: Found) -> list[str]:
    """Whether it is no better than a coin, in how its scores are ordered or at its threshold."""
    words = {
        "auc": ("its scores tell Fake from Real", "AUC"),
        "balanced_accuracy": ("its threshold does", "balanced accuracy"),
    }
    for name, (what, word) in words.items():
        limits = one.facts["intervals"][name]
        if limits and limits[0] <= 0.5:
            how = "worse than chance" if limits[1] < 0.5 else "no better than chance"
            return [f"{one.set_name}: {what} {how} there; {word} {number(one.facts, name)}."]
    return []


def of_changes(one: Found) -> list[str]:
    """What harms it most, whether it reads the codec or is fragile, how many verdicts flip; where it was tested."""
    stability = one.facts["stability"]
    lines = [pages.stability_sentence(stability)] if stability and stability["unstable"] else []
    if one.stress:
        rows = worst_changes(one)
        if len(rows) > 1 and rows[1]["auc"] < rows[0]["auc"]:
            untouched, worst = rows[:2]
            lines.append(
                f"the change that harms most is {change(worst)}: AUC {auc(worst)}, untouched {auc(untouched)}."
            )
        for what in (READS_CODEC, IS_FRAGILE):
            lines += [told for told in one.stress["findings"] if told.startswith(what) and ": not found" not in told]
    return [f"{one.set_name}: {line}" for line in lines]


def worst_changes(one: Found) -> list[dict]:
    """Rows of stress.json: the untouched images, then each corruption where AUC is lowest, the worst first.

    None where there is no AUC.
    """
    rows = [row for row in one.stress["robustness"] if row["auc"] is not None]
    worst = {}
    for row in sorted(rows[1:], key=lambda row: -row["auc"]):
        worst[row["corruption"]] = row
    return rows[:1] + sorted(worst.values(), key=lambda row: row["auc"])


def change(row: dict) -> str:
    """ "jpeg at 30 (quality)" """
    return row["corruption"] + (f" at {row['strength']:g} ({row['unit']})" if row.get("strength") is not None else "")


def auc(row: dict) -> str:
    return pages.interval_text(row["auc"], [row["auc_low"], row["auc_high"]])


def of_input(card: Card) -> list[str]:
    preprocess = card.metadata.preprocess
    if preprocess.frame == "face":
        return [
            f"Faces smaller than {MIN_FACE} pixels are not judged: Unsure, without a score. So is a picture in which no"
            " face is found, whatever its size."
        ]
    if preprocess.fit == "crop":
        return ["It judges the centre of a picture as it is, and does not look for faces: give it crops of faces."]
    return ["It judges a whole picture, squeezed to its input, and does not look for faces: give it crops of faces."]
