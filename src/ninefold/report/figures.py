"""Figures of a run: learning curves, confusion, classes, a map of features.

Arguments are plain records and arrays; what is drawn is written as a PNG of 800 pixels' width.
Shapes: k classes, n images.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Num
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from ninefold.report.style import (
    BLUE,
    GREY,
    ORANGE,
    RED,
    canvas,
    class_names,
    empty,
    save,
    styled,
    text,
)

ANNOTATED, NAMED = 12, 40
"""Classes up to which a confusion matrix holds numbers, and up to which it holds names."""

NO_METRICS = {"step", "epoch", "loss", "lr"}
"""Keys of a validation's line that are drawn elsewhere or not at all."""

Series = tuple[np.ndarray, np.ndarray]
"""Steps, and values at these."""


@styled
def learning_curves(log: Sequence[dict[str, Any]], path: str | Path) -> None:
    """Loss, the leading metric and learning rate over steps, of training and validation.

    The leading metric is the first one from 0 to 1 in the lines of the validations.

    Args:
        log: Lines of `log.jsonl`, in any order; where a step occurs twice, the later line counts.
    """
    training = _by_step(line for line in log if "split" not in line)
    checks = _by_step(line for line in log if line.get("split") == "val")
    metric, rates = leading(checks), _series(training, "lr")
    panels: list[tuple[float, Callable[[Axes], None]]] = []
    for name, falls in (("loss", True), (metric, False)):
        pair = _series(training, name), _series(checks, name)
        if any(len(steps) for steps, _ in pair):
            panels.append((3, partial(_curves, name=name, pair=pair, falls=falls)))
    if len(rates[0]):
        panels.append((1.3, partial(_rates, rates=rates)))
    figure = canvas(max(1 + sum(height for height, _ in panels) * 0.85, 2.0))
    if not panels:
        empty(figure.subplots(), "nothing was logged yet")
    else:
        heights = [height for height, _ in panels]
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)
        for axes, (_, draw) in zip(grid[:, 0], panels, strict=True):
            draw(axes)
            axes.grid(visible=True)
        grid[-1, 0].set_xlabel("step")
    save(figure, path)


@styled
def rate_search(tried: Sequence[dict[str, float]], chosen: float, path: str | Path) -> None:
    """The loss over a rising learning rate.

    Args:
        tried: `lr`, `loss` and `smooth` (the smoothed loss) of each step.
        chosen: The rate that is suggested.
    """
    figure = canvas(3.6)
    axes = figure.subplots()
    axes.set_title("training loss while the learning rate rises, step by step")
    rates = [step["lr"] for step in tried]
    smooth = [step["smooth"] for step in tried]
    axes.plot(rates, [step["loss"] for step in tried], ".", color=GREY, label="a step")
    axes.plot(rates, smooth, color=BLUE, label="smoothed")
    axes.axvline(chosen, color=ORANGE, label=f"suggested: {chosen:.2g}")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    low, high = min(smooth), max(smooth[:10])
    axes.set_ylim(low - 0.2 * (high - low) - 0.01, high + 0.4 * (high - low) + 0.01)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.legend()
    axes.grid(visible=True)
    save(figure, path)


def _curves(axes: Axes, *, name: str, pair: tuple[Series, Series], falls: bool) -> None:
    """One quantity in training, smoothed, and on the validation part."""
    axes.set_title(text(name, 40))
    (steps, values), (check_steps, check_values) = pair
    if len(steps):
        dense = len(steps) > 50
        axes.plot(steps, values, color=BLUE, lw=0.8, alpha=0.3 if dense else 1, zorder=1)
        window = max(len(steps) // 40, 1)
        mark = "o" if len(steps) == 1 else ""
        smooth = _smooth(values, window)
        axes.plot(steps, smooth, color=BLUE, lw=1.8, marker=mark, ms=4, label="training batches")
    if len(check_steps):
        best = int(check_values.argmin() if falls else check_values.argmax())
        told = f"best {check_values[best]:.3f} at step {check_steps[best]:,}"
        label = f"validation: {told}, {check_values[-1]:.3f} at last"
        axes.plot(check_steps, check_values, color=RED, marker="o", ms=4, label=label)
    axes.legend(loc="upper right" if falls else "lower right")


def _rates(axes: Axes, *, rates: Series) -> None:
    axes.set_title("learning rate")
    steps, values = rates
    axes.plot(steps, values, color=GREY, marker="o" if len(steps) == 1 else "", ms=4)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))


def leading(checks: Sequence[dict[str, Any]]) -> str:
    """The first metric of the validations' lines whose values lie from 0 to 1; or nothing."""
    for name in dict.fromkeys(key for line in checks for key in line if key not in NO_METRICS):
        _, values = _series(checks, name)
        if len(values) and values.min() >= 0 and values.max() <= 1:
            return name
    return ""


