"""The detectors that are served, and how many images are at work at once.

ONNX Runtime judges as many images at once as there are cores, each on one thread: on a CPU that beats one image on
all of them. PyTorch on a CPU judges one at a time. PyTorch on a GPU judges whatever waits, up to BATCH, in one go.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from about import read_card
from detector import Detector, ModelError, Verdict, find_models, load
from detector.backend import Around, Backend
from detector.checkpoint import kind_of_file, read_metadata
from imaging.door import Picture, open_image
from measures import Measures
from problems import ProblemError

if TYPE_CHECKING:
    from judging.explain import Explanation

DECODERS = 2  # images opened at once: a few bytes may ask for hundreds of megabytes
BATCH = 16
PATIENCE = 0.1  # seconds between two looks at whether a waiting client is still there


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


def model_files(path: str) -> dict[str, Path]:
    """The model file itself, or every one below a folder, by the name that ?model= takes. Raises ModelError.

    Of a checkpoint and the .onnx file of the same name beside it, which python -m tools.export made, the latter.
    Looks at each file's header and card only, so that what cannot be served is refused at once.
    """
    found = {Path(path).name: Path(path)}
    if os.path.isdir(path):
        models = find_models(path)
        exported = {file.with_suffix("") for file in models if file.suffix.lower() == ".onnx"}
        models = [file for file in models if file.suffix.lower() == ".onnx" or file.with_suffix("") not in exported]
        found = {file.relative_to(path).as_posix(): file for file in models}
        if not found:
            raise ModelError(f"{path}: is a directory without a model file (.safetensors, .onnx, .pth)")
    for file in found.values():
        with naming(file):
            read_metadata(file)
            read_card(file)
            if kind_of_file(file) != "onnx" and not find_spec("torch"):
                raise ModelError(
                    "needs PyTorch, which is not installed; python -m tools.export makes an .onnx file of it"
                )
    return found


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """The file's name in the error."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from error


class Models:
    """The detectors by name, the default first. Loaded once, in the background; until then there is none."""

    def __init__(self, files: dict[str, Path], *, device: str = "auto"):
        self.files, self.device = files, device
        self.detectors: dict[str, Detector] = {}
        self.loaded = threading.Event()

    @classmethod
    def of(cls, detectors: dict[str, Detector]) -> "Models":
        """Those that are at hand already."""
        models = cls({name: detector.path for name, detector in detectors.items()})
        models.add(detectors)
        return models

    @property
    def names(self) -> list[str]:
        return list(self.files)

    def load(self, prepare: Callable[[Detector], None]) -> None:
        """Load all of them, `prepare` each, and let it judge one picture. Raises ModelError."""
        detectors = {}
        for name, file in self.files.items():
            with naming(file):
                detectors[name] = load(file, device=self.device, threads=1)
                prepare(detectors[name])
                warm_up(detectors[name])
        self.add(detectors)

    def add(self, detectors: dict[str, Detector]) -> None:
        for detector in detectors.values():
            _ = detector.sha256  # read now, not in somebody's request
        self.detectors = detectors
        self.loaded.set()

    def named(self, name: str | None) -> tuple[str, Detector]:
        """(its name, the detector); None: the default. Raises ProblemError."""
        name = name or next(iter(self.files))
        if name not in self.files:
            raise ProblemError("unknown-model", f"no such model; there are: {', '.join(self.names)}")
        self.check_ready()
        return name, self.detectors[name]

    def check_ready(self) -> None:
        if not self.loaded.is_set():
            raise ProblemError("not-ready", "the model is still being loaded; try again in a moment")


def warm_up(detector: Detector) -> None:
    """The first picture takes longer than the others. One of this size reaches the network without any face."""
    side = detector.metadata.preprocess.size
    detector.judge(Picture(Image.new("RGB", (side, side), "grey"), "PNG"))


