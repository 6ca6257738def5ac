"""Which images of a data folder a detector may be calibrated on."""

import sys
from pathlib import Path

import dataset
from detector import Detector
from evaluation import record


def validation_images(data: Path, detector: Detector) -> dataset.Index:
    """Validation images. Raises DatasetError on a Test split, and on the images that the detector was trained on."""
    folders = dataset.split_folders(data)
    if folders and "Validation" not in folders:
        raise dataset.DatasetError(f"no Validation/ in {data}; nothing is chosen on another split")
    folder = folders.get("Validation", data)
    if folder.resolve().name.lower() in dataset.SPLIT_NAMES["Test"]:
        raise dataset.DatasetError(f"{folder} is a Test split; nothing is chosen on it")
    index = dataset.index_folder(folder)
    if record.digest_of(record.training_facts(detector), "Train") == index.digest:
        raise dataset.DatasetError(f"{folder}: the model was trained on these images; give others")
    if detector.metadata.preprocess.frame == "face":
        index = dataset.with_faces(index)
    print(index.summary(), file=sys.stderr)
    return index
