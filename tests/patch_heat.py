"""Does the heat lie where the manipulation is? On images with a patch pasted at a known place, for one architecture.

    python tests/patch_heat.py tiny --epochs 12
    python tests/patch_heat.py tf_efficientnet_lite0 --size 160 --epochs 3 --pairs 300 --lr 3e-4 --pretrained FILE
    python tests/patch_heat.py efficientnet_b0 --size 160 --epochs 3 --pairs 400 --lr 2e-3 --noise 60 --out results/b0

Makes the images from photographs that installed packages carry, trains a detector on them with train.py, exports it,
and draws the heat maps of 100 images of photographs that it has not seen, with PyTorch and from the ONNX file. Prints
the share of the heat that lies inside the patch, and how well the two ways agree.
Exit status: 0 at least three times the patch's share of the picture, and a correlation of at least .99; 1 not.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).parent.parent  # not conftest's: that cuts CLIP's tower short for the tests
sys.path.insert(0, str(ROOT))
import train as program  # noqa: E402
from detector import Detector, load  # noqa: E402
from imaging.corruptions import noise  # noqa: E402
from imaging.door import open_image  # noqa: E402
from judging.explain import heat_map  # noqa: E402
from names import ARCHITECTURES, CLASSES, FAKE, REAL  # noqa: E402
from tools.export import to_onnx  # noqa: E402
from tools.samples import cut_crops  # noqa: E402

SIDE = 4  # the patch is a quarter as wide and as high as the picture: a sixteenth of its area
NOISE = 25  # of 255: standard deviation of the noise that the patch has and the rest has not, by default
TIMES = 3  # so many times the patch's share of the area must be its share of the heat
AGREEMENT = 0.99  # least correlation of the two ways to draw a heat map, over all their values


def make_patches(root: Path, counts: dict[str, int], size: int, *, sigma: float = NOISE, seed: int = 0) -> Path:
    """Pairs of a crop (Real) and the same crop with a noisy patch of another photograph (Fake), as PNG files.

    counts: pairs in each of Train, Validation and Test, which share no photograph. sigma: of the noise, of 255.
    patches.json in each split says where the patches are: {name: (left, top, side)}, pixels.
    """
    rng, side = np.random.default_rng(seed), size // SIDE
    for split, count in counts.items():
        crops, places = list(cut_crops(split, count, size, rng)), {}
        for label in CLASSES:
            (root / split / label).mkdir(parents=True)
        for number, (name, crop) in enumerate(crops):
            left, top = rng.integers(0, size - side + 1, 2).tolist()
            other = noise(crops[number - count // 2 - 1][1], sigma, rng)
            fake = crop.copy()
            fake.paste(other.crop((top, left, top + side, left + side)), (left, top))  # of another place, mostly
            crop.save(root / split / CLASSES[REAL] / f"{name}.png")
            fake.save(root / split / CLASSES[FAKE] / f"{name}.png")
            places[f"{name}.png"] = (left, top, side)
        (root / split / "patches.json").write_text(json.dumps(places))
    return root


def train(data: Path, out: Path, arch: str, size: int, epochs: int, *flags: str) -> Path:
    """The checkpoint of a detector of whole images of this size."""
    given = ["--data", data, "--out", out, "--arch", arch, "--size", size, "--epochs", epochs, "--fit", "resize"]
    given += [word for name in STILL for word in ("--set", f"{name}=0")]
    if program.main([*map(str, given), *flags]):
        raise RuntimeError("train.py failed; it says why above")
    return out / "best.safetensors"


STILL = ("jpeg", "webp", "blur")  # what would wash the noise away


def patch_heat(detector: Detector, split: Path) -> tuple[np.ndarray, float]:
    """((n, h, w) heat maps of a split's Fake images, mean share of the heat inside the patch). No heat counts as 0."""
    places, maps, shares = json.loads((split / "patches.json").read_text()), [], []
    for name, place in tqdm(places.items(), disable=None, leave=False):
        image = open_image(split / CLASSES[FAKE] / name).image
        heat = heat_map(detector, detector.metadata.preprocess(image))
        left, top, side = (value * heat.shape[0] / image.width for value in place)
        inside = _cover(heat.shape[0], top, side)[:, None] * _cover(heat.shape[1], left, side)
        maps.append(heat)
        shares.append(float((heat * inside).sum() / max(heat.sum(), 1e-12)))
    return np.stack(maps), float(np.mean(shares))


def _cover(length: int, start: float, side: float) -> np.ndarray:
    """(length,) how much of each pixel lies from `start` to `start + side`, 0 to 1."""
    at = np.arange(length)
    return np.clip(np.minimum(at + 1, start + side) - np.maximum(at, start), 0, 1)


def main() -> int:
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        out = args.out or Path(folder)
        data, run = out / "data", out / "run"
        if not (data / "Test/patches.json").exists():
            make_patches(data, {"Train": args.pairs, "Validation": 100, "Test": 100}, args.size, sigma=args.noise)
        flags = ("--pretrained", args.pretrained, "--lr", args.lr, "--batch-size", "16", "--resume")
        model = train(data, run, args.arch, args.size, args.epochs, *flags)
        model.with_suffix(".onnx").write_bytes(to_onnx(load(model, device="cpu")))
        maps, share = patch_heat(load(model, device="cpu"), data / "Test")
        others, other_share = patch_heat(load(model.with_suffix(".onnx")), data / "Test")
        auc = json.loads((run / "metrics.json").read_text())["validation"]["auc"]
    correlation = float(np.corrcoef(maps.ravel(), others.ravel())[0, 1])
    print(
        f"{args.arch}: Validation AUC {auc:.3f}; of the heat, {share:.1%} lies inside the patch (ONNX: "
        f"{other_share:.1%}), {share * SIDE**2:.1f} times its share of the picture; correlation {correlation:.6f}"
    )
    return 0 if min(share, other_share) * SIDE**2 >= TIMES and correlation >= AGREEMENT else 1


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("arch", choices=ARCHITECTURES)
    add("--size", type=int, default=64, help="of the pictures and of the network's input, pixels (default: 64)")
    add("--epochs", type=int, default=8, help="(default: 8)")
    add("--pairs", type=int, default=600, help="to train on (default: 600)")
    add("--noise", type=float, default=NOISE, help="of the patch, standard deviation of 255 (default: %(default)s)")
    add("--pretrained", default="none", metavar="none|FILE", help="weights to start from (default: none)")
    add("--lr", default="1e-3", help="learning rate (default: 1e-3)")
    add("--out", type=Path, help="keep the images and the run there, and go on with an interrupted run")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
