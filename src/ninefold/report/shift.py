"""A picture of accuracy under corruptions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ninefold.report.style import canvas, save, styled, text


@styled
def shift_chart(
    clean: float, shifted: Mapping[str, Sequence[float]], path: str | Path, *, metric: str
) -> None:
    """A row a corruption: its metric by severity and their mean, beside that without any.

    Args:
        clean: The metric without corruption, from 0 to 1.
        shifted: By the name of a corruption one value a severity, from the first on.
        metric: What it is called.
    """
    values = np.array([[clean, *row, float(np.mean(row))] for row in shifted.values()])
    severities = [str(i + 1) for i in range(values.shape[1] - 2)]
    figure = canvas(1.3 + 0.3 * len(values))
    axes = figure.subplots()
    picture = axes.imshow(values, cmap="RdYlBu", vmin=0, vmax=1, aspect="auto")
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            dark = value < 0.12 or value > 0.88
            axes.text(j, i, f"{100 * value:.1f}", ha="center", va="center", fontsize=9,
                      color="white" if dark else "black")  # fmt: skip
    for edge in (0.5, values.shape[1] - 1.5):
        axes.axvline(edge, color="white", lw=3)
    axes.set_xticks(range(values.shape[1]), ["none", *severities, "mean"])
    axes.set_yticks(range(len(values)), [text(name.replace("_", " "), 24) for name in shifted])
    axes.set_xlabel("severity")
    axes.spines[:].set_visible(False)
    mean = 100 * float(values[:, -1].mean())
    axes.set_title(text(
        f"{metric} in % under corruption: {mean:.1f} on average, {100 * clean:.1f} without"
    ))  # fmt: skip
    bar = figure.colorbar(picture, ax=axes, shrink=0.7)
    bar.outline.set_visible(False)
    save(figure, path)