def _by_step(lines: Any) -> list[dict[str, Any]]:
    kept = {line["step"]: line for line in lines if line.get("step") is not None}
    return [kept[step] for step in sorted(kept)]


def _series(lines: Sequence[dict[str, Any]], key: str) -> Series:
    """Steps and values of one key; values that are no finite numbers are passed over."""
    found = [(line["step"], line[key]) for line in lines if _finite(line.get(key))]
    return np.array([s for s, _ in found]), np.array([float(v) for _, v in found])


def _finite(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over the `window` values around each one, fewer at the ends."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    low = np.maximum(place - window // 2, 0)
    high = np.minimum(place + window // 2 + 1, len(values))
    return (total[high] - total[low]) / (high - low)


@styled
def confusion_matrix(
    matrix: Any, classes: Sequence[str], path: str | Path, title: str = "all images"
) -> None:
    """Which class is taken for which: rows are labels, columns predictions.

    Cells are coloured by the share of their row. Few classes: with counts; up to forty: with names;
    more: cells joined (the largest share counts), and the most frequent mistakes listed.

    Args:
        matrix: Counts `(k, k)`, array or CPU tensor; one row a class.
        title: What was counted.
    """
    counts = np.asarray(matrix, dtype=np.float64)
    k = len(classes)
    assert counts.shape == (k, k), (counts.shape, k)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if k <= ANNOTATED:
        figure = canvas(7.2)
        axes = figure.subplots()
        _cells(axes, shares, class_names(classes, 16), counts)
    else:
        figure = canvas(9.0)
        parts = figure.add_gridspec(2, 1, height_ratios=[4.2, 1])
        upper, lower = figure.add_subfigure(parts[0]), figure.add_subfigure(parts[1])
        axes = upper.subplots()
        _cells(axes, shares, class_names(classes, 14) if k <= NAMED else [], None)
        _mistakes(lower.subplots(), counts, class_names(classes, 22))
    axes.set_title(f"{title}: share of each label's images, by prediction")
    save(figure, path)


def _cells(
    axes: Axes,
    shares: Float[np.ndarray, "k k"],
    names: list[str],
    counts: Float[np.ndarray, "k k"] | None,
) -> None:
    k = len(shares)
    shown = shares if names else _largest(shares, 150)
    picture = axes.imshow(
        shown, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest",
        extent=(-0.5, k - 0.5, k - 0.5, -0.5),
    )  # fmt: skip
    axes.set_xlabel("prediction" if names else "prediction (number of the class)")
    axes.set_ylabel("label" if names else "label (number of the class)")
    axes.spines[:].set_visible(False)
    bar = axes.figure.colorbar(picture, ax=axes, shrink=0.6, ticks=[0, 0.01, 0.1, 0.25, 0.5, 1])
    bar.ax.set_yticklabels(["0", "1 %", "10 %", "25 %", "50 %", "100 %"])
    bar.outline.set_visible(False)
    if names:
        size = 10 if k <= ANNOTATED else 8
        crowded = k > 4 or max(map(len, names)) * k > 50
        axes.set_xticks(range(k), names, rotation=90 if crowded else 0, fontsize=size)
        axes.set_yticks(range(k), names, fontsize=size)
    if counts is not None:
        for i, j in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[i, j] > 0.35 else "black"
            axes.text(j, i, _count(float(counts[i, j])), color=colour, ha="center", va="center",
                      fontsize=10 if k <= 6 else 8)  # fmt: skip


def _count(value: float) -> str:
    return f"{value:.0f}" if value < 10_000 else f"{value / 1000:.0f}k"


def _largest(shares: Float[np.ndarray, "k k"], cells: int) -> Float[np.ndarray, "m m"]:
    """At most `cells` a side; each holds the largest share it covers: no mistake is lost."""
    edges = np.unique(np.linspace(0, len(shares), min(cells, len(shares)) + 1).astype(int))[:-1]
    rows = np.maximum.reduceat(shares, edges, axis=0)
    return np.maximum.reduceat(rows, edges, axis=1)


def _mistakes(axes: Axes, counts: Float[np.ndarray, "k k"], names: list[str]) -> None:
    """The pairs that are confused most often, in two columns."""
    axes.set_axis_off()
    axes.set_title("most frequent mistakes: label \u2192 prediction")
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:16]
    pairs = [divmod(int(place), len(counts)) for place in order]
    pairs = [(i, j) for i, j in pairs if wrong[i, j] > 0]
    if not pairs:
        axes.text(0, 0.9, "none", va="top", transform=axes.transAxes, color=GREY)
    for place, (i, j) in enumerate(pairs):
        column, line = divmod(place, 8)
        told = f"{_count(wrong[i, j])} of {_count(counts[i].sum())}"
        pair = f"{names[i]} \u2192 {names[j]}"
        for x, words, colour in ((0.52 * column, told, GREY), (0.52 * column + 0.1, pair, "black")):
            axes.text(x, 0.94 - line / 8, words, color=colour, va="center", fontsize=8,
                      transform=axes.transAxes)  # fmt: skip


@styled
def per_class(
    values: Any, classes: Sequence[str], path: str | Path, title: str = "accuracy by class"
) -> None:
    """A value from 0 to 1 for every class, the lowest on top.

    Up to forty classes are bars; of more, the twenty lowest are, beside the curve of all.

    Args:
        values: `(k,)`, array or CPU tensor; NaN for classes without an image.
        title: What the values are.
    """
    numbers = np.asarray(values, dtype=np.float64)
    k = len(classes)
    assert numbers.shape == (k,), (numbers.shape, k)
    known = np.flatnonzero(~np.isnan(numbers))
    order = known[np.argsort(numbers[known], kind="stable")]
    bars = order if k <= NAMED else order[:20]
    figure = canvas(max(0.24 * len(bars) + 1.2, 2.2))
    left = figure.subplots() if k <= NAMED else None
    if left is None:
        left, right = figure.subplots(1, 2, width_ratios=[1.3, 1])
        _sorted_curve(right, numbers[order])
    names = class_names(classes, 24)
    mean = float(numbers[known].mean()) if len(known) else 0.0
    _bars(left, numbers[bars], [names[i] for i in bars], mean)
    missing = k - len(known)
    title += f" ({missing} without images left out)" if missing else ""
    if k <= NAMED:
        left.set_title(title)
    else:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        left.set_title("the 20 lowest")
    save(figure, path)


def _bars(axes: Axes, values: Float[np.ndarray, " n"], names: list[str], mean: float) -> None:
    if not names:
        empty(axes, "no class has images")
        return
    place = np.arange(len(names))
    axes.barh(place, values, color=BLUE, height=0.7)
    axes.axvline(mean, color=RED, lw=1.2, ls="--")
    for i, value in enumerate(values):
        axes.text(value + 0.01, i, f"{100 * value:.0f}", va="center", fontsize=8, color=GREY,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    left = mean > 0.6
    axes.text(mean + (-0.01 if left else 0.01), -0.7, f"mean of all {100 * mean:.1f} %",
              color=RED, fontsize=8, va="bottom", ha="right" if left else "left")  # fmt: skip
    axes.set_yticks(place, names, fontsize=9)
    axes.set_ylim(len(names) - 0.4, -1.4)
    _percent(axes)


def _percent(axes: Axes) -> None:
    axes.set_xlim(0, 1.08)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])


