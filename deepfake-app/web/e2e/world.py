"""What the browser's tests need: models whose verdicts are known, and images. Run from the project's root.

    PYTHONPATH=. python deepfake-app/web/e2e/world.py FOLDER

The networks are random; an offset to one end of the scale decides what they say. The photograph is NASA's portrait of
Eileen Collins, in the public domain, as scikit-image carries it.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from PIL import Image
from skimage.data import astronaut

import model
from detector.calibration import Calibration
from detector.checkpoint import FORMAT, Metadata, save_checkpoint
from imaging.preprocess import Preprocess
from tools import export

RARE = ((0.0, 1.0), (0.5, 0.05), (0.6, 0.0001))  # a Fake face stands out in any group
ALWAYS = {  # file: what it says of every face
    "a-fake.onnx": Calibration(offset=20.0, rarity=RARE, fitted_on="a made-up set"),
    "b-real.onnx": Calibration(offset=-20.0, rarity=RARE, fitted_on="a made-up set"),
    "c-unsure.onnx": Calibration(unsure=(0.0, 1.0)),
}
CARD = {
    "data": ["None: the weights of this network are random."],
    "metrics": [{"set": "Test", "n": 400, "AUC": 0.5}, {"set": "Face swaps", "n": 200, "AUC": 0.5}],
    "confusion_matrix": {"Real": {"Real": 0, "Fake": 200}, "Fake": {"Real": 0, "Fake": 200}},
    "weak_spots": ["everything"],
}
TRAINING = {
    "arguments": {"recipe": "original"},
    "started": "2026-11-21T11:41:58+00:00",
    "epoch": 8,
    "data": {"Train": {"n": 1400}, "Validation": {"n": 300}},
    "validation": {"val_accuracy": 0.5, "val_precision": 0.5, "val_recall": 1.0, "val_f1": 0.67, "val_auc": 0.5},
}


def main(folder: Path) -> None:
    (folder / "models").mkdir(parents=True)
    (folder / "images").mkdir()
    torch.set_num_threads(1)
    export.IMAGES = 4  # that the two ways are compared on; tests/test_onnx.py compares more
    write_models(folder / "models")
    write_images(folder / "images")


def write_models(folder: Path) -> None:
    proto = exported(folder / "a-fake.onnx")
    for name, calibration in ALWAYS.items():
        save_with(proto, calibration, folder / name)
    (folder / "a-fake.card.json").write_text(json.dumps(CARD))
    del proto.graph.output[1:]  # logits only, as with a dense head: no heat map
    save_with(proto, ALWAYS["a-fake.onnx"], folder / "d-no-heat.onnx")


def exported(path: Path) -> onnx.ModelProto:
    """A random `tiny` that judges faces, as an ONNX file."""
    torch.manual_seed(0)
    network, row = model.create_model("tiny"), model.architecture("tiny")
    with torch.no_grad():  # statistics as after training
        network.train()(torch.randn(8, 3, 64, 64))
    preprocess = Preprocess(64, "resize", row.mean, row.std, frame="face")
    checkpoint = path.with_suffix(".safetensors")
    metadata = Metadata("tiny", preprocess, training=TRAINING)
    save_checkpoint(checkpoint, network.state_dict(), metadata)
    if export.main([str(checkpoint), "--out", str(path)]) != 0:
        raise SystemExit("the export failed")
    checkpoint.unlink()
    return onnx.load(path)


def save_with(proto: onnx.ModelProto, calibration: Calibration, path: Path) -> None:
    """The same network with another calibration."""
    (entry,) = (entry for entry in proto.metadata_props if entry.key == FORMAT)
    entry.value = json.dumps(json.loads(entry.value) | {"calibration": calibration.to_dict()})
    onnx.save(proto, path)


def write_images(folder: Path) -> None:
    portrait = Image.fromarray(astronaut()).crop((0, 0, 512, 400))
    portrait.save(folder / "portrait.jpg", quality=95)
    two = Image.new("RGB", (1024, 400))
    two.paste(portrait, (0, 0))
    two.paste(portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (512, 0))
    two.save(folder / "two faces, one of them mirrored, in a file with a very long name.jpg", quality=92)
    on_its_side = Image.Exif()
    on_its_side[0x0112] = 6
    portrait.rotate(90, expand=True).save(folder / "turned.jpg", exif=on_its_side, quality=95)
    draw = np.random.default_rng(0)
    noise = Image.fromarray(draw.integers(0, 255, (1000, 900, 3), dtype=np.uint8))
    noise.save(folder / "large.png")  # 2.7 MB
    Image.new("RGB", (600, 400), "teal").save(folder / "no-face.png")
    whole = (folder / "portrait.jpg").read_bytes()
    (folder / "damaged.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("this is no image\n")
    (folder / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
    (folder / "eleven-megabytes.jpg").write_bytes(whole + bytes(11 * 2**20))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