class Bench:
    """Where images are opened and judged."""

    def __init__(self, measures: Measures, uploads: int, cores: int | None = None):
        """uploads: in hand at once, whatever is being done with them."""
        self.at_once = cores or len(os.sched_getaffinity(0))
        self.measures = measures
        self.hands = threading.BoundedSemaphore(uploads)
        self.decoders, self.cores, self.single, self.many = map(Line, (DECODERS, self.at_once, 1, BATCH))

    def prepare(self, detector: Detector) -> None:
        """On a GPU, images that wait are judged together."""
        if detector.backend.on_gpu and not isinstance(detector.backend, Batching):
            detector.backend = Batching(detector.backend, self.measures.batches.observe)

    def turns(self, detector: Detector) -> "Line":
        if isinstance(detector.backend, Batching):
            return self.many
        return self.cores if detector.concurrent else self.single

    def describe(self, detector: Detector) -> str:
        """How many images it judges at once, for people."""
        if isinstance(detector.backend, Batching):
            return f"PyTorch on a GPU, up to {BATCH} images at once"
        if detector.concurrent:
            return f"ONNX Runtime, {self.at_once} images at once, each on one thread"
        import torch  # it is loaded already

        return f"PyTorch on the CPU, one image at a time on {torch.get_num_threads()} threads"

    def judge(
        self, detector: Detector, data: bytes, *, gone: Callable[[], bool], explain: bool
    ) -> tuple[Picture, Verdict, "Explanation | None"]:
        """Open an image and judge it. Raises ImageError, ModelError, and ClientGoneError once `gone()`."""
        with ExitStack() as opening:
            opening.enter_context(self.turn(self.decoders, gone))
            with self.measures.decoding.time():
                picture = open_image(data)
            with self.turn(self.turns(detector), gone):
                opening.close()  # not before: pictures that wait are in memory, so they are as few as the decoders
                began = time.perf_counter()
                verdict = detector.judge(picture)
                self.measures.judging.observe(time.perf_counter() - began)
                if not isinstance(detector.backend, Batching):
                    self.measures.batches.observe(1)
                self.measures.verdicts.labels(verdict.verdict).inc()
                return picture, verdict, self.explain(detector, picture, verdict) if explain else None

    def explain(self, detector: Detector, picture: Picture, verdict: Verdict) -> "Explanation | None":
        from judging.explain import explain  # here: most requests ask for no heat map

        with self.turn(self.single, lambda: False) if isinstance(detector.backend, Batching) else nullcontext():
            return explain(detector, picture, verdict)

    @contextmanager
    def turn(self, line: "Line", gone: Callable[[], bool]) -> Iterator[None]:
        with self.measures.waiting.track_inprogress():
            line.enter(gone)
        try:
            if gone():
                raise ClientGoneError
            yield
        finally:
            line.leave()


class Line:
    """So many at once, and the others in the order in which they came: a semaphore lets a newcomer pass them."""

    def __init__(self, places: int):
        self.free, self.waiting, self.lock = places, deque(), threading.Lock()

    def enter(self, gone: Callable[[], bool]) -> None:
        """Wait for a place. Raises ClientGoneError, without one, once `gone()`."""
        with self.lock:
            if self.free:
                self.free -= 1
                return
            mine = threading.Event()
            self.waiting.append(mine)
        while not mine.wait(PATIENCE):
            if gone():
                with self.lock:
                    if mine.is_set():
                        return  # the place came just now; who asked will see that nobody is there, and leave it
                    self.waiting.remove(mine)
                raise ClientGoneError

    def leave(self) -> None:
        """Give the place to the first who waits."""
        with self.lock:
            if self.waiting:
                self.waiting.popleft().set()
            else:
                self.free += 1


class Batching(Around):
    """A backend before which images queue: one thread takes whatever waits, up to BATCH images, in one go.

    It does not wait for more: while a batch is judged, the next one gathers by itself.
    """

    def __init__(self, backend: Backend, measure: Callable[[int], None] = lambda size: None):
        super().__init__(backend)
        self.measure = measure
        self.jobs: SimpleQueue[Job] = SimpleQueue()
        threading.Thread(target=self.work, name="judging", daemon=True).start()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """(n, 3, h, w) float32 to (n, 2) float32 logits. Safe to call from several threads."""
        job = Job(batch)
        self.jobs.put(job)
        job.done.wait()
        if job.error:
            raise job.error
        return job.logits

    def work(self) -> None:
        left = None
        while True:
            jobs, left = [left or self.jobs.get()], None
            while (size := sum(len(job.batch) for job in jobs)) < BATCH:
                try:
                    left = self.jobs.get_nowait()
                except Empty:
                    break
                if size + len(left.batch) > BATCH or left.batch.shape[1:] != jobs[0].batch.shape[1:]:
                    break  # the first of the next batch
                jobs.append(left)
                left = None
            self.run(jobs)

    def run(self, jobs: "list[Job]") -> None:
        self.measure(sum(len(job.batch) for job in jobs))
        try:
            logits = self.backend(np.concatenate([job.batch for job in jobs]))
            ends = np.cumsum([len(job.batch) for job in jobs])
            for job, part in zip(jobs, np.split(logits, ends[:-1]), strict=True):
                job.logits = part
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait, not to this thread
            for job in jobs:
                job.error = error
        for job in jobs:
            job.done.set()


class Job:
    """Images that a thread waits for."""

    def __init__(self, batch: np.ndarray):
        self.batch, self.logits, self.error = batch, None, None
        self.done = threading.Event()
