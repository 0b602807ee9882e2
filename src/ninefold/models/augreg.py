"""AugReg's 52,268 files of weights: what their names say, and which one to take.

Their authors published an index of them, `index.csv`, one row a fine-tuned file. The rule for
choosing is the paper's: of all settings of a model the one with the best upstream validation, and
of what was fine-tuned from it the best on that data's own validation; never a test figure.

Free of torch, so that a command answers at once.

Source: Steiner et al. 2021, arXiv 2106.10270, section 4.5; google-research/vision_transformer
(`vit_jax/checkpoint.py` for the columns, `vit_jax/train.py` for the rule, README for the names).
Presumed, as no such name was seen: `i21k-30ep` in files pre-trained for 30 epochs, and `kitti`
and `resisc45` in the names of files fine-tuned on these.
"""

import csv
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ninefold.core.errors import Refused, nearest

ADDRESS = "https://storage.googleapis.com/vit_models/augreg/"
"""Where the authors keep the files and `index.csv`."""

AUGMENTS = {"none": "none", "light0": "light1", "light1": "light2"} | {
    name: name for name in ("medium1", "medium2", "strong1", "strong2")
}
"""Of files and index -> of the paper and of this library. That the two `light`s are shifted follows
from both lists having seven entries in one order."""

_NAME = re.compile(
    r"(?:(?P<resnet>R\d*)_)?(?P<size>[A-Z][a-z]?)_(?P<patch>\d+)-(?P<upstream>i1k|i21k)"
    r"-(?P<epochs>\d+)ep-lr_(?P<lr>[\d.e-]+)-aug_(?P<augment>[a-z]+\d?)-wd_(?P<weight_decay>[\d.]+)"
    r"-do_(?P<dropout>[\d.]+)-sd_(?P<drop_path>[\d.]+)"
    r"(?:--(?P<data>\w+)-steps_(?P<steps>\d+)k-lr_(?P<tuned_lr>[\d.e-]+)-res_(?P<pixels>\d+))?"
)


@dataclass(frozen=True)
class FineTuning:
    """How a file was fine-tuned.

    Args:
        data: As TensorFlow Datasets calls them: `imagenet2012`, `cifar100`, `oxford_iiit_pet`.
        steps: Thousands, cut off: 0 for 500, 2 for 2500.
        lr: Learning rate.
        image_size: Side in pixels.
    """

    data: str
    steps: int
    lr: float
    image_size: int


@dataclass(frozen=True)
class FileName:
    """What the name of a file says.

    Args:
        model: As in the paper: `B/16`, `R26+S/32`.
        upstream: What it was pre-trained on: `i1k` or `i21k`.
        epochs: Of pre-training.
        lr: Of pre-training.
        augment: The paper's name, `none` to `strong2`.
        weight_decay: As AdamW counts it at this `lr`.
        dropout: Probability.
        drop_path: Probability for the last block.
        tuned: Nothing for a file that was only pre-trained.
    """

    model: str
    upstream: str
    epochs: int
    lr: float
    augment: str
    weight_decay: float
    dropout: float
    drop_path: float
    tuned: FineTuning | None = None

    @classmethod
    def parse(cls, name: str) -> "FileName":
        """Of a file's name, with or without folder and `.npz`.

        Raises:
            Refused: AugReg has no such names.
        """
        stem = name.rpartition("/")[2].removesuffix(".npz")
        found = _NAME.fullmatch(stem)
        if not found or found["augment"] not in AUGMENTS:
            raise Refused(f"{name}: is no name of AugReg's; one is "
                          "B_16-i21k-300ep-lr_0.001-aug_none-wd_0.1-do_0.0-sd_0.0.npz")  # fmt: skip
        tuned = None
        if found["data"]:
            numbers = int(found["steps"]), float(found["tuned_lr"]), int(found["pixels"])
            tuned = FineTuning(found["data"], *numbers)
        resnet = f"{found['resnet']}+" if found["resnet"] else ""
        return cls(
            f"{resnet}{found['size']}/{found['patch']}", found["upstream"], int(found["epochs"]),
            float(found["lr"]), AUGMENTS[found["augment"]], float(found["weight_decay"]),
            float(found["dropout"]), float(found["drop_path"]), tuned,
        )  # fmt: skip

    def __str__(self) -> str:
        """The name, with `.npz`."""
        theirs = {paper: file for file, paper in AUGMENTS.items()}[self.augment]
        model = self.model.replace("+", "_").replace("/", "_")
        name = (f"{model}-{self.upstream}-{self.epochs}ep-lr_{self.lr}-aug_{theirs}"
                f"-wd_{self.weight_decay}-do_{self.dropout}-sd_{self.drop_path}")  # fmt: skip
        t = self.tuned
        if t:
            name += f"--{t.data}-steps_{t.steps}k-lr_{t.lr}-res_{t.image_size}"
        return f"{name}.npz"


@dataclass(frozen=True)
class Row:
    """One row of the index: a fine-tuned file and the one that it comes from.

    Args:
        model: As in the paper.
        preset: That of this library, at the image size of fine-tuning.
        upstream: `i1k`, `i21k` (both 300 epochs) or `i21k_30`.
        epochs: Of pre-training.
        lr: Of pre-training.
        augment: The paper's name.
        weight_decay: Of pre-training.
        dropout: Of pre-training.
        drop_path: Of pre-training.
        best_val: Best upstream accuracy on validation, from 0 to 1; for `i1k` a hundredth of the
            training part.
        final_val: The last.
        final_test: On the test part; for `i1k` the official validation.
        data: Fine-tuned on.
        tuned_lr: Of fine-tuning.
        steps: Of fine-tuning.
        image_size: Of fine-tuning, in pixels.
        tuned_val: Accuracy on the data's validation.
        tuned_test: On its test part.
        parameters: With that head.
        images_per_second: Measured by the authors on a V100; NaN for B/8.
        file: Pre-trained, with `.npz`.
        tuned_file: Fine-tuned, with `.npz`.
    """

    model: str
    preset: str
    upstream: str
    epochs: int
    lr: float
    augment: str
    weight_decay: float
    dropout: float
    drop_path: float
    best_val: float
    final_val: float
    final_test: float
    data: str
    tuned_lr: float
    steps: int
    image_size: int
    tuned_val: float
    tuned_test: float
    parameters: int
    images_per_second: float
    file: str
    tuned_file: str


