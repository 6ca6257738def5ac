"""The server against its own contract, deepfake-app/openapi.json: schemathesis asks, in this process."""

import json

import hypothesis
import numpy as np
import pytest
import schemathesis
from conftest import ROOT
from hostile import IMAGES
from hypothesis import HealthCheck, strategies
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance
from server_world import Network, detector_of, photo

from appconfig import Config
from webapp import create_app

# Random bytes are no image, so without these the answer to one would never be looked at.
GOOD = [photo(seed, 64, kind) for seed, kind in enumerate(("PNG", "JPEG", "WEBP"))]
ODD = [
    IMAGES[name].make()
    for name in ("animated.gif", "alpha.png", "size-8x8.jpg", "cut.jpg", "pdf.jpg")
    if name in IMAGES
]
schemathesis.openapi.format("binary", strategies.one_of(strategies.sampled_from(GOOD + ODD), strategies.binary()))


class Explaining(Network):
    """Also gives a feature map."""

    explains = True

    def class_map(self, batch):
        return np.asarray(batch).mean(1)[:, ::8, ::8]


@pytest.fixture(scope="module")
def contract(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    detectors = [detector_of(Explaining(), folder, "one.onnx"), detector_of(Network(), folder, "two.onnx")]
    app = create_app({detector.path.name: detector for detector in detectors}, Config(log=lambda line: None))
    return schemathesis.openapi.from_wsgi("/api/openapi.json", app)


DOCUMENT = json.loads((ROOT / "deepfake-app/openapi.json").read_text())
CASES = [
    (path, method, mode)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or "parameters" in operation  # else there is nothing that could be wrong
]


@pytest.mark.parametrize(("path", "method", "mode"), CASES, ids=lambda value: getattr(value, "name", value))
def test_it_keeps_its_contract(contract, path, method, mode):
    """Status, media type, headers and shape of every answer are among those documented; nothing is a 500."""
    asked = contract[path][method]

    @hypothesis.given(case=asked.as_strategy(generation_mode=mode))
    @hypothesis.settings(
        max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    def ask(case):
        # Of bytes that are no image the contract says that they are refused; and 501 and 503 are documented answers.
        answer = case.call_and_validate(excluded_checks=[positive_data_acceptance, not_a_server_error])
        assert answer.status_code != 500
        seen.add(answer.status_code)

    seen = set()
    ask()
    if method == "post" and mode is GenerationMode.POSITIVE:
        assert seen >= {200, 415}


def test_the_contract_is_an_openapi_document():
    assert DOCUMENT["openapi"].startswith("3.1")
    text = json.dumps(DOCUMENT)
    for name in (*DOCUMENT["components"]["schemas"], *DOCUMENT["components"]["responses"]):
        assert f'/{name}"' in text, f"{name} is used nowhere"
