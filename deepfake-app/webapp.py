"""The routes of the server.

app = create_app(load("best.onnx"))          # or {"name": detector, ...}, or Models that are still loading
app.test_client().get("/api/models").json    # {"models": ["best.onnx"]}
"""

import hashlib
import secrets
import time
from collections import deque
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from flask import Flask, Response, current_app, g, json, request, send_from_directory
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge
from werkzeug.routing import BaseConverter

import about
from appconfig import HERE, Config
from bench import Bench, ClientGoneError, Models
from detector import Detector, ModelError
from imaging.door import MAX_BYTES, ImageError
from measures import Measures
from problems import INTERNAL, MEDIA_TYPE, SECURITY_HEADERS, ProblemError, too_large
from uploads import BODY_BYTES, MemoryRequest, read_upload

NOT_BUILT = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Deepfake detector</title></head>
<body>
<h1>The page is not built yet</h1>
<p>The server runs. Build its page once, then reload:</p>
<pre>cd deepfake-app/web
npm ci --ignore-scripts
npm run build</pre>
<p>Without it, the API works: <a href="/api/openapi.json">/api/openapi.json</a>.</p>
</body>
</html>
"""
REMEMBERED = 10_000  # addresses, where their requests are counted
DAY = 86_400  # seconds


class FileName(BaseConverter):
    """A visible file with an extension, in no folder."""

    regex = r"[^/.][^/]*\.[^/]+"


class App(Flask):
    """A Flask application that knows its detectors."""

    request_class = MemoryRequest
    settings: Config
    models: Models
    bench: Bench
    measures: Measures
    rate: "Rate"


def create_app(detectors: Detector | dict[str, Detector] | Models, config: Config | None = None) -> App:
    """The application that judges images with these detectors; the first one is the default."""
    app = App(__name__, root_path=str(HERE), static_folder=None)
    app.settings = config or Config()
    app.measures = Measures()
    app.bench = Bench(app.measures, app.settings.uploads)
    app.models = as_models(detectors)
    app.rate = Rate(app.settings.rate)
    app.json.sort_keys = False
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES
    app.url_map.converters["file"] = FileName
    app.url_map.merge_slashes = False  # a redirect would repeat the Host header
    app.before_request(begin)
    app.after_request(finish)
    app.register_error_handler(Exception, as_answer)
    for path in ("/api/predict", "/upload"):
        app.add_url_rule(path, view_func=predict, methods=["POST"])
    for path, view in GET.items():
        app.add_url_rule(path, view_func=view, methods=["GET"])
    if app.settings.cors_origins:
        from flask_cors import CORS  # here: most servers have one origin only

        CORS(app, resources="/api/*", origins=list(app.settings.cors_origins), methods=["GET", "POST"], max_age=600)
    return app


def as_models(detectors: Detector | dict[str, Detector] | Models) -> Models:
    if isinstance(detectors, Models):
        return detectors
    if not isinstance(detectors, dict):
        detectors = {detectors.path.name: detectors}
    return Models.of(detectors)


# ------------------------------------------------------------------------------------------ the routes


def predict() -> Response:
    """POST /api/predict and /upload: the verdict about one image."""
    app: App = current_app
    app.rate.check(request.remote_addr or "")
    explain = parameter("explain", ("0", "1")) == "1"
    name, detector = app.models.named(request.args.get("model"))
    if explain and not explains(detector):
        raise ProblemError("not-explainable", f"{name} gives no heat map; ask without explain=1, or another model")
    if not app.bench.hands.acquire(blocking=False):
        raise ProblemError("busy", "too many images at once; try again in a second")
    try:
        with app.measures.in_hand.track_inprogress():
            data = read_upload(request)
            g.line |= {"image": hashlib.sha256(data).hexdigest()[:12], "bytes": len(data)}
            picture, verdict, explanation = app.bench.judge(detector, data, gone=client_gone(), explain=explain)
    finally:
        app.bench.hands.release()
    g.line |= {"format": picture.format, "size": list(picture.image.size), "verdict": verdict.verdict}
    return as_json(about.answer(detector, name, picture, verdict, explanation))


def parameter(name: str, allowed: tuple[str, ...]) -> str | None:
    value = request.args.get(name)
    if value is not None and value not in allowed:
        raise ProblemError("bad-parameter", f"{name} must be {' or '.join(allowed)}")
    return value


def client_gone() -> Callable[[], bool]:
    """Asks waitress whether the connection is still there; other servers do not say."""
    return request.environ.get("waitress.client_disconnected", lambda: False)


def explains(detector: Detector) -> bool:
    from judging.explain import can_explain  # here: most requests ask for no heat map

    return can_explain(detector)


def model() -> Response:
    """GET /api/model: what is known of a detector."""
    name, detector = current_app.models.named(request.args.get("model"))
    return as_json(about.describe(detector, name, explains=explains(detector)))


def models() -> Response:
    return as_json({"models": current_app.models.names})


def config() -> Response:
    return as_json(about.limits(current_app.settings))


def openapi() -> Response:
    return Response((HERE / "openapi.json").read_bytes(), mimetype="application/json")


def healthz() -> Response:
    return as_json({"status": "alive"})


def readyz() -> Response:
    current_app.models.check_ready()
    return as_json({"status": "ready"})


def metrics() -> Response:
    return Response(current_app.measures.text(), content_type=Measures.media_type)


def page() -> Response:
    folder = current_app.settings.page
    if not (folder / "index.html").is_file():
        return Response(NOT_BUILT, mimetype="text/html")
    return file_of(folder, "index.html")


def asset(name: str) -> Response:
    """A built file whose name changes with its content."""
    return file_of(current_app.settings.page / "assets", name, seconds=365 * DAY)


def page_file(name: str) -> Response:
    """What lies beside index.html: an icon."""
    return file_of(current_app.settings.page, name)


def file_of(folder: Path, name: str, *, seconds: int | None = None) -> Response:
    answer = send_from_directory(folder, name, max_age=seconds)  # None: asked for anew each time (no-cache)
    answer.cache_control.immutable = seconds is not None
    return answer


def as_json(content: dict) -> Response:
    return Response(json.dumps(content, ensure_ascii=False, allow_nan=False), mimetype="application/json")


GET = {
    "/": page,
    "/<file:name>": page_file,
    "/assets/<path:name>": asset,
    "/api/model": model,
    "/api/models": models,
    "/api/config": config,
    "/api/openapi.json": openapi,
    "/healthz": healthz,
    "/readyz": readyz,
    "/metrics": metrics,
}

# --------------------------------------------------------------------------- before and after each of them


def begin() -> None:
    """Who may ask at all."""
    g.began, g.id, g.line = time.perf_counter(), new_id(), {}
    settings: Config = current_app.settings
    if not trusted(request.host, settings.trusted_hosts):
        raise ProblemError("bad-host", "this server does not go by that name; start it with --trusted-host NAME")
    elsewhere = request.headers.get("Sec-Fetch-Site") == "cross-site"
    if elsewhere and request.method == "POST" and request.headers.get("Origin") not in settings.cors_origins:
        raise ProblemError("cross-site", "another site's page may not send images here")


def trusted(host: str, names: tuple[str, ...]) -> bool:
    """Whether a Host header is this machine's own name, an IP address, or one of `names`.

    A page of another site that lets its name point here (DNS rebinding) is none of them.
    """
    name = host.lower().removesuffix(".")
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0].removesuffix(".")
    if name == "localhost" or name.endswith(".localhost") or name in names:
        return True
    try:
        return bool(ip_address(name))
    except ValueError:
        return False


class Rate:
    """At most so many requests a minute from one address, where there is a limit."""

    def __init__(self, limit: int):
        self.limit, self.times = limit, {}

    def check(self, address: str) -> None:
        if not self.limit:
            return
        now = time.monotonic()
        if len(self.times) > REMEMBERED:
            recent = {a: times for a, times in list(self.times.items()) if times and times[-1] > now - 60}
            self.times = recent if len(recent) <= REMEMBERED else {}
        times = self.times.setdefault(address, deque(maxlen=self.limit))
        if len(times) == self.limit and times[0] > now - 60:
            wait = {"Retry-After": str(int(times[0] + 60 - now) + 1)}
            raise ProblemError("too-many-requests", f"more than {self.limit} images a minute from one address", wait)
        times.append(now)


def as_answer(error: Exception) -> Response:
    """Any error as a problem. What is not foreseen says nothing of itself, but to the log."""
    problem = as_problem(error)
    if problem.slug == "internal":
        g.line["error"] = where(error)
    return Response(problem.body(g.id), problem.status, problem.headers, content_type=MEDIA_TYPE)


def as_problem(error: Exception) -> ProblemError:
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, ImageError):
        return ProblemError(error.slug, error.detail)
    if isinstance(error, ClientGoneError):
        return ProblemError("client-gone", "the client left before its image was judged")
    if isinstance(error, NotFound):
        return ProblemError("not-found", "nothing is at this address")
    if isinstance(error, MethodNotAllowed):
        allowed = {"Allow": ", ".join(sorted(error.valid_methods or ()))}
        return ProblemError("method-not-allowed", f"this address takes {allowed['Allow']}", allowed)
    if isinstance(error, RequestEntityTooLarge):
        return too_large(MAX_BYTES)
    if isinstance(error, HTTPException) and 400 <= (error.code or 500) < 500:
        return ProblemError("bad-request", "the request makes no sense")
    return ProblemError("internal", INTERNAL)


def where(error: Exception) -> str:
    """The kind of an error and the line it comes from. Its text may quote a request; of a ModelError it does not."""
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    place = Path(trace.tb_frame.f_code.co_filename)
    said = f": {error}" if isinstance(error, ModelError) else ""
    return f"{type(error).__name__} at {place.parent.name}/{place.name}:{trace.tb_lineno}{said}"


def finish(answer: Response) -> Response:
    """Headers, counters and the log line of every answer."""
    answer.headers.extend(SECURITY_HEADERS)
    answer.headers["X-Request-Id"] = g.id
    if "Cache-Control" not in answer.headers:
        answer.headers["Cache-Control"] = "no-store"
    route = request.url_rule.rule if request.url_rule else None
    note(current_app, answer.status_code, route, began=g.began, instance=g.id, **g.line)
    return answer


def note(app: App, status: int, route: str | None, *, began: float, instance: str, **line: object) -> None:
    """Count a request, and log it: no file name, no EXIF, no address."""
    app.measures.requests.labels(route or "none", status).inc()
    milliseconds = round(1000 * (time.perf_counter() - began), 1)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    app.settings.log({"time": stamp, "id": instance, "route": route, "status": status, "ms": milliseconds} | line)


def refuse(app: App, problem: ProblemError) -> tuple[int, list[tuple[str, str]], bytes]:
    """(status, headers, body) for a request that never becomes one: the listener could not read it."""
    instance = new_id()
    note(app, problem.status, None, began=time.perf_counter(), instance=instance)
    headers = {"Content-Type": MEDIA_TYPE, "X-Request-Id": instance, "Cache-Control": "no-store"}
    return problem.status, list((headers | SECURITY_HEADERS | problem.headers).items()), problem.body(instance).encode()


def new_id() -> str:
    return secrets.token_hex(8)
