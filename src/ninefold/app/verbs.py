"""The verbs and their flags, for the standard library's parser alone."""

from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """One verb.

    Args:
        what: What it does, for the help.
        where: `module:function` that does it: a namespace of arguments to an exit code.
        arguments: Adds its flags to a parser.
    """

    what: str
    where: str
    arguments: Callable[[ArgumentParser], None]


def _train(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("recipe", nargs="?", default="", metavar="RECIPE", help="a recipe, or a run.yaml to repeat")
    add("--model", help="a preset, timm/NAME, or your own as package.module:Name")
    add("--backbone", help="the preset under a model that takes one")
    add("--model-options", nargs="+", metavar="KEY=VALUE", help="the preset's own options")
    add("--data", help="a folder, a table, an address, or your own as package.module:Name")
    add("--task", help="classification or multilabel; auto looks at the data")
    add("--weights", help="where to start: a file, hf://org/repo/file, or pretrained")
    add("--reset-head", action=BooleanOptionalAction, help="a new head where classes differ")
    add("--head-map", metavar="FILE", help="rows of the old head, one number a class; or names")
    add("--uncertainty", metavar="METHOD", help="how predictions are scored for doubt")
    augments = "none, light, pad, inception, reflect, efficientnet_v2, patches"
    augments += ", patches_imagenet, patches_photos, autoaugment, trivialaugment, augmix, swin"
    levels = ("none", "light1", "light2", "medium1", "medium2", "strong1", "strong2")
    augments = ", ".join((augments, *(f"augreg_{level}" for level in levels)))
    add("--augment", help=f"{augments}, or your own as package.module:Name")
    add("--augreg", metavar="SETTING", help="of augreg_* recipes: one of the 28, or a file's name")
    add("--loss", help="your own as package.module:Name")
    optims = "adamw, sgd, rmsprop_tf, sam, asam, gsam"
    add("--optim", metavar="KIND", help=f"{optims}, or your own as package.module:Name")
    add("--image-size", type=int, metavar="PIXELS", help="side of the model's input")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=float, help="passes over the training images")
    length.add_argument("--steps", type=int, help="optimizer steps")
    add("--batch-size", type=int, help="images a step, over all processes")
    add("--seed", type=int, help="decides weights, order, crops and noise")
    add("--seeds", type=int, metavar="N", help="run N seeds; give mean, spread and interval")
    add("--workers", type=int, help="processes that load images; -1 chooses")
    add("--checkpoint-every", type=int, metavar="STEPS", help="0: once an epoch")
    add("--find-lr", action="store_true", help="no training: look for a learning rate")
    add(
        "--out",
        default="",
        metavar="FOLDER",
        help="the run's folder; without it runs/NNNN, the next free",
    )
    add("--resume", action="store_true", help="go on in --out, or start where nothing is yet")
    _device(parser)


def _device(parser: ArgumentParser) -> None:
    devices = ("auto", "cpu", "cuda", "mps")
    parser.add_argument("--device", default="auto", choices=devices, help="auto takes the best")


def _model(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run's folder, or a model (with --weights)")
    parser.add_argument("--weights", help="for a model: a file, hf://org/repo/file, or pretrained")
    parser.add_argument("--batch-size", type=int, default=64, help="images at a time")
    _device(parser)


def _eval(parser: ArgumentParser) -> None:
    _model(parser)
    parser.add_argument("--data", default="", help="without it, the run's own")
    add = parser.add_argument
    add("--split", choices=("train", "val", "test"), help="test; of --curvature train")
    add("--images", type=int, metavar="N", help="so many of the split; of --curvature 512")
    add("--shift", nargs="*", metavar="NAME", help="under corruptions: all fifteen, or these")
    add("--curvature", action="store_true", help="largest eigenvalues of the loss's Hessian")
    add("--blocks", action="store_true", help="of --curvature: of every block, too")
    add("--eigenvalues", type=int, metavar="K", help="of --curvature: so many, 1 by itself")


def _predict(parser: ArgumentParser) -> None:
    _model(parser)
    parser.add_argument("files", nargs="+", metavar="FILE", help="images, or folders of images")
    parser.add_argument("--out", default="", metavar="FOLDER", help="write pictures there")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="labels an image")


def _embed(parser: ArgumentParser) -> None:
    _model(parser)
    add = parser.add_argument
    add("path", metavar="PATH", help="what `train --data` takes, or a folder of unlabelled images")
    add("--probe", nargs="+", default=[], metavar="KIND", help="linear, knn, or both")
    add("--out", default="", metavar="FILE", help="without it features.safetensors in RUN, or here")
    add("--workers", type=int, default=-1, help="processes that load images; -1 chooses")


