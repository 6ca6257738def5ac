"""The original program's training loop, re-implemented as faithfully as it is known. Run as a program of its own.

    python tools/benchmark/original.py steps resnet50 data 32 auto        # a helper that takes steps when told to
    python tools/benchmark/original.py loader data 32                      # one that only loads
    python tools/benchmark/original.py train efficientnet_b0 data 3 0 start.safetensors
                                               # 3 epochs from those weights with seed 0; a JSON line each

Its way: every image is opened, resized to 224, turned into a float tensor and normalised in the main process; weights
in float32, channels first; Adam with a learning rate of 0.001; the loss is fetched from the device after each step.
"""

import json
import sys
import time
from pathlib import Path

import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class Images(Dataset):
    def __init__(self, folder: Path):
        self.samples = [
            (path, label)
            for label, name in enumerate(("Real", "Fake"))
            for path in sorted((folder / name).rglob("*.*"))
        ]
        self.transform = transforms.Compose(
            [
                transforms.Resize((224, 224)),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        path, label = self.samples[i]
        return self.transform(Image.open(path).convert("RGB")), label


def build(arch: str) -> nn.Module:
    network = getattr(torchvision.models, arch)()
    if arch == "resnet50":
        network.fc = nn.Linear(network.fc.in_features, 2)
    else:
        network.classifier[1] = nn.Linear(network.classifier[1].in_features, 2)
    return network


class Training:
    def __init__(self, arch: str, data: str, batch_size: int, device: str, *, drop_last: bool = False):
        name = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(name if device == "auto" else device)
        self.loader = DataLoader(Images(Path(data) / "Train"), batch_size=batch_size, shuffle=True, drop_last=drop_last)
        self.network = build(arch).to(self.device)
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.001)

    def step(self, images, labels) -> None:
        images, labels = images.to(self.device), labels.to(self.device)
        self.optimizer.zero_grad()
        outputs = self.network(images)
        loss = self.criterion(outputs, labels)
        loss.backward()
        self.optimizer.step()
        self.loss = loss.item()
        self.correct = (outputs.argmax(1) == labels).sum().item()

    def epoch(self) -> None:
        self.network.train()
        for images, labels in self.loader:
            self.step(images, labels)

    @torch.no_grad()
    def auc(self, folder: Path) -> float:
        self.network.eval()
        scores, truth = [], []
        for images, labels in DataLoader(Images(folder), batch_size=32):
            scores += torch.softmax(self.network(images.to(self.device)), 1)[:, 1].tolist()
            truth += labels.tolist()
        return roc_auc_score(truth, scores)


def serve(work) -> None:
    """Helper of tools/benchmark/measure.py: do as much work as each line says."""
    print("ready", flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        work(int(line))
        print("seconds", time.perf_counter() - began, flush=True)


def batches_of(loader):
    while True:
        yield from loader


def main() -> None:
    kind, *rest = sys.argv[1:]
    if kind == "steps":
        arch, data, batch_size, device = rest
        training = Training(arch, data, int(batch_size), device, drop_last=True)  # to count images by batches
        training.network.train()
        batches = batches_of(training.loader)
        serve(lambda count: [training.step(*next(batches)) for _ in range(count)])
    elif kind == "loader":
        data, batch_size = rest
        images = Images(Path(data) / "Train")
        batches = batches_of(DataLoader(images, batch_size=int(batch_size), shuffle=True, drop_last=True))
        serve(lambda count: [next(batches) for _ in range(count)])
    else:
        arch, data, epochs, seed, start = rest
        torch.manual_seed(int(seed))
        training = Training(arch, data, 32, "auto")
        training.network.load_state_dict(load_file(start))
        for epoch in range(1, int(epochs) + 1):
            training.epoch()
            print(json.dumps({"epoch": epoch, "auc": training.auc(Path(data) / "Validation")}), flush=True)


if __name__ == "__main__":
    main()
