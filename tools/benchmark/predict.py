"""Judging: a cold start, one image, a folder, a photo; against what the original's predict.py did."""

import json
import statistics
import subprocess  # noqa: S404
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from progress import Bar
from tools.benchmark.measure import CORES, ROOT, measure

# The original's way, as faithfully as it is known: everything is imported, the weights are loaded, then each image is
# opened, resized to 224, turned into a tensor, normalised and judged by itself.
ORIGINAL = """
import sys, time
import torch, torchvision
from PIL import Image
from torchvision import transforms

arch, weights, *images = sys.argv[1:]
network = getattr(torchvision.models, arch)()
if arch == "resnet50":
    network.fc = torch.nn.Linear(network.fc.in_features, 2)
else:
    network.classifier[1] = torch.nn.Linear(network.classifier[1].in_features, 2)
network.load_state_dict(torch.load(weights, map_location="cpu"))
network.eval()
prepare = transforms.Compose([
    transforms.Resize((224, 224)), transforms.ToTensor(),
    transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
])
began = time.perf_counter()
for path in images:
    with torch.no_grad():
        score = torch.softmax(network(prepare(Image.open(path).convert("RGB")).unsqueeze(0)), 1)[0, 1].item()
    print(path, "Fake" if score >= 0.5 else "Real", score)
print("judging seconds", time.perf_counter() - began)
"""


def benchmark(arch: str, repeats: int, model: str | None = None) -> dict:
    """All figures, and what people read of them on stdout. model: a file of ours, for our side; else random weights."""
    print(f"{CORES} cores; {repeats} pairs, {folder_pairs(repeats)} of folders; medians")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        result = predict(arch, repeats, Path(folder), model and Path(model).resolve())
    for row in result["rows"]:
        print(
            f"{row['what']:34}  original {row['original_s']:7.3f} s {row['original_mb']:6.0f} MB"
            f"   ours {row['ours_s']:7.3f} s {row['ours_mb']:6.0f} MB"
            f"   {row['speedup']:5.1f} times as fast, {row['memory']:.2f} of the memory"
        )
    for name, figure in result["photo"].items():
        print(f"photo of 12 megapixels: {name:24}  {figure:7.3f}")
    return result


def predict(arch: str, repeats: int, folder: Path, model: Path | None = None) -> dict:
    """All figures of `predict` for one architecture; on our side with `model` instead, where there is one."""
    weights, whole, faced = make_models(arch, folder)
    images = make_images(folder / "images", 200)
    original = [sys.executable, "-c", ORIGINAL, arch, str(weights)]
    ours = [sys.executable, "predict.py", "--model"]
    cases = {
        "cold start, one image, faces off": ([*original, images[0]], [*ours, whole, images[0]]),
        "cold start, one image, faces on": ([*original, images[0]], [*ours, faced, images[0]]),
        "folder of 200, faces off": ([*original, *images], [*ours, whole, *images]),
    }
    if model:
        faced = model
        cases = {
            "cold start, one image": ([*original, images[0]], [*ours, model, images[0]]),
            "folder of 200": ([*original, *images], [*ours, model, *images]),
        }
    rows = []
    for what, (theirs, mine) in cases.items():
        pairs = folder_pairs(repeats) if "folder" in what else repeats
        turns = Bar(range(pairs + 1), desc=what)
        times = [(measure(theirs), measure(mine)) for _ in turns]
        rows.append({"what": what} | compare(times[1:]))  # the first pair warms the file cache
    rows += [warm_folder(rows)]
    return {
        "benchmark": "predict", "arch": arch, "model": model and str(model), "repeats": repeats, "cores": CORES,
        "threads": {"original": "torch's default", "ours": "all cores for one image, one each for a folder"},
        "rows": rows, "photo": photo(folder, faced),
    }  # fmt: skip


