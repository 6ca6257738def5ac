"""Which images of a data folder a detector may be judged or calibrated on. Every program asks here.

A detector is judged on Test, and calibrated on Validation: of a folder with splits, on that one; of a folder without,
on all of it, unless training split the very folder, by class and source: then on the tenth that it left for each.
"""

from collections.abc import Iterable
from pathlib import Path

import dataset
import indexing
from detector import Detector
from evaluation import record
from indexing import DatasetError, Index
from progress import say


def images_to_judge(data: Path, detectors: Iterable[Detector], *, strict: bool = False) -> Index:
    """The images to judge these detectors on, with their faces where one frames them. Raises DatasetError."""
    folders, detectors = dataset.split_folders(data), list(detectors)
    if folders and "Test" not in folders:
        raise DatasetError(f"no Test/ in {data}; give the folder to judge, {next(iter(folders.values()))} say")
    index = indexing.index_folder(folders.get("Test", data), strict=strict, both=False)
    return with_faces(part_of_flat(index, detectors, "Test"), detectors)


def validation_images(data: Path, detector: Detector) -> Index:
    """The images to calibrate a detector on, with their faces where it frames them.

    Raises DatasetError on a Test split, and on the images that the detector was trained on.
    """
    folders = dataset.split_folders(data)
    if folders and "Validation" not in folders:
        raise DatasetError(f"no Validation/ in {data}; nothing is chosen on another split")
    folder = folders.get("Validation", data)
    if folder.resolve().name.lower() in dataset.SPLIT_NAMES["Test"]:
        raise DatasetError(f"{folder} is a Test split; nothing is chosen on it")
    index = part_of_flat(indexing.index_folder(folder), [detector], "Validation")
    if record.digest_of(record.training_facts(detector), "Train") == index.digest:
        raise DatasetError(f"{folder}: the model was trained on these images; give others")
    return with_faces(index, [detector])


def part_of_flat(index: Index, detectors: Iterable[Detector], part: str) -> Index:
    """What training left for `part` of a folder without splits, where it split this one; else the index itself."""
    seeds = {
        record.split_seed(detector)
        for detector in detectors
        if record.training_facts(detector).get("flat_digest") == index.digest
    }
    if len(seeds) > 1:
        raise DatasetError(f"these models split {index.root} with different seeds; judge them one at a time")
    if not seeds:
        return index
    say(f"{index.root} was split for training; only the tenth left for {part} is used")
    return dataset.split_flat(index, seeds.pop())[part]


def with_faces(index: Index, detectors: Iterable[Detector]) -> Index:
    """The index, with faces where a detector needs them; says what it holds and what was left out."""
    if any(detector.metadata.preprocess.frame == "face" for detector in detectors):
        index = indexing.with_faces(index)
    say(index.summary())
    if index.left_out:
        say(indexing.list_left_out(index.left_out))
    return index
