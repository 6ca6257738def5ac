"""Time this program against the original one, side by side.

    python -m tools.benchmark predict --arch efficientnet_b0
    python -m tools.benchmark predict --model models/default.onnx
    python -m tools.benchmark train --arch resnet50 --data data --repeats 5
    python -m tools.benchmark loader --data data
    python -m tools.benchmark eval --arch efficientnet_b0
    python -m tools.benchmark serve --repeats 5
    python -m tools.benchmark quality --arch efficientnet_b0 --data data --epochs 3 --seeds 3

`predict` judges an image from a cold start, and a folder of 200. `train` takes steps of training, with the time of
loading their images. `loader` loads images only. `quality` trains both ways and compares what comes of it, and with
--rival "FLAGS OF train.py" says how long another way takes to get as far. `eval` knows no other side: it judges a
folder with one of our models and with two, and says what the images cost and what the networks do. `serve` asks both
servers from 1, 8 and 32 clients.

The other side is our own re-implementation of what the original program did, as faithful as it is known. Both sides
take turns, so that a drift of the machine's speed hits both; figures are medians, ratios medians of pairs. Nothing else
should run beside it. The last line of stdout is JSON.
"""

import argparse
import json
import sys

import names
from tools.benchmark import evaluate, predict, serve, training


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    if args.what == "predict":
        result = predict.benchmark(args.arch, args.repeats, args.model)
    elif args.what == "train":
        result = training.benchmark_steps(
            args.arch, args.data, args.repeats, batch_size=args.batch_size, device=args.device, compiled=args.compile
        )
    elif args.what == "eval":
        result = evaluate.benchmark(args.arch, args.data, args.repeats)
    elif args.what == "serve":
        result = serve.benchmark(args.arch, args.repeats, args.seconds)
    elif args.what == "loader":
        result = training.benchmark_loader(args.data, args.repeats)
    else:
        seeds = list(range(args.seed, args.seed + args.seeds))
        result = training.benchmark_quality(args.arch, args.data, args.epochs, seeds, args.rival)
    print(json.dumps({"benchmark": args.what} | result))
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("what", choices=("predict", "train", "loader", "eval", "serve", "quality"))
    add("--arch", choices=names.ARCHITECTURES[:2], default="resnet50")
    add("--model", help="of predict: a model file for our side, instead of random weights of --arch")
    add("--data", help="folder with Train/ and Validation/ (all but predict, serve); of eval, with Real/ and Fake/")
    add("--repeats", type=int, default=10, help="pairs (default: %(default)s)")
    add("--batch-size", type=int, default=32, help="of train (default: %(default)s)")
    add("--device", default="auto", help="of train: auto, cpu, cuda")
    add("--seconds", type=float, default=10, help="of serve: a turn (default: %(default)g)")
    add("--compile", action="store_true", help="of train: ours with torch.compile")
    add("--epochs", type=int, default=8, help="of quality (default: %(default)s)")
    add("--seeds", type=int, default=1, help="of quality (default: %(default)s)")
    add("--seed", type=int, default=0, help="the first of them (default: %(default)s)")
    add("--rival", action="append", default=[], metavar="FLAGS", help="of quality: flags of train.py, in quotes")
    args = parser.parse_args(argv)
    if args.what not in ("predict", "eval", "serve") and not args.data:
        parser.error(f"{args.what} needs --data")
    return args


if __name__ == "__main__":
    sys.exit(main())
