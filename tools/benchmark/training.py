"""Training: its steps, its loading, and how soon it gets how far; against the original's loop (original.py)."""

import json
import os
import re
import shlex
import statistics
import subprocess  # noqa: S404
import sys
import tempfile
import time

from progress import Bar
from tools.benchmark.measure import CORES, ROOT, Helper

ORIGINAL = [sys.executable, "tools/benchmark/original.py"]
OURS = [sys.executable, "-m", "tools.benchmark.ours"]


def benchmark_steps(arch: str, data: str, repeats: int, *, batch_size: int, device: str, compiled: bool) -> dict:
    """Images per second of training with loading, and of ours on images that already are on the device."""
    flags = ["--compile"] if compiled else []
    sides = {
        "original": [*ORIGINAL, "steps", arch, data, batch_size, device],
        "ours": [*OURS, "steps", arch, data, batch_size, device, *flags],
        "ours, images at hand": [*OURS, "held", arch, data, batch_size, device, *flags],
    }
    times, peaks, build = take_turns(sides, repeats, seconds=4, warm_up=1)
    rows = table(times, peaks, batch_size)
    print(f"{arch}, batches of {batch_size}, {threads()} threads, {repeats} pairs; medians")
    for row in rows:
        print(
            f"{row['what']:22}  {row['images_per_second']:8.1f} img/s   {row['ratio']:5.2f} times the original"
            f"   peak {row['peak_mb']:6.0f} MB"
        )
    if compiled:
        print(f"building with torch.compile: {build['ours']:.0f} s, not in these figures")
    shares = [held / loaded for held, loaded in zip(times["ours, images at hand"], times["ours"], strict=True)]
    print(f"share of the rate on images at hand: {statistics.median(shares):.2f}")
    return {"arch": arch, "batch_size": batch_size, "repeats": repeats, "cores": CORES, "threads": threads(),
            "compiled": compiled, "rows": rows, "build_s": build["ours"],
            "share_of_rate_at_hand": statistics.median(shares)}  # fmt: skip


def benchmark_loader(data: str, repeats: int, batch_size: int = 32) -> dict:
    """Images per second of loading and augmenting alone, without a network."""
    sides = {"original": [*ORIGINAL, "loader", data, batch_size]}
    for recipe in ("original", "indomain", "robust"):
        for cache in ("disk", "off"):
            for workers in (0, 2):
                name = f"ours, {recipe}, cache {cache}, {workers} workers"
                sides[name] = [*OURS, "loader", data, batch_size, recipe, cache, workers]
    times, peaks, _ = take_turns(sides, repeats, seconds=1, warm_up=40)  # workers have some batches ready
    rows = table(times, peaks, batch_size)
    print(f"{CORES} cores, batches of {batch_size}, {repeats} turns; medians")
    for row in rows:
        print(f"{row['what']:44}  {row['images_per_second']:8.0f} img/s   {row['ratio']:5.2f} times the original")
    return {"batch_size": batch_size, "repeats": repeats, "cores": CORES, "rows": rows}


def take_turns(sides: dict[str, list], repeats: int, *, seconds: float, warm_up: int) -> tuple[dict, dict, dict]:
    """Seconds a batch of each side in each turn, peak MB, and the seconds of the first step (which builds things)."""
    helpers = {name: Helper(command) for name, command in sides.items()}
    build = {name: helper.work(1) for name, helper in helpers.items()}
    steps = {name: max(1, round(seconds * warm_up / helper.work(warm_up))) for name, helper in helpers.items()}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in Bar(range(repeats), desc="pairs"):
        for name, helper in helpers.items():
            times[name].append(helper.work(steps[name]) / steps[name])
    return times, {name: helper.close() for name, helper in helpers.items()}, build


def table(times: dict[str, list[float]], peaks: dict[str, float], batch_size: int) -> list[dict]:
    """A row for each side, from its seconds a batch; ratios are medians of pairs."""
    return [
        {
            "what": name,
            "images_per_second": batch_size / statistics.median(mine),
            "ratio": statistics.median(their / my for their, my in zip(times["original"], mine, strict=True)),
            "peak_mb": peaks[name],
        }
        for name, mine in times.items()
    ]