def _sorted_curve(axes: Axes, values: Float[np.ndarray, " n"]) -> None:
    axes.set_title("all, from lowest to highest")
    axes.fill_betweenx(np.arange(len(values)), values, color=BLUE, alpha=0.35, lw=0)
    axes.plot(values, np.arange(len(values)), color=BLUE)
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_ylabel("classes, by rank")
    axes.grid(visible=True)
    _percent(axes)


COLOURS = 10
"""Classes of a map that get a colour each; more share a scale."""
DOTS = 5000
"""Points of a map at the most: evenly chosen rows."""


@styled
def feature_map(
    points: Float[np.ndarray, "n 2"],
    labels: Num[np.ndarray, " n"] | None,
    classes: Sequence[str],
    shares: Sequence[float],
    path: str | Path,
) -> None:
    """Features in two dimensions, coloured by class.

    Args:
        points: Coordinates on the first two principal components.
        labels: Class ids, or nothing: then all are grey.
        shares: Of the variance, one a component.
    """
    figure = canvas(6.4)
    axes = figure.subplots()
    axes.set_title(f"features of {len(points):,} images on their first two principal components")
    look: dict[str, Any] = {"s": 9 if len(points) > 500 else 18, "linewidths": 0, "alpha": 0.7}
    if labels is None:
        axes.scatter(*points.T, color=GREY, **look)
    elif len(classes) > COLOURS:
        axes.scatter(*points.T, c=labels, cmap="turbo", **look)
    else:
        names = class_names(classes, 24)
        for i in np.unique(labels):
            axes.scatter(*points[labels == i].T, color=f"C{i}", label=names[i], **look)
        figure.legend(loc="outside right upper", markerscale=2)
    axes.set_xlabel(f"component 1: {100 * shares[0]:.0f} % of the variance")
    axes.set_ylabel(f"component 2: {100 * shares[1]:.0f} %")
    save(figure, path)