def folder_pairs(repeats: int) -> int:
    """A folder takes minutes and varies little."""
    return max(2, repeats // 3)


def warm_folder(rows: list[dict]) -> dict:
    """What a folder costs beyond one image: the start taken off both sides (of the first row and the last)."""
    one, many = rows[0], rows[-1]
    theirs, mine = many["original_s"] - one["original_s"], many["ours_s"] - one["ours_s"]
    return many | {
        "what": "folder of 200, start taken off", "original_s": theirs, "ours_s": mine, "speedup": theirs / mine,
    }  # fmt: skip


def compare(pairs: list) -> dict:
    median = statistics.median
    return {
        "original_s": median(theirs[0] for theirs, _ in pairs),
        "ours_s": median(mine[0] for _, mine in pairs),
        "speedup": median(theirs[0] / mine[0] for theirs, mine in pairs),
        "original_mb": median(theirs[1] for theirs, _ in pairs),
        "ours_mb": median(mine[1] for _, mine in pairs),
        "memory": median(mine[1] / theirs[1] for theirs, mine in pairs),
    }


def make_models(arch: str, folder: Path) -> tuple[Path, Path, Path]:
    """The same random weights as the original's .pth, and exported, for whole pictures and for faces."""
    code = f"""
import torch, model
from dataclasses import replace
from detector.backend_torch import assumed_metadata
from detector.checkpoint import save_checkpoint
from tools import export
torch.manual_seed(0)
network = model.create_model({arch!r})
torch.save(network.state_dict(), "{folder}/original.pth")
metadata = assumed_metadata({arch!r})
export.IMAGES = 5
for frame in ("whole", "face"):
    spec = replace(metadata.preprocess, frame=frame)
    save_checkpoint(f"{folder}/{{frame}}.safetensors", network.state_dict(), replace(metadata, preprocess=spec))
    assert export.main([f"{folder}/{{frame}}.safetensors"]) == 0
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return folder / "original.pth", folder / "whole.onnx", folder / "face.onnx"


def portrait(side: int) -> Image.Image:
    """A public-domain photograph with one face (NASA), from scikit-image's wheel."""
    import skimage.data

    return Image.fromarray(skimage.data.astronaut()).resize((side, side), Image.Resampling.LANCZOS)


def make_images(folder: Path, count: int) -> list[Path]:
    """Crops of 256 px around the portrait's face, JPEG."""
    folder.mkdir()
    draw, image, paths = np.random.default_rng(0), portrait(512), []
    for number in range(count):
        left, top = 90 + draw.integers(-20, 21), draw.integers(0, 21)
        paths.append(folder / f"{number:03}.jpg")
        image.crop((left, top, left + 256, top + 256)).save(paths[-1], quality=90)
    return paths


def photo(folder: Path, model: Path) -> dict[str, float]:
    """A 12-megapixel JPEG with one face and a camera's noise: the work on one core, and the memory of predict.py."""
    code = (
        "import sys, json; from tools.benchmark.predict import photo_work; print(json.dumps(photo_work(*sys.argv[1:])))"
    )
    path = folder / "photo.jpg"
    # In a process of its own: a program's peak memory, as the system counts it, starts with that of its parent.
    figures = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, path, model], cwd=ROOT, check=True, stdout=subprocess.PIPE
    ).stdout
    peaks = [measure([sys.executable, "predict.py", path, "--model", model])[1] for _ in range(3)]
    return json.loads(figures) | {"peak MB of predict.py": statistics.median(peaks)}


def photo_work(path: str, model: str, side: int = 1500, repeats: int = 15) -> dict[str, float]:
    """Make the photo, and time what is done with it."""
    import skimage.data

    from detector import load
    from imaging.door import open_image
    from imaging.faces import FaceFinder

    draw = np.random.default_rng(0)
    pixels = np.asarray(Image.fromarray(skimage.data.coffee()).resize((4000, 3000))).astype(np.float32)
    pixels[:side, :side] = np.asarray(portrait(side))
    pixels += draw.normal(0, 4, pixels.shape[:2])[..., None]
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=92)
    find, detector, image = FaceFinder(), load(model, device="cpu", threads=1), open_image(path).image
    face = find(image)[0][0]
    work = {
        "decoding, s": lambda: open_image(path),
        "finding the faces, s": lambda: find(image),
        "judging the face, s": lambda: detector.logits(detector.metadata.preprocess.views(image, [face])),
        "the whole answer, s": lambda: detector.judge(open_image(path)),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(repeats + 1):
        for name, do in work.items():
            began = time.perf_counter()
            do()
            if turn:  # the first one warms up
                times[name].append(time.perf_counter() - began)
    figures = {name: statistics.median(spent) for name, spent in times.items()}
    shares = [found / decoded for decoded, found in zip(*list(times.values())[:2], strict=True)]
    return figures | {"finding / decoding": statistics.median(shares)}
