"""The figures of a run's folder: what is drawn when, and from what.

A figure that cannot be drawn costs a warning, never the training.
"""

# torch and Fabric leave some types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec

import torch
from torch import Tensor

from ninefold.core.batch import Batch
from ninefold.core.preprocess import Preprocess
from ninefold.core.results import Result, read_lines
from ninefold.data.records import DataSet
from ninefold.engine.corrupted import by_corruption
from ninefold.engine.embed import Embeddings
from ninefold.engine.folder import FIGURES, LOG
from ninefold.report import figures
from ninefold.report.sheet import image_sheet
from ninefold.report.shift import shift_chart
from ninefold.report.style import class_names

log = logging.getLogger(__name__)

P = ParamSpec("P")
SHOWN = 24
"""Images of a sheet."""


def _harmless(draw: Callable[P, None]) -> Callable[P, None]:
    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            draw(*args, **kwargs)
        except Exception as error:  # fonts, disks, odd images: none is worth a training
            log.warning("%s: not drawn (%s: %s)", draw.__name__, type(error).__name__, error)

    return drawn


@_harmless
def draw_batch(folder: Path, batch: Batch, preprocess: Preprocess, data: DataSet) -> None:
    """A sheet of a prepared training batch, as the model sees it."""
    if not isinstance(batch.x, Tensor) or batch.x.ndim != 4:
        return
    std = torch.tensor(preprocess.std).view(-1, 1, 1)
    mean = torch.tensor(preprocess.mean).view(-1, 1, 1)
    pixels = (batch.x[:SHOWN].float().cpu() * std + mean).mul(255).round().clamp(0, 255).byte()
    names = class_names(data.classes, 100)
    captions = [_caption(batch.y, row, names) for row in range(len(pixels))]
    title = "A training batch, as the model sees it"
    image_sheet(list(pixels), captions, _place(folder, "training_batch"), title)


@_harmless
def draw_log(folder: Path) -> None:
    """Curves of loss, metrics and learning rate."""
    lines = [line for line in read_lines(folder / LOG) if "failed" not in line]
    figures.learning_curves(lines, _place(folder, "learning_curves"))


@_harmless
def draw_result(folder: Path, result: Result, data: DataSet) -> None:
    """Whatever a result has curves for."""
    curves: dict[str, Any] = result.curves
    if "confusion" in curves:
        place, title = _place(folder, "confusion"), f"{result.split} split"
        figures.confusion_matrix(curves["confusion"], data.classes, place, title)
    if "per_class" in curves:
        what = "average precision" if "map" in result.metrics else "accuracy"
        title = f"{what} by class on the {result.split} split, in %"
        figures.per_class(curves["per_class"], data.classes, _place(folder, "per_class"), title)
    if "worst" in curves:
        records = data.splits[result.split]
        mistakes: list[dict[str, Any]] = curves["worst"][:SHOWN]
        images = [records.load(mistake["index"]).x for mistake in mistakes]
        shown = dict(zip(data.classes, class_names(data.classes, 100), strict=True))
        captions = [
            f"{shown.get(m['label'], m['label'])}\n"
            f"as {shown.get(m['predicted'], m['predicted'])}, {100 * m['probability']:.0f} %"
            for m in mistakes
        ]
        title = f"The worst mistakes on the {result.split} split"
        image_sheet(images, captions, _place(folder, "worst_mistakes"), title)


@_harmless
def draw_shift(folder: Path, result: Result, metric: str) -> None:
    """A metric under every corruption and severity."""
    shift_chart(
        result.conditions[f"clean_{metric}"], by_corruption(result, metric),
        _place(folder, "corruptions"), metric=metric,
    )  # fmt: skip


@_harmless
def draw_features(embeddings: Embeddings, path: Path) -> None:
    """The first two principal components, of some thousand rows that are evenly chosen."""
    rows = torch.arange(0, len(embeddings), -(-len(embeddings) // figures.DOTS))
    x = embeddings.features[rows].double()
    x = x - x.mean(dim=0)
    values, vectors = torch.linalg.eigh(x.T @ x)
    total = float(values.sum()) or 1.0
    shares = [float(value) / total for value in values[-2:].flip(0)]
    labels = embeddings.labels
    single = None if labels is None or labels.ndim > 1 else labels[rows].numpy()
    points = (x @ vectors[:, -2:].flip(1)).numpy()
    figures.feature_map(points, single, embeddings.classes, shares, path)


@_harmless
def draw_rates(folder: Path, tried: list[dict[str, float]], chosen: float) -> None:
    """The loss over a rising learning rate."""
    figures.rate_search(tried, chosen, _place(folder, "lr_finder"))


def _place(folder: Path, name: str) -> Path:
    (folder / FIGURES).mkdir(exist_ok=True)
    return folder / FIGURES / f"{name}.png"


def _caption(y: Tensor | dict[str, Tensor] | None, row: int, classes: Sequence[str]) -> str:
    """The label, or the two largest shares of a mixed one."""
    if not isinstance(y, Tensor) or y.ndim > 2:
        return ""
    if y.ndim == 1:
        return classes[int(y[row])]
    shares = y[row].topk(min(2, len(classes)))
    named = zip(shares.values.tolist(), shares.indices.tolist(), strict=True)
    return "\n".join(f"{classes[i]} {share:.2f}" for share, i in named if share > 0.1)
