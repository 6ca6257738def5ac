"""What training does to an image before the network sees it. Both classes go through the same draws."""

import numpy as np
from PIL import Image, ImageOps
from torch.utils.data import Dataset

from dataset import DeepFakeDataset, as_tensors
from imaging.preprocess import Box, Preprocess


class TrainTransform:
    """An upright RGB image and a generator of random numbers to a (3, crop, crop) float32 array.

    It does what `preprocess` does, except that the place of a crop is random and the image may be mirrored. With the
    frame "face", the crop is taken from the framed face.
    crop: side of the training image, pixels; may be smaller than the network's input, which is then only judged with.
    flip: probability of a horizontal mirror image.
    """

    def __init__(self, preprocess: Preprocess, *, crop: int, flip: float):
        self.preprocess, self.crop, self.flip = preprocess, crop, flip

    def __call__(self, image: Image.Image, draw: np.random.Generator, box: Box | None = None) -> np.ndarray:
        place, mirrored = tuple(draw.random(2)), draw.random() < self.flip  # drawn in any case: same draws, same stream
        if self.preprocess.frame == "face":
            image = self.preprocess.crop(self.preprocess.view(image, box), size=self.crop, where=place)
        elif self.preprocess.fit == "crop":
            image = self.preprocess.crop(image, size=self.crop, where=place)
        else:
            image = self.preprocess.resize(image, size=self.crop)
        return self.preprocess.normalise(np.asarray(ImageOps.mirror(image) if mirrored else image))


class AugmentedDataset(Dataset):
    """A dataset seen through a TrainTransform.

    What is drawn for an image depends on (seed, epoch, its place in the dataset) alone: never on the number of worker
    processes or the order of the batches.
    """

    def __init__(self, dataset: DeepFakeDataset, transform: TrainTransform, *, seed: int, epoch: int):
        self.dataset, self.transform, self.seed, self.epoch = dataset, transform, seed, epoch

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int):
        draw = np.random.default_rng((self.seed, self.epoch, i))
        boxes = self.dataset.index.boxes[i]  # the largest first; it is what the label is about
        image = self.transform(self.dataset.picture(i).image, draw, boxes[0] if boxes else None)
        return as_tensors(image), self.dataset.samples[i].label
