"""The original program's server, re-implemented as faithfully as it is known. Run as a program of its own.

    python tools/benchmark/original_server.py resnet50 model.pth         # it says which port it listens on

Its way: Flask's development server with a thread for each request. Every request builds the network, loads its weights
from the disk, opens the image, resizes it to 224, normalises it and judges it with eager PyTorch on all threads.
"""

import sys

import torch
import torchvision
from flask import Flask, Response, jsonify, request
from PIL import Image
from torch import nn
from torchvision import transforms


def create_app(arch: str, weights: str) -> Flask:
    app = Flask(__name__)
    prepare = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )

    @app.post("/upload")
    def upload() -> Response:
        image = Image.open(request.files["file"].stream).convert("RGB")
        network = load(arch, weights)
        with torch.no_grad():
            score = torch.softmax(network(prepare(image).unsqueeze(0)), 1)[0, 1].item()
        return jsonify({"message": "Fake" if score >= 0.5 else "Real", "score": score})

    return app


def load(arch: str, weights: str) -> nn.Module:
    network = getattr(torchvision.models, arch)()
    if arch == "resnet50":
        network.fc = nn.Linear(network.fc.in_features, 2)
    else:
        network.classifier[1] = nn.Linear(network.classifier[1].in_features, 2)
    network.load_state_dict(torch.load(weights, map_location="cpu"))
    return network.eval()


if __name__ == "__main__":
    create_app(*sys.argv[1:]).run(port=0, debug=False, threaded=True)
