"""Kill a training run at random moments, let it go on each time, and compare it with an undisturbed one.

    python tests/kill_and_resume.py --kills 20 --workers 2 --cache off

Prints where each kill left the run, and whether weights, CSV (times aside) and predictions are the same, bit for bit.
Exit status: 0 the same, and at least half of the kills inside an epoch; 1 not.
"""

import argparse
import csv
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from conftest import ROOT, make_set
from safetensors.numpy import load_file

sys.path.insert(0, str(ROOT))
from training.resume import load_state  # noqa: E402

TIMES = {"seconds", "images_per_second"}


def command(data: Path, out: Path, workers: int, cache: str) -> list[str]:
    flags = (
        "--arch tiny --size 48 --recipe robust --epochs 3 --batch-size 4 --lr 0.002 --threads 1 --resume --save-every 3"
        f" --workers {workers} --cache {cache}"
    )
    return [sys.executable, "train.py", "--data", str(data), "--out", str(out), *flags.split()]


def start(*arguments) -> subprocess.Popen:
    return subprocess.Popen(command(*arguments), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def begun(process: subprocess.Popen) -> bool:
    """Wait until the run has said how it gets its pictures: then it trains. False if it had been finished."""
    said = []
    for line in process.stderr:
        said.append(line)
        if "pictures are " in line:
            return True
        if line.rstrip().endswith("is finished; kept"):
            return False
    raise RuntimeError("".join(said))


def finish(process: subprocess.Popen) -> None:
    said = process.communicate(timeout=150)[1]
    if process.returncode:
        raise RuntimeError(said)


def result(out: Path) -> dict:
    """Everything that must come out the same."""
    with (out / "metrics.csv").open() as file:
        rows = [{name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file)]
    weights = {name: load_file(out / f"{name}.safetensors") for name in ("best", "last")}
    return {
        "rows": rows,
        "weights": {f"{name}/{key}": array.tobytes() for name, file in weights.items() for key, array in file.items()},
        "predictions": (out / "predictions.csv").read_text(),
        "best epoch": json.loads((out / "metrics.json").read_text())["best_epoch"],
    }


def where(out: Path) -> tuple[int, int]:
    """(epoch, steps done) of the state on the disk; (0, 0) before the first."""
    state = load_state(out)
    return (state["progress"].epoch, state["progress"].step) if state else (0, 0)


def disturbed(
    data: Path, out: Path, workers: int, cache: str, kills: int, seconds: float, draw: random.Random
) -> tuple[int, int]:
    """The run, killed again and again. Returns how often, and how often in an epoch that it had got further in.

    A fifth of the moments count from the start of the process: they also fall into importing, indexing and decoding.
    """
    inside, before = 0, (0, 0)
    for kill in range(1, kills + 1):
        process = start(data, out, workers, cache)
        if draw.random() < 0.2:
            time.sleep(draw.uniform(0, 8))
        elif begun(process):
            time.sleep(draw.uniform(0, 1.5 * seconds / kills + 0.5))
        if (out / "metrics.json").exists():
            process.communicate()
            print(f"finished before kill {kill}: --images says how long a run is")
            return kill - 1, inside
        process.send_signal(signal.SIGKILL)
        process.communicate()
        now = where(out)
        inside += now > before and now[1] > 0
        before = now
        print(f"kill {kill}: epoch {now[0]}, {now[1]} steps done", flush=True)
    finish(start(data, out, workers, cache))
    return kills, inside


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--cache", choices=("disk", "ram", "off"), default="disk")
    parser.add_argument("--images", type=int, default=400, help="of each class")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = make_set(Path(folder) / "set", {"Train": args.images, "Validation": 20})
        process = start(data, Path(folder) / "straight", args.workers, args.cache)
        begun(process)
        began = time.perf_counter()
        finish(process)
        seconds = time.perf_counter() - began
        draw = random.Random(args.seed)
        kills, inside = disturbed(data, Path(folder) / "killed", args.workers, args.cache, args.kills, seconds, draw)
        straight, killed = (result(Path(folder) / name) for name in ("straight", "killed"))
    same = {name: straight[name] == killed[name] for name in straight}
    print(f"{kills} kills, {inside} inside an epoch; {args.workers} workers, cache {args.cache}; same: {same}")
    return 0 if all(same.values()) and kills == args.kills and 2 * inside >= kills else 1


if __name__ == "__main__":
    sys.exit(main())
