"""Plain text for stdout: tables and numbers that survive a pipe."""

from collections.abc import Mapping, Sequence
from typing import Any

SHARES = frozenset({"loss", "nll", "step"})
"""Metrics that are no shares of one, and so are not printed as percentages."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned by spaces; nothing is cut, whatever the width of the terminal."""
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def in_brief(values: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics for a line while training goes on: without those that are means over classes."""
    return {k: v for k, v in values.items() if k not in ("macro_f1", "balanced_accuracy")}


def telling(values: Mapping[str, Any], classes: int) -> dict[str, Any]:
    """Metrics without `top5` where five guesses are all there are."""
    return {k: v for k, v in values.items() if k != "top5" or classes > 5}


def metrics(values: Mapping[str, float]) -> str:
    """`top1 95.10 %  top5 99.80 %  loss 0.2113`."""
    return "  ".join(f"{name} {metric(name, value)}" for name, value in values.items())


def metric(name: str, value: float) -> str:
    """A share as a percentage, all else as a number."""
    return f"{value:.4f}" if name in SHARES else f"{100 * value:.2f} %"


def short(number: int) -> str:
    """`28.3M`: a count with three digits and a letter."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"
