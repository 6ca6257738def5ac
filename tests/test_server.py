"""The server's contract, asked of the application itself: every route, every bad image, every header and log line."""

import hashlib
import importlib.metadata
import json
import sys
import threading
import time
from dataclasses import replace

import hostile
import numpy as np
import pytest
from conftest import ROOT
from packaging.version import Version
from server_world import BOUNDARY, Network, detector_of, form, part, photo
from test_arrows import called, imported

import predict
from appconfig import Config
from bench import Batching, Bench, ClientGoneError, Line, Models, model_files
from detector import Detector, Metadata, ModelError
from detector.calibration import Calibration
from imaging.door import MAX_BYTES
from imaging.preprocess import Preprocess
from measures import Measures
from problems import PROBLEMS, SECURITY_HEADERS
from webapp import create_app, trusted

SECRET = "my-secret-name.jpg"


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def lines():
    """What the server logs."""
    return []


@pytest.fixture
def client(network, lines, tmp_path):
    app = create_app(detector_of(network, tmp_path), Config(log=lines.append, page=tmp_path / "dist"))
    return app.test_client()


def send(client, *parts, path="/api/predict", **options):
    body, headers = form(*parts)
    return client.post(path, data=body, headers=headers | options.pop("headers", {}), **options)


def judge(client, data, path="/api/predict", **options):
    return send(client, part(data, filename=SECRET), path=path, **options)


def assert_problem(answer, slug, says=""):
    """The whole of an error: status, media type, RFC 9457's members, and the sentence for people twice."""
    assert answer.status_code == PROBLEMS[slug][0], answer.text
    assert answer.mimetype == "application/problem+json"
    found = answer.json
    assert found["type"] == f"/problems/{slug}" and found["status"] == answer.status_code
    assert found["title"] == PROBLEMS[slug][1] and found["detail"] == found["error"] and says in found["detail"]
    assert found["instance"] == answer.headers["X-Request-Id"]
    assert_headers(answer)


def assert_headers(answer):
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert "'unsafe" not in answer.headers["Content-Security-Policy"]


# ------------------------------------------------------------------------------------- rows 4 to 46: images


@pytest.mark.parametrize("name", hostile.IMAGES)
def test_each_image_gets_its_answer(client, lines, name):
    case = hostile.IMAGES[name]
    data, began = case.make(), time.perf_counter()
    answer = judge(client, data)
    assert time.perf_counter() - began < 2
    [line] = lines
    assert hostile.GPS_MARK not in answer.data and hostile.GPS_MARK.decode() not in str(line)
    if case.slug is not None:
        assert_problem(answer, case.slug, case.says)
        return
    assert answer.status_code == 200 and answer.json["verdict"] in ("Real", "Fake")
    assert bool(case.note) == any(case.note in note for note in answer.json["notes"] if case.note)
    assert line["image"] == hashlib.sha256(data).hexdigest()[:12] and line["bytes"] == len(data)


def test_an_image_of_exactly_the_limit_fits_as_it_does_on_the_command_line(client):
    data = photo()
    assert judge(client, data + bytes(MAX_BYTES - len(data))).status_code == 200
    assert_problem(judge(client, data + bytes(MAX_BYTES + 1 - len(data))), "too-large", "larger than 10 MiB")


# -------------------------------------------------------------------------------------- rows 48 to 53: forms


def test_what_is_no_upload(client):
    assert_problem(client.post("/api/predict", json={"file": "x"}), "unsupported-media-type", "multipart/form-data")
    assert_problem(client.post("/api/predict", data={"file": "x"}), "unsupported-media-type")
    assert_problem(client.post("/api/predict", data=photo(), content_type="image/png"), "unsupported-media-type")
    assert_problem(client.post("/api/predict"), "unsupported-media-type")


