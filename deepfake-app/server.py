"""Serve a detector: the API, and the page in deepfake-app/web.

    python deepfake-app/server.py
    python deepfake-app/server.py --model results/ --host 0.0.0.0 --port 8000 --trusted-host detector.example.org
    python deepfake-app/server.py --model best.onnx --reload                  # while developing
    curl -F file=@photo.jpg http://127.0.0.1:5000/api/predict

Without --model it serves models/default.onnx. With a folder, every model below it is loaded, and ?model=NAME chooses;
of X.onnx and X.safetensors, side by side, only the first. An .onnx model (python -m tools.export) needs no torch and is
the fastest on a CPU. Images are judged in memory, never written. stderr gets one JSON line a request.

Exit status: 0 stopped by SIGTERM, what was in flight is answered; 1 it cannot listen there; 2 usage; 3 a model cannot
be used; 130 Ctrl-C.
"""

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # a script finds only what lies beside it

try:
    import listener
    from appconfig import Config, say
    from bench import Models, model_files
    from detector import DEFAULT_MODEL, ModelError, shipped
    from memory import return_freed_memory
    from reloading import run_again_on_changes
    from webapp import App, create_app, refuse
except ModuleNotFoundError as absent:  # a sentence with the remedy, instead of a traceback
    from quiet import missing

    missing(absent.name)

__all__ = ["create_app", "main"]


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    if args.reload:
        given = sys.argv[1:] if argv is None else argv
        return run_again_on_changes(ROOT, [argument for argument in given if argument != "--reload"])
    return serve(args)


def serve(args: argparse.Namespace) -> int:
    """Listen, load the models meanwhile, and answer until a signal comes."""
    quieten_waitress()
    return_freed_memory()
    try:
        models = Models(model_files(args.model), device=args.device)
        listening = listener.listen(args.host, args.port)
    except ModelError as error:
        return fail(3, f"{error}{'' if os.path.exists(args.model) else '; name a detector with --model'}")
    except OSError as error:
        return fail(1, f"cannot listen on {args.host}:{args.port}: {error.strerror or error}")
    config = Config(
        threads=args.threads,
        rate=args.rate_limit,
        trusted_hosts=tuple(name.lower() for name in args.trusted_host),
        cors_origins=tuple(args.cors_origin),
    )
    return run(create_app(models, config), listening)


def run(app: App, listening) -> int:
    """Serve an application until a signal comes or its models cannot be loaded. Returns the exit status."""
    server = listener.Server(app, listening, app.settings, lambda problem: refuse(app, problem))
    failures: list[str] = []
    ended = stop_on_signals(server)
    say(f"listening on {listener.describe(listening)}, loading {', '.join(app.models.names)}")
    threading.Thread(target=load, args=(app, server, failures), name="loading", daemon=True).start()
    server.run()
    return fail(3, failures[0]) if failures else 130 if signal.SIGINT in ended else 0


def load(app: App, server: listener.Server, failures: list[str]) -> None:
    """In a thread of its own, so that the server says that it is not ready instead of nothing."""
    try:
        app.models.load(app.bench.prepare)
        for name, detector in app.models.detectors.items():
            say(f"ready: {name}, {app.bench.describe(detector)}")
    except Exception as error:  # noqa: BLE001 - a server that is never ready must not live on
        failures.append(str(error) if isinstance(error, ModelError) else f"{type(error).__name__}: {error}")
        server.stop()


def stop_on_signals(server: listener.Server) -> list[int]:
    """SIGTERM and Ctrl-C end the server once everything in flight is answered; a second one ends it at once."""
    came: list[int] = []

    def on_signal(number: int, _frame) -> None:
        came.append(number)
        if len(came) > 1:
            listener.end_at_once(128 + number)
        server.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    return came


def quieten_waitress() -> None:
    """Its own lines are no JSON and may hold paths; what matters of them is in ours."""
    logging.getLogger("waitress").setLevel(logging.CRITICAL)
    logging.getLogger("waitress.queue").setLevel(logging.CRITICAL)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="server.py", allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--model",
        type=shipped,
        default=str(DEFAULT_MODEL),
        help="model file, name of a detector that ships (default or large), or a folder of files, of which the first"
        " by name is the default (default: %(default)s)",
    )
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine only)")
    add("--port", type=port, default=5000, help="default: %(default)s; 0: any that is free")
    add("--threads", type=threads, default=Config.threads, help="two stay free of uploads (default: %(default)s)")
    add("--trusted-host", action="append", default=[], metavar="NAME", help="a host name that it is reached by")
    add("--cors-origin", action="append", default=[], metavar="ORIGIN", help="https://other.example may call the API")
    add("--rate-limit", type=rate, default=0, metavar="N", help="images a minute from one address (default: no limit)")
    add("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1 ...")
    add("--reload", action="store_true", help="start again whenever a source file changes; for developing")
    return parser.parse_args(argv)


def port(text: str) -> int:
    if not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"must be from 0 to 65535, not {text}")
    return int(text)


def threads(text: str) -> int:
    if not 3 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"must be from 3 to 64, not {text}")
    return int(text)


def rate(text: str) -> int:
    if not 0 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"must be from 0 to 100000, not {text}")
    return int(text)


def fail(status: int, message: str) -> int:
    say(f"server.py: error: {message}")
    return status


if __name__ == "__main__":
    listener.end_at_once(main())