def _check(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="a folder or a table")


def _pattern(parser: ArgumentParser) -> None:
    what = "e.g. 'swin*'; a whole name tells all of it"
    parser.add_argument("pattern", nargs="?", default="*", metavar="PATTERN", help=what)


def _models(parser: ArgumentParser) -> None:
    _pattern(parser)
    add = parser.add_argument
    add("--augreg", default="", metavar="INDEX", help="choose among AugReg's files by index.csv")
    add("--where", nargs="+", metavar="KEY=VALUE", help="of these alone: augment=medium1 data=...")


def _bench(parser: ArgumentParser) -> None:
    add = parser.add_argument
    libraries = ("timm", "torchvision", "transformers")
    add("models", nargs="+", metavar="MODEL", help="presets, timm/NAME, or package.module:Name")
    add("--against", nargs="*", metavar="LIBRARY", choices=libraries, help=", ".join(libraries))
    add("--modes", nargs="+", choices=("inference", "training"), help="without it, both")
    add("--precisions", nargs="+", choices=("fp32", "bf16", "bf16-weights"), help="bf16: autocast")
    add("--batch-sizes", nargs="+", type=int, metavar="N", help="images at a time: 1 8")
    add("--compile", action="store_true", help="all once more with compiled models")
    add("--image-size", type=int, metavar="PIXELS", help="without it, the preset's")
    add("--fuse", action="store_true", help="our BatchNorms folded into convolutions; inference")
    add("--rounds", type=int, metavar="N", help="samples of each in turn, 7")
    add("--threads", type=int, metavar="N", help="of torch on a CPU")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), help="auto takes the best")
    add("--no-memory", dest="memory", action="store_false", help="no processes for peak memory")
    add("--out", default="", metavar="FILE", help="keep all samples and conditions as JSON")


def _convert(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("source", metavar="FILE", help="a checkpoint, hf://org/repo/file, or a run's folder")
    add("out", nargs="?", default="", metavar="OUT", help="what to write; without it, only look")
    add("--to", default="ninefold", metavar="LAYOUT", help="timm, torchvision, flax, ...")
    add("--model", default="", metavar="NAME", help="what it is of, where shapes do not tell")


def _papers(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("name", nargs="?", default="", metavar="NAME", help="a paper or a claim, told in full")


def _reproduce(parser: ArgumentParser) -> None:
    parser.add_argument("claim", metavar="CLAIM", help="a claim's name; `ninefold papers` lists")
    parser.add_argument("--scale", default="laptop", choices=("smoke", "laptop", "gpu"))
    parser.add_argument("--seeds", type=int, metavar="N", help="pairs of runs")
    parser.add_argument("--data", default="", help="other data for the same models")
    parser.add_argument("--out", default="", metavar="FOLDER", help="where runs are kept")


VERBS = {
    "train": Verb(
        "train a model by a recipe, or repeat a run from its run.yaml",
        "ninefold.app.train:train",
        _train,
    ),
    "eval": Verb(
        "measure a run, or a model with weights, on data", "ninefold.app.use:evaluate", _eval
    ),
    "predict": Verb(
        "labels with probabilities for images, as JSON lines", "ninefold.app.use:predict", _predict
    ),
    "embed": Verb(
        "features of images to a file; probes of frozen features",
        "ninefold.app.embed:embed",
        _embed,
    ),
    "check": Verb(
        "examine a data set before an hour is spent on it", "ninefold.app.tables:check", _check
    ),
    "models": Verb(
        "list the models: parameters, work, input, published accuracy",
        "ninefold.app.tables:models",
        _models,
    ),
    "recipes": Verb("list the recipes", "ninefold.app.tables:recipes", _pattern),
    "bench": Verb(
        "time and memory against the same model in other libraries",
        "ninefold.app.bench:bench",
        _bench,
    ),
    "convert": Verb(
        "say what a checkpoint is; rewrite it for here or for another library",
        "ninefold.app.tables:convert",
        _convert,
    ),
    "papers": Verb(
        "list each paper's claims beside what was measured", "ninefold.app.tables:papers", _papers
    ),
    "reproduce": Verb(
        "measure one claim of one paper and write the result",
        "ninefold.app.tables:reproduce",
        _reproduce,
    ),
}