def test_forms_without_boundary_empty_or_cut(client):
    body, headers = form(part(photo()))
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=é"):
        answer = client.post(
            "/api/predict", data=body, headers={"Content-Type": content_type.encode().decode("latin-1")}
        )
        assert_problem(answer, "missing-file")
    for cut in (b"", body[:20], body[:90], body[: len(body) // 2], body[:-8], b"\r\n" * 50, BOUNDARY.encode()):
        assert_problem(client.post("/api/predict", data=cut, headers=headers), "missing-file")
    assert_problem(send(client), "missing-file")


@pytest.mark.parametrize(
    "one",
    [part(photo(), name="image"), part(photo(), filename=None), part(photo(), filename=""), part(b"", filename="")],
)
def test_forms_without_a_file_called_file(client, one):
    assert_problem(send(client, one), "missing-file", "a field called file")


def test_two_files(client):
    assert_problem(send(client, part(photo()), part(photo(2))), "too-many-files", "2 images")
    assert send(client, part(photo()), part(b"", filename=""), part(b"x", name="more")).status_code == 200


@pytest.mark.parametrize(
    "name", [b"../../etc/passwd\0.jpg", b"x" * 300 + b".jpg", "🙂.jpg".encode(), b"\xff\xfe.jpg", b"%22"]
)
def test_file_names_do_not_matter(client, lines, name):
    answer = send(client, part(photo(), filename=name))
    assert answer.status_code == (400 if name == b"\xff\xfe.jpg" else 200)  # no UTF-8: then it is no form
    assert "passwd" not in answer.text + json.dumps(lines)


def test_forms_too_large(client):
    file = part(photo())
    assert_problem(send(client, file, part(b"x" * 70_000, name="note", filename=None)), "form-too-large", "64 KiB")
    assert_problem(send(client, file, *[part(b"x", name=f"f{i}", filename=None) for i in range(8)]), "form-too-large")
    assert send(client, file, *[part(b"x", name=f"f{i}", filename=None) for i in range(7)]).status_code == 200
    assert send(client, file, part(b"x" * 60_000, name="note", filename=None)).status_code == 200
    assert (
        send(client, part(photo() + bytes(3 * 2**20)), part(b"x" * 60_000, name="n", filename=None)).status_code == 200
    )


def test_damaged_forms_never_break_it(client):
    """Whatever bytes come, the answer is one of the table."""
    body, headers = form(part(b"x", name="note", filename=None), part(photo()), part(b"", filename=""))
    draw = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(body)
        for at in draw.integers(0, min(len(body), draw.choice([300, len(body)])), draw.integers(1, 12)):
            broken[at : at + draw.integers(0, 3)] = draw.integers(0, 256, draw.integers(0, 3), np.uint8).tobytes()
        answer = client.post("/api/predict", data=bytes(broken), headers=headers)
        assert answer.status_code in (200, 400, 413, 415, 422), (answer.text, bytes(broken))


# --------------------------------------------------------------------------- rows 55 to 61 and 65: asking


@pytest.mark.parametrize("path", ["/api/predict", "/upload"])
def test_another_method(client, path):
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = client.open(path, method=method)
        if method == "GET":
            assert_problem(answer, "method-not-allowed")
        assert answer.status_code == 405 and set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    answer = client.options(path)
    assert answer.status_code == 200 and "Access-Control-Allow-Origin" not in answer.headers
    assert set(client.post("/healthz").headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize(
    "path",
    ["/nope", "/api", "/api/", "/api/nope", "/assets/", "/assets/x", "/assets/../../server.py",
     "/assets/%2e%2e/%2e%2e/server.py", "/%2e%2e/server.py", "/..%2fserver.py", "/assets/..%5c..%5cserver.py", "/.env",
     "/assets//etc/passwd", "/server.py", "/openapi.json", "/assets/a%00b", "/assets/" + "x" * 5000],
)  # fmt: skip
def test_unknown_addresses(client, tmp_path, path):
    built(tmp_path)
    (tmp_path / "server.py").write_text("secret")
    answer = client.get(path)
    assert_problem(answer, "not-found")
    assert "secret" not in answer.text


def test_unknown_models(client, network):
    for name in ("nope", "../../x", "fake", "x" * 3000):
        assert_problem(judge(client, photo(), f"/api/predict?model={name}"), "unknown-model", "fake.onnx")
        assert_problem(client.get(f"/api/model?model={name}"), "unknown-model")
    assert not network.seen


def test_bad_parameters(client):
    for value in ("2", "yes", "", "1 "):
        assert_problem(
            judge(client, photo(), f"/api/predict?explain={value}"), "bad-parameter", "explain must be 0 or 1"
        )
    assert "heatmap" not in judge(client, photo(), "/api/predict?explain=0").json


def test_other_sites(client, network):
    assert_problem(judge(client, photo(), headers={"Sec-Fetch-Site": "cross-site"}), "cross-site")
    assert_problem(judge(client, photo(), "/upload", headers={"Sec-Fetch-Site": "cross-site"}), "cross-site")
    assert not network.seen
    for site in ("same-origin", "same-site", "none"):
        assert judge(client, photo(), headers={"Sec-Fetch-Site": site}).status_code == 200
    assert client.get("/api/config", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200  # a link to it


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.example:80", "", "a b", "[::1", "1.2.3"]
)
def test_hosts_it_does_not_go_by(client, host):
    for answer in (client.get("/healthz", headers={"Host": host}), judge(client, photo(), headers={"Host": host})):
        assert_problem(answer, "bad-host")


def test_hosts_it_goes_by(client):
    for host in (
        "localhost",
        "localhost:5000",
        "LOCALHOST",
        "127.0.0.1:5000",
        "[::1]:5000",
        "192.168.1.7",
        "a.localhost",
    ):
        assert client.get("/healthz", headers={"Host": host}).status_code == 200
    assert trusted("detector.example.org:80", ("detector.example.org",)) and not trusted(
        "example.org", ("x.example.org",)
    )


def test_a_limited_rate(network, tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("webapp.time.monotonic", lambda: now[0])
    client = create_app(detector_of(network, tmp_path), Config(log=lambda line: None, rate=60)).test_client()
    for _ in range(60):
        assert judge(client, photo()).status_code == 200
    now[0] += 20
    answer = judge(client, photo())
    assert_problem(answer, "too-many-requests", "60 images a minute")
    assert answer.headers["Retry-After"] == "41"
    assert client.get("/healthz").status_code == 200
    assert judge(client, photo(), environ_base={"REMOTE_ADDR": "10.0.0.2"}).status_code == 200
    now[0] += 41
    assert judge(client, photo()).status_code == 200


def test_while_the_model_is_loading(tmp_path, trained, lines):
    models = Models(model_files(str(trained / "best.safetensors")), device="cpu")
    client = create_app(models, Config(log=lines.append)).test_client()
    for answer in (judge(client, photo()), client.get("/readyz"), client.get("/api/model")):
        assert_problem(answer, "not-ready", "still being loaded")
        assert answer.headers["Retry-After"] == "2"
    assert client.get("/healthz").status_code == 200
    assert client.get("/api/models").json == {"models": ["best.safetensors"]}
    models.load(Bench(Measures(), 2).prepare)
    assert client.get("/readyz").json == {"status": "ready"}
    assert judge(client, photo()).status_code == 200


def test_a_model_that_raises(client, network, lines):
    network.error = RuntimeError("a secret: /home/someone")
    answer = judge(client, photo())
    assert_problem(answer, "internal")
    assert "secret" not in answer.text + str(lines) and "RuntimeError at tests/server_world.py:" in lines[0]["error"]
    network.error = None
    assert judge(client, photo()).status_code == 200


def test_a_model_that_returns_nan(tmp_path, lines):
    detector = detector_of(lambda batch: np.full((len(batch), 2), np.nan), tmp_path)
    answer = judge(create_app(detector, Config(log=lines.append)).test_client(), photo())
    assert_problem(answer, "internal")
    assert "non-finite" not in answer.text and "the model returned a non-finite score" in lines[0]["error"]


# -------------------------------------------------------------------------------------------- the answer


def test_the_answer_is_the_command_line_s(trained, small_set, capsys):
    """The whole of it: both judge the same bytes with the same file."""
    path = trained / "best.safetensors"
    images = sorted((small_set / "Test").rglob("*.png"))
    assert predict.main([*map(str, images), "--model", str(path), "--device", "cpu", "--json"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    models = Models(model_files(str(path)), device="cpu")
    app = create_app(models, Config(log=lambda line: None))
    models.load(app.bench.prepare)
    for image, expected in zip(images, said, strict=True):
        answer = judge(app.test_client(), image.read_bytes()).json
        assert answer.pop("message") == answer["verdict"]
        assert answer.pop("score") == pytest.approx(expected.pop("score"), abs=1e-6)
        assert answer == {name: value for name, value in expected.items() if name != "file"}


def test_bit_identical_tensors_through_another_door(client, network, tmp_path):
    """The fourth door; tests/test_doors.py has the other three."""
    command = Network()
    detector = Detector(command, Metadata("tiny", Preprocess(48)), "x")
    sideways = photo(3, 100, "JPEG", exif=hostile.exif(6))
    for data in (photo(), photo(2, 90, "WEBP"), sideways, photo(4, 40), hostile.IMAGES["alpha.png"].make()):
        judge(client, data)
        predict.predict_image(data, detector)
    assert len(network.seen) == len(command.seen) == 5
    assert all(np.array_equal(*pair) for pair in zip(network.seen, command.seen, strict=True))


def test_faces_and_nothing_to_judge(network, tmp_path, monkeypatch):
    from imaging.faces import Face

    detector = detector_of(network, tmp_path)
    detector.metadata = replace(detector.metadata, preprocess=Preprocess(48, frame="face"))
    boxes = [(10.5, 12.0, 90.0, 100.0), (120.0, 20.0, 50.0, 60.0)]
    detector.find_faces = lambda image: (tuple(Face(box, (), 0.9) for box in boxes), 2)
    client = create_app(detector, Config(log=lambda line: None)).test_client()
    answer = judge(client, photo(1, 200)).json
    assert [tuple(face["box"]) for face in answer["faces"]] == boxes
    assert answer["score"] == max(face["score"] for face in answer["faces"])
    detector.find_faces = lambda image: ((), 0)
    answer = judge(client, photo(1, 200)).json
    assert (answer["verdict"], answer["message"], answer["score"], answer["faces"]) == ("Unsure", "Unsure", None, [])


def test_the_original_program_s_address(client):
    first, second = judge(client, photo()).json, judge(client, photo(), "/upload").json
    assert first == second and first["message"] in ("Real", "Fake", "Unsure")


def test_several_models(tmp_path, lines):
    detectors = {name: detector_of(Network(), tmp_path, name) for name in ("a.onnx", "b.onnx")}
    detectors["b.onnx"].metadata = replace(detectors["b.onnx"].metadata, calibration=Calibration(threshold=1.0))
    client = create_app(detectors, Config(log=lines.append)).test_client()
    assert client.get("/api/models").json == {"models": ["a.onnx", "b.onnx"]}
    assert judge(client, photo()).json["model"]["name"] == "a.onnx"
    answer = judge(client, photo(), "/api/predict?model=b.onnx").json
    assert (answer["model"]["name"], answer["thresholds"], answer["verdict"]) == (
        "b.onnx", {"fake": 1.0, "unsure": [0.5, 1.0]}, "Unsure",
    )  # fmt: skip
    assert client.get("/api/model?model=b.onnx").json["thresholds"]["fake"] == 1.0


def test_heat_maps(client, trained, small_set):
    assert_problem(judge(client, photo(), "/api/predict?explain=1"), "not-explainable", "fake.onnx")
    models = Models(model_files(str(trained / "best.safetensors")), device="cpu")
    app = create_app(models, Config(log=lambda line: None))
    models.load(app.bench.prepare)
    data = next((small_set / "Test" / "Fake").iterdir()).read_bytes()
    answer = judge(app.test_client(), data, "/api/predict?explain=1").json
    plain = judge(app.test_client(), data).json
    head, _, body = answer.pop("heatmap").partition(",")
    assert head == "data:image/jpeg;base64" and len(answer.pop("heatmap_sentence")) > 20
    assert answer == plain
    from base64 import b64decode

    from imaging.door import open_image

    assert open_image(b64decode(body)).format == "JPEG"


# ---------------------------------------------------------------------------------- what it says of itself


def test_limits(client):
    found = client.get("/api/config").json
    assert found["max_bytes"] == MAX_BYTES and found["media_types"][0] == "image/jpeg" and found["field"] == "file"
    assert "image/heic" in found["media_types"] and ".jpg" in found["extensions"]
    assert (found["max_pixels"], found["min_side"], found["max_aspect"]) == (50_000_000, 32, 20)
    assert found["requests_per_minute"] is None


def test_what_is_known_of_a_model(trained, tmp_path):
    models = Models(model_files(str(trained / "best.safetensors")), device="cpu")
    client = create_app(models, Config(log=lambda line: None)).test_client()
    models.load(lambda detector: None)
    found, training = client.get("/api/model").json, models.detectors["best.safetensors"].metadata.training
    assert found["sha256"] == hashlib.sha256((trained / "best.safetensors").read_bytes()).hexdigest()
    assert found["data"]["Train"] == {"n": 48, "digest": training["data"]["Train"]["digest"]}
    assert found["date"] == training["started"] and found["epoch"] == training["epoch"]
    assert found["validation"]["auc"] == training["validation"]["val_auc"] and found["validation"]["n"] == 16
    assert found["sentences"][0] == "Trained from scratch on 48 images; chosen by how it did on 16 others."
    assert (found["metrics"], found["confusion_matrix"], found["weak_spots"]) == (None, None, None)
    assert str(trained) not in json.dumps(found)  # no path of the machine it was trained on


def test_a_model_card(network, tmp_path):
    detector = detector_of(network, tmp_path)
    client = create_app(detector, Config(log=lambda line: None)).test_client()
    assert client.get("/api/model").json["sentences"][0] == "Its file does not say what it was trained on."
    card = {"weak_spots": ["profiles"], "metrics": [{"set": "x", "auc": 0.9}], "date": "2026-01-01", "other": 1}
    (tmp_path / "fake.card.json").write_text(json.dumps(card))
    found = client.get("/api/model").json
    assert (found["weak_spots"], found["metrics"], found["date"]) == (
        ["profiles"],
        [{"set": "x", "auc": 0.9}],
        "2026-01-01",
    )
    assert "other" not in found and found["data_notes"] is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"metrics": 1}', '{"date": []}'])
def test_a_broken_model_card_is_refused_at_the_start(trained, tmp_path, text):
    (tmp_path / "x.safetensors").write_bytes((trained / "best.safetensors").read_bytes())
    (tmp_path / "x.card.json").write_text(text)
    with pytest.raises(ModelError, match="x.card.json"):
        model_files(str(tmp_path))


@pytest.mark.parametrize(
    "training",
    [{"data": 1}, {"data": {"Train": {"n": "many"}}}, {"validation": {"val_auc": "high"}, "epoch": []}, {"assumed": 1},
     {"settings": {"pretrained": ["x"]}, "data": {"Train": {"n": 3}}}, {"assumed": "x" * 5000, "started": {"a": 1}}],
)  # fmt: skip
def test_odd_metadata_is_not_there(network, tmp_path, training):
    client = create_app(detector_of(network, tmp_path, training=training), Config(log=lambda line: None)).test_client()
    answer = client.get("/api/model")
    assert answer.status_code == 200 and len(answer.data) < 3000 and answer.json["sentences"]


def test_counters(client):
    judge(client, photo())
    judge(client, b"no image")
    client.get("/nope")
    text = client.get("/metrics")
    assert text.mimetype == "text/plain"
    for line in (
        'deepfake_requests_total{route="/api/predict",status="200"} 1.0',
        'deepfake_requests_total{route="/api/predict",status="415"} 1.0',
        'deepfake_requests_total{route="none",status="404"} 1.0',
        "deepfake_decode_seconds_count 2.0", "deepfake_inference_seconds_count 1.0", "deepfake_batch_size_sum 1.0",
        "deepfake_uploads_in_hand 0.0", "deepfake_queue_depth 0.0",
    ):  # fmt: skip
        assert line in text.text.splitlines(), text.text
    assert "deepfake_verdicts_total" in text.text


def test_the_log_says_what_is_needed_and_no_more(client, lines):
    data = photo(1, 64, "JPEG", exif=hostile.exif(6))
    judge(
        client, data, "/api/predict?model=fake.onnx", headers={"User-Agent": "spy/1.0", "X-Forwarded-For": "10.9.8.7"}
    )
    client.get("/secret-path?token=abc")
    line, other = lines
    assert set(line) == {"time", "id", "route", "status", "ms", "image", "bytes", "format", "size", "verdict"}
    assert (line["format"], line["size"], line["status"], line["route"]) == ("JPEG", [64, 64], 200, "/api/predict")
    assert line["image"] == hashlib.sha256(data).hexdigest()[:12] and line["ms"] > 0
    assert set(other) == {"time", "id", "route", "status", "ms"} and len(line["id"]) == 16
    for word in ("secret", "127.0.0.1", "10.9.8.7", "spy", "token"):
        assert word not in json.dumps(lines)


# ------------------------------------------------------------------------------------------------ the page


def built(folder):
    """A page as Vite builds it."""
    (folder / "dist/assets").mkdir(parents=True)
    (folder / "dist/index.html").write_text("<!doctype html><script type=module src=/assets/index-abc.js></script>")
    (folder / "dist/assets/index-abc.js").write_text("1")
    (folder / "dist/icon.svg").write_text("<svg/>")


def test_the_page(client, tmp_path):
    with client.get("/") as answer:
        assert answer.status_code == 200 and "npm run build" in answer.text and answer.mimetype == "text/html"
        assert_headers(answer)
    built(tmp_path)
    for path, mimetype, cached in (
        ("/", "text/html", "no-cache"),
        ("/assets/index-abc.js", "text/javascript", "public, max-age=31536000, immutable"),
        ("/icon.svg", "image/svg+xml", "no-cache"),
    ):
        with client.get(path) as answer:
            assert (answer.status_code, answer.mimetype, answer.headers["Cache-Control"]) == (200, mimetype, cached)
            assert_headers(answer)
            again = {"If-None-Match": answer.headers["ETag"]}
        with client.get(path, headers=again) as answer:
            assert answer.status_code == 304
    assert client.get("/api/models").headers["Cache-Control"] == "no-store"


def test_other_origins_only_when_named(network, tmp_path):
    config = Config(log=lambda line: None, cors_origins=("https://page.example",))
    client = create_app(detector_of(network, tmp_path), config).test_client()
    headers = {"Origin": "https://page.example", "Sec-Fetch-Site": "cross-site"}
    answer = judge(client, photo(), headers=headers)
    assert answer.status_code == 200 and answer.headers["Access-Control-Allow-Origin"] == "https://page.example"
    asked = client.options("/api/predict", headers=headers | {"Access-Control-Request-Method": "POST"})
    assert asked.headers["Access-Control-Allow-Origin"] == "https://page.example"
    other = headers | {"Origin": "https://evil.example"}
    assert_problem(judge(client, photo(), headers=other), "cross-site")
    assert "Access-Control-Allow-Origin" not in client.get("/api/config", headers=other).headers
    assert "Access-Control-Allow-Origin" not in client.get("/healthz", headers=headers).headers


# ----------------------------------------------------------------------------------------- judging at once


def at_once(bench, detector, count, gone=lambda: False):
    """Judge so many images from as many threads; how many were at work together."""
    threads = [
        threading.Thread(target=bench.judge, args=(detector, photo()), kwargs={"gone": gone, "explain": False})
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.parametrize(("concurrent", "expected"), [(True, 3), (False, 1)])
def test_as_many_judgements_as_cores(network, tmp_path, concurrent, expected):
    network.concurrent = concurrent
    network.gate.clear()
    threads = at_once(Bench(Measures(), 8, cores=3), detector_of(network, tmp_path), 8)
    time.sleep(0.3)
    assert network.now == expected
    network.gate.set()
    for thread in threads:
        thread.join(10)
    assert network.most == expected and len(network.seen) == 8


def test_at_most_two_images_are_opened_or_wait_opened(network, tmp_path, monkeypatch):
    """While judging is held up, pictures in memory are the two that wait and the one that is judged."""
    import bench

    opened = []
    monkeypatch.setattr(bench, "open_image", lambda data: opened.append(1) or hostile_open(data))
    from imaging.door import open_image as hostile_open

    network.concurrent = False
    network.gate.clear()
    threads = at_once(Bench(Measures(), 8, cores=3), detector_of(network, tmp_path), 8)
    time.sleep(0.3)
    assert len(opened) == 3
    network.gate.set()
    for thread in threads:
        thread.join(10)
    assert len(opened) == 8


def test_a_client_that_left_is_not_judged(network, tmp_path):
    bench, detector = Bench(Measures(), 8, cores=1), detector_of(network, tmp_path)
    with pytest.raises(ClientGoneError):
        bench.judge(detector, photo(), gone=lambda: True, explain=False)
    network.gate.clear()
    [first] = at_once(bench, detector, 1)
    time.sleep(0.1)
    left = time.monotonic() + 0.2
    with pytest.raises(ClientGoneError):  # while it waits for its turn
        bench.judge(detector, photo(), gone=lambda: time.monotonic() > left, explain=False)
    network.gate.set()
    first.join(10)
    assert len(network.seen) == 1
    bench.judge(detector, photo(), gone=lambda: False, explain=False)  # no turn was lost


def test_batches_are_whatever_waits(network):
    sizes, answers = [], {}
    batching = Batching(network, sizes.append)
    images = np.random.default_rng(0).normal(size=(40, 1, 3, 8, 8)).astype(np.float32)

    def ask(i):
        answers[i] = batching(images[i])

    network.gate.clear()
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(40)]
    for thread in threads:
        thread.start()
        time.sleep(0.002)
    network.gate.set()
    for thread in threads:
        thread.join(10)
    assert sizes[0] < 16 and max(sizes) == 16 and sum(sizes) == 40 and network.most == 1
    for i in range(40):
        assert np.array_equal(answers[i], network(images[i]))
    assert len(batching(np.zeros((20, 3, 8, 8), np.float32))) == 20  # more than a batch, from one asker


def test_an_error_in_a_batch_reaches_each_asker_and_the_next_batch_works(network):
    batching, images = Batching(network), np.zeros((1, 3, 8, 8), np.float32)
    network.error = RuntimeError("x")
    for _ in range(2):
        with pytest.raises(RuntimeError):
            batching(images)
    network.error = None
    assert batching(images).shape == (1, 2) and batching.concurrent


def test_a_network_on_a_gpu_gets_batches(network, tmp_path):
    class OnGpu(Network):
        concurrent, on_gpu = False, True

    bench, detector = Bench(Measures(), 8, cores=2), detector_of(OnGpu(), tmp_path)
    bench.prepare(detector)
    bench.prepare(detector)
    assert isinstance(detector.backend, Batching) and isinstance(detector.backend.backend, OnGpu)
    assert bench.judge(detector, photo(), gone=lambda: False, explain=False)[1].score is not None
    plain = detector_of(network, tmp_path)
    bench.prepare(plain)
    assert plain.backend is network


# ---------------------------------------------------------------------------------------------- the versions


@pytest.mark.parametrize(
    ("package", "floor"),
    [("torch", "2.11"), ("pillow", "12.3"), ("pillow-heif", "1.8.1"), ("werkzeug", "3.1.6"), ("flask", "3.1.3"),
     ("flask-cors", "6"), ("waitress", "3.0.2")],
)  # fmt: skip
def test_known_holes_are_closed(package, floor):
    assert Version(importlib.metadata.version(package)) >= Version(floor)


def test_the_contract_lists_every_route():
    paths = json.loads((ROOT / "deepfake-app/openapi.json").read_text())["paths"]
    app = create_app({"x": Detector(None, Metadata("tiny", Preprocess(48)), ROOT / "README.md")})
    served = {rule.rule for rule in app.url_map.iter_rules()} - {"/", "/<file:name>", "/assets/<path:name>"}
    assert served == set(paths)


@pytest.mark.parametrize("path", sorted((ROOT / "deepfake-app").glob("*.py")), ids=lambda path: path.name)
def test_the_app_keeps_the_order_of_rooms(path):
    """It is one of the last: nothing of training, no other program; images are opened by the door alone."""
    assert not imported(path) & {"train", "eval", "predict", "tools", "training", "dataset", "model"}
    assert not called(path) & {"Image.open", "torch.load"}
    assert path.stem not in sys.stdlib_module_names and not (ROOT / path.stem).exists()


def test_who_waits_is_served_in_order():
    line, served, threads = Line(1), [], []
    line.enter(lambda: False)
    for number in range(6):
        threads.append(
            threading.Thread(target=lambda number=number: (line.enter(lambda: False), served.append(number)))
        )
        threads[-1].start()
        deadline = time.monotonic() + 10
        while len(line.waiting) <= number:
            assert time.monotonic() < deadline
            time.sleep(0.001)
    for number in range(6):
        line.leave()
        threads[number].join(timeout=10)
        assert served == list(range(number + 1))
    line.leave()
    assert line.free == 1


def test_a_client_that_leaves_the_line_takes_no_place():
    line = Line(1)
    line.enter(lambda: False)
    with pytest.raises(ClientGoneError):
        line.enter(lambda: True)
    line.leave()
    assert (line.free, len(line.waiting)) == (1, 0)