def benchmark_quality(arch: str, data: str, epochs: int, seeds: list[int], rivals: list[str]) -> dict:
    """Validation AUC after each epoch, and the seconds until then, of both ways and of rivals.

    Ours is `train.py --recipe original`: the same hyper-parameters on the fast path, and for each seed the same initial
    weights. Seconds are those of the whole process, by one clock for all: start, looking at the data, decoding,
    validation and plots included.
    """
    results = []
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            start = initial_weights(arch, seed, folder)
            flags = f"--arch {arch} --recipe original --epochs {epochs} --pretrained {start}"
            sides = {
                "original": [*ORIGINAL, "train", arch, data, epochs, seed, start],
                "ours": our_command(flags, data, seed),
            }
            if seed % 2:  # who goes first takes turns too
                sides = dict(reversed(sides.items()))
            sides |= {flags: our_command(flags, data, seed) for flags in rivals}
            results.append({"seed": seed, "curves": {name: curve(command) for name, command in sides.items()}})
        print_quality(results[-1])
    ends = {name: [result["curves"][name][-1] for result in results] for name in ("original", "ours")}
    ratios = [one["seconds"] / other["seconds"] for one, other in zip(*ends.values(), strict=True)]
    for name, rows in ends.items():
        values = [row["auc"] for row in rows]
        spread = f", standard deviation {statistics.stdev(values):.3f}" if len(values) > 1 else ""
        print(f"{name}: Validation AUC after {epochs} epochs {statistics.fmean(values):.3f}{spread}")
    print(f"the original takes {statistics.median(ratios):.2f} times as long as ours")
    return {"arch": arch, "epochs": epochs, "cores": CORES, "threads": threads(), "results": results, "ratios": ratios}


def initial_weights(arch: str, seed: int, folder: str) -> str:
    """A file of freshly drawn weights, for both sides to start from."""
    import torch  # here: the other benchmarks' own process does without
    from safetensors.torch import save_file

    from model import create_model

    torch.manual_seed(seed)
    path = f"{folder}/start.safetensors"
    save_file(create_model(arch).state_dict(), path)
    return path


def our_command(flags: str, data: str, seed: int) -> list:
    return [sys.executable, "train.py", "--data", data, "--seed", seed, *shlex.split(flags)]


def curve(command: list) -> list[dict]:
    """Epoch, Validation AUC and seconds since the start, from the lines that a program prints after each epoch."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        ours = command[1] == "train.py"
        began = time.perf_counter()
        with subprocess.Popen(  # noqa: S603
            [str(part) for part in command] + (["--out", f"{folder}/run"] if ours else []),
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"XDG_CACHE_HOME": folder},  # nothing is known of the data yet
        ) as process:  # fmt: skip
            for line in process.stdout:
                seconds = time.perf_counter() - began
                if found := re.match(r"epoch (\d+)/.* AUC ([\d.]+)", line):
                    rows.append({"epoch": int(found[1]), "auc": float(found[2]), "seconds": seconds})
                elif line.startswith("{"):
                    rows.append(json.loads(line) | {"seconds": seconds})
        if process.returncode:
            raise RuntimeError(f"{command} ended with status {process.returncode}")
    return rows


def print_quality(result: dict) -> None:
    best = max(row["auc"] for row in result["curves"]["original"])
    print(f"seed {result['seed']}: the original's best Validation AUC is {best:.3f}")
    for name, rows in result["curves"].items():
        curve = ", ".join(f"{row['auc']:.3f}" for row in rows)
        print(
            f"  {name}: {curve} in {rows[-1]['seconds']:.0f} s; {reached(rows, best)}; {reached(rows, 0.8)}", flush=True
        )


def reached(rows: list[dict], auc: float) -> str:
    """When a curve first gets to an AUC."""
    seconds = next((row["seconds"] for row in rows if row["auc"] >= auc), None)
    return f"{auc:.3f} never" if seconds is None else f"{auc:.3f} after {seconds:.0f} s"


def threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS", CORES))
