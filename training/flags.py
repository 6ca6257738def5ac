"""The flags of train.py."""

import argparse
import importlib.util
import os

import model
from imaging.preprocess import FRAMES, Preprocess
from names import ARCHITECTURES
from training import engine, resume
from training.cache import MODES
from training.recipes import RECIPES, Recipe, with_values


def parse_arguments(argv: list[str] | None, description: str | None = None) -> argparse.Namespace:
    """The flags, with the recipe's `values` and the `head` that they make. Ends the program on a wrong one."""
    parser = argparse.ArgumentParser(
        prog="train.py", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="folder with Train/ and Validation/ (or with Real/ and Fake/: then it is split)")
    add(
        "--without",
        action="append",
        default=[],
        metavar="CLASS/SOURCE",
        help="leave a sub-folder out of Train and Validation: Fake/stylegan2, say; may be given several times",
    )
    add("--arch", "--model_name", type=str.lower, choices=ARCHITECTURES, default="efficientnet_b0")
    add("--pretrained", default="none", metavar="imagenet|none|FILE", help="weights to start from (default: none)")
    add(
        "--head",
        type=int,
        default=0,
        metavar="UNITS",
        help="a dense layer before the last one: 128, say (default: none)",
    )
    add("--teacher", metavar="FILE", help="CSV of sha256,score: what a stronger model says of the training images")
    add("--dropout", type=float, default=0.0, help="of the head, 0 to 0.9 (default: none but the network's own)")
    add("--frame", choices=FRAMES, default="whole", help="whole: the picture; face: the square around its largest face")
    add("--margin", type=margin, help=f"side of that square, in those of the face's box (default: {Preprocess.margin})")
    add("--size", type=side, help="network input, pixels (default: the architecture's)")
    add("--upright", action="store_true", help="with --frame face: each face is turned as if its head were not tilted")
    add("--mirror", action="store_true", help="judge each image and its mirror image, and take the mean: twice as long")

    add("--recipe", choices=list(RECIPES), default="indomain", help="how to train; each flag below changes a value")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="any value of the recipe: jpeg=0.3, ema=0")
    for flag, name, text in RECIPE_FLAGS:
        add(flag, dest=name, metavar=name.split("_")[-1].upper(), help=text)

    add("--out", help="run folder (default: results/<arch>_<recipe>_<time>)")
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument("--overwrite", action="store_true", help="replace an earlier run in --out")
    kept.add_argument("--resume", action="store_true", help="go on with the run in --out; begin it if there is none")
    add("--save-every", type=resume.cadence, default="10m", help="state, in steps (500) or minutes (default: 10m)")
    add("--keep-epochs", type=epoch_list, default=(), metavar="1,3,5,8", help="also keep these epochs' checkpoints")
    add("--seed", type=whole(2**32 - 1), default=0)
    add("--seeds", type=positive(int), default=1, help="so many runs, seeded --seed, --seed + 1 ...; mean and spread")
    add("--cache", choices=MODES, default="auto", help="decoded pictures: in memory, in a file, or decoded each time")
    add("--workers", type=whole(256), help="loading processes (default: 0 on a CPU, up to 8 beside a GPU)")
    add("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1 ...")
    add("--threads", type=positive(int), help="of the CPU (default: all cores, or those of the run that goes on)")
    add("--precision", choices=engine.PRECISIONS, default="auto", help="auto: bf16 or fp16 on CUDA, fp32 on a CPU")
    add("--compile", action="store_true", help="torch.compile: a minute or two to build, then faster steps")
    add("--tensorboard", action="store_true", help="also write the curves for TensorBoard (pip install tensorboard)")
    add("--strict", action="store_true", help="an image that cannot be read is an error")
    args = parser.parse_args(argv)
    args.split_seed = args.seed  # of a folder without splits; --seeds must not change what is trained on
    try:
        args.values, args.head = recipe_of(args), model.Head(hidden=args.head, dropout=args.dropout)
        row = model.architecture(args.arch)
        row.check_sizes(args.arch, args.size or row.size, *args.values.crops)
        if args.keep_epochs and max(args.keep_epochs) > args.values.epochs:
            raise ValueError(f"--keep-epochs names epoch {max(args.keep_epochs)} of {args.values.epochs}")
        for flag in ("margin", "upright"):
            if getattr(args, flag) and args.frame != "face":
                raise ValueError(f"--{flag} needs --frame face")
    except ValueError as error:
        parser.error(str(error))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and ":" in args.device:
        parser.error(f"--device {args.device} is one device; under torchrun each process takes its own")
    if args.values.trained == "probe":
        refuse_with_probe(parser, args)
    if args.tensorboard and importlib.util.find_spec("tensorboard") is None:
        parser.error("--tensorboard needs the package tensorboard (pip install tensorboard)")
    return args


def refuse_with_probe(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """What a head that is fitted at one go cannot be combined with."""
    if args.head.hidden or args.head.dropout:
        parser.error("a probe is one linear layer; leave --head and --dropout out")
    if args.teacher:
        parser.error("a probe learns labels; leave --teacher out")
    if args.pretrained == "none":
        parser.error("a probe reads a backbone that has learned something; give --pretrained")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        parser.error("a probe is fitted by one process; start it without torchrun")


RECIPE_FLAGS = (
    ("--epochs", "epochs", "how often each image is seen"),
    ("--batch-size", "batch_size", "images of a batch, over all processes together"),
    ("--lr", "learning_rate", "learning rate"),
    ("--optimiser", "optimiser", "adam or adamw"),
    ("--fit", "fit", "crop: native pixels; resize: the whole image squeezed"),
    ("--crop", "crops", "side of a training image, pixels (default: --size); 128,160,224 grows over the epochs"),
)


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe with the values that were given as flags. Raises ValueError with a sentence for people."""
    given = {name: getattr(args, name) for _, name, _ in RECIPE_FLAGS if getattr(args, name) is not None}
    for text in args.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text}: expected NAME=VALUE")
        given[name] = value
    return with_values(RECIPES[args.recipe], given)


def positive(kind: type):
    def number(text: str):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
        return value

    return number


def whole(most: int):
    def number(text: str) -> int:
        if not 0 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be from 0 to {most}, not {text}")
        return int(text)

    return number


def side(text: str) -> int:
    if not 16 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"must be from 16 to 1024 pixels, not {text}")
    return int(text)


def margin(text: str) -> float:
    if not 0.5 <= float(text) <= 3:
        raise argparse.ArgumentTypeError(f"must be from 0.5 to 3, not {text}")
    return float(text)


def epoch_list(text: str) -> tuple[int, ...]:
    return tuple(sorted({positive(int)(part) for part in text.split(",") if part.strip()}))