_COLUMNS: dict[str, str] = {
    "upstream": "ds", "epochs": "epochs", "lr": "lr", "weight_decay": "wd", "dropout": "do",
    "drop_path": "sd", "best_val": "best_val", "final_val": "final_val", "final_test": "final_test",
    "data": "adapt_ds", "tuned_lr": "adapt_lr", "steps": "adapt_steps",
    "image_size": "adapt_resolution", "tuned_val": "adapt_final_val",
    "tuned_test": "adapt_final_test", "parameters": "params",
    "images_per_second": "infer_samples_per_sec",
}  # fmt: skip
"""Our names of what is taken as it stands -> the index's columns."""
_OTHERS = ("name", "aug", "filename", "adapt_filename")
FILTERS = (
    "model", "upstream", "epochs", "lr", "augment", "weight_decay", "dropout", "drop_path", "data",
    "tuned_lr", "steps", "image_size",
)  # fmt: skip
"""What `select` knows: all that is decided before training."""


def read_index(path: str | Path) -> list[Row]:
    """The rows of `index.csv`, as downloaded.

    Raises:
        Refused: no such file, a column is missing, or a value is none; which line is told.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            lacking = {*_COLUMNS.values(), *_OTHERS} - set(reader.fieldnames or ())
            if lacking:
                raise Refused(f"{path}: has no column {', '.join(sorted(lacking))}; AugReg's index "
                              f"has, and is at {ADDRESS}index.csv")  # fmt: skip
            return [_row(cells, f"{path}: line {reader.line_num}") for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a table of text"
        raise Refused(f"{path}: {reason}; AugReg's index is at {ADDRESS}index.csv") from None


def _row(cells: dict[str, Any], where: str) -> Row:
    values: dict[str, Any] = {}
    kinds = Row.__annotations__
    for field, column in _COLUMNS.items():
        text, kind = (cells[column] or "").strip(), kinds[field]
        try:
            number = float(text or "nan") if kind is not str else 0.0
            values[field] = text if kind is str else int(number) if kind is int else number
        except ValueError:
            raise Refused(f"{where}: {column} is {text!r}; a number is needed") from None
    augment = AUGMENTS.get(cells["aug"])
    if augment is None:
        raise Refused(f"{where}: aug is {cells['aug']!r}; one of {', '.join(AUGMENTS)}")
    files = {
        field: f"{cells[column].removesuffix('.npz')}.npz"
        for field, column in (("file", "filename"), ("tuned_file", "adapt_filename"))
    }
    preset = preset_name(cells["name"], values["image_size"])
    return Row(model=cells["name"], preset=preset, augment=augment, **files, **values)


def preset_name(model: str, image_size: int = 224) -> str:
    """The preset of a model of the paper: `vit_r26_s32_384` for `R26+S/32` at 384 pixels."""
    plain = model.replace("+", "_").replace("/", "").lower()
    return f"vit_{plain}" + ("_384" if image_size == 384 else "")


def select(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """Rows with these values of `FILTERS`; a `model` may be a pattern of names or of presets.

    Raises:
        Refused: no such filter, or none of the rows has such a value; those that occur are told.
    """
    found = list(rows)
    for field, value in wanted.items():
        if field not in FILTERS:
            hint = nearest(field, FILTERS, ", ".join(FILTERS))
            raise Refused(f"AugReg has no filter {field!r}{hint}")
        kept = [row for row in found if _fits(row, field, str(value))]
        if found and not kept:
            known = sorted({getattr(row, field) for row in found})
            raise Refused(f"{field} {value}: no row of the index has it; there are "
                          f"{', '.join(str(v) for v in known)}")  # fmt: skip
        found = kept
    return found


def _fits(row: Row, field: str, value: str) -> bool:
    own = getattr(row, field)
    if field == "model":
        names = (row.model, row.preset, row.preset.removesuffix("_384"))
        return any(fnmatchcase(name, value) for name in names)
    if isinstance(own, str):
        return own == value
    try:
        return math.isclose(own, float(value))
    except ValueError:
        return False


def choose(rows: Sequence[Row]) -> list[Row]:
    """One row a model, by the paper's rule, those with the best upstream validation first.

    Rows of one model must come from one upstream data set: others' validation is another.

    Raises:
        Refused: the rows of a model are of several.
    """
    chosen: list[Row] = []
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model and not math.isnan(row.final_val)]
        upstream = sorted({row.upstream.partition("_")[0] for row in own})
        if len(upstream) > 1:
            raise Refused(f"AugReg's {model}: {' and '.join(upstream)} were validated on different "
                          "images; upstream picks one")  # fmt: skip
        if own:
            best = max(own, key=lambda row: row.final_val).file
            tuned = [row for row in own if row.file == best]
            chosen.append(max(tuned, key=lambda row: (_known(row.tuned_val), row.image_size)))
    return sorted(chosen, key=lambda row: -row.final_val)


def _known(figure: float) -> float:
    return -1.0 if math.isnan(figure) else figure
