"""The page on speed and memory: goals beside what was measured, made of kept records.

A record is `docs/performance/<device>.json`, written by `ninefold bench --out`; the page
`docs/performance.md` is made of all of them by `python -m ninefold.report.performance docs`, but
for the text before the line `MARK`, which is written by hand.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

from ninefold.report.benched import Bench, Benched, Cell, Mode, Precision, differs, read_bench

MARK = "<!-- below: made from performance/*.json -->"
ENOUGH = 7
"""Rounds below which a goal counts as not measured."""


@dataclass(frozen=True)
class Goal:
    """What a cell should reach on a CPU; set before the measurement, from prototypes.

    Args:
        model: Preset.
        mode: Of the cell.
        precision: Of the cell.
        batch_size: Of the cell.
        most: Largest ratio of our time to that of the fastest peer.
    """

    model: str
    mode: Mode
    precision: Precision
    batch_size: int
    most: float


GOALS = (
    Goal("swin_tiny", "inference", "fp32", 1, 0.65),
    Goal("swin_tiny", "inference", "fp32", 8, 0.70),
    Goal("swin_tiny", "inference", "bf16", 1, 0.60),
    Goal("swin_tiny", "inference", "bf16", 8, 0.60),
    Goal("swin_tiny", "training", "fp32", 1, 0.85),
    Goal("swin_tiny", "training", "fp32", 8, 0.85),
    Goal("swin_tiny", "training", "bf16", 1, 0.80),
    Goal("swin_tiny", "training", "bf16", 8, 0.80),
    Goal("vit_s16", "inference", "fp32", 8, 0.80),
    Goal("mixer_b16", "inference", "fp32", 8, 0.80),
    Goal("efficientnet_v2_s", "inference", "fp32", 8, 0.95),
)
NEVER_SLOWER = 1.0
"""Of every model in every cell: the most that its ratio to the fastest peer may be."""
COMPILED = 0.9
"""Of every compiled cell, against the compiled peer."""
LEAN: dict[Mode, float] = {"inference": 0.8, "training": 0.9}
"""The most that our memory above the model may be of the leanest peer's, in float32."""


def goal_of(model: str, cell: Cell) -> float:
    """The largest ratio of times that a cell should have."""
    if cell.compiled:
        return COMPILED
    work = model, cell.mode, cell.precision, cell.batch_size
    named = (g.most for g in GOALS if (g.model, g.mode, g.precision, g.batch_size) == work)
    return next(named, NEVER_SLOWER)


def met(m: Benched, cell: Cell) -> str:
    """`met`, `not met`, or why nothing is said."""
    peer = cell.fastest_peer()
    ratio = cell.ratio(peer)
    if ratio is None:
        return "no peer"
    if any(c.library == peer for c in m.differing()):
        return "the peer computes something else"
    if cell.rounds < ENOUGH:
        return f"too few rounds, {cell.rounds}"
    return "met" if ratio.median <= goal_of(m.model, cell) else "not met"


def performance_page(kept: dict[str, Bench]) -> str:
    """The part below `MARK`.

    Args:
        kept: Records by the name of their file.
    """
    lines: list[str] = []
    for name, found in kept.items():
        conditions = (found.hardware, f"{found.threads} threads", found.versions, found.date)
        told = f"{'; '.join(conditions)}; {found.minutes:.0f} minutes."
        lines += [f"## {name}", "", told, "", f"`{found.command}`", ""]
        for m in found.models:
            lines += _section(m)
    if not kept:
        lines += ["Nothing has been measured and kept yet.", ""]
    return "\n".join(lines)


def _section(m: Benched) -> list[str]:
    ours, *peers = m.contestants
    lines = [
        f"### `{m.model}` at {m.image_size} pixels",
        "",
        f"{ours.parameters:,} parameters, {ours.macs / 1e9:.3f} G multiply-adds an image.",
    ]
    for peer in peers:
        gap = math.nan if peer.difference is None else peer.difference
        unequal = ", **which is too much: it computes something else**" if differs(gap) else ""
        lines.append(f"{peer.library} `{peer.name}`: largest difference {gap:.1g}{unequal}.")
    names = [peer.library for peer in peers]
    header = ["work", *(f"time / {n}" for n in names), "goal", "", "ms", "images/s",
              "memory / leanest", "memory, MiB", "rounds"]  # fmt: skip
    lines += ["", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(_row(m, cell, names)) + " |" for cell in m.cells]
    return [*lines, "", *(f"- {note}" for note in m.notes), *([""] if m.notes else [])]


def _row(m: Benched, cell: Cell, peers: list[str]) -> list[str]:
    ours = cell.ours
    fastest = cell.fastest_peer()
    ratios: list[str] = []
    for peer in peers:
        told = str(cell.ratio(peer) or "-")
        ratios.append(f"**{told}**" if peer == fastest else told)
    lean = cell.memory_ratio()
    weight = "-"
    if lean:
        most = LEAN[cell.mode]
        weight = f"{lean:.2f}, goal {most:g} {'met' if lean <= most else 'not met'}"
    return [
        cell.name,
        *ratios,
        f"{goal_of(m.model, cell):g}",
        met(m, cell),
        f"{1000 * ours.median:.4g}",
        f"{cell.batch_size / ours.median:.4g}",
        weight,
        f"{ours.memory / 2**20:.0f}" if ours.memory else "-",
        f"{cell.rounds} of {cell.rounds + cell.discarded}",
    ]


def read_benches(docs: str | Path) -> dict[str, Bench]:
    """Kept records by name, sorted."""
    return {p.stem: read_bench(p) for p in sorted((Path(docs) / "performance").glob("*.json"))}


def write_page(docs: str | Path) -> None:
    """Make `performance.md` in the folder `docs` anew below its mark."""
    page = Path(docs) / "performance.md"
    head, _, _ = page.read_text(encoding="utf-8").partition(MARK)
    page.write_text(f"{head}{MARK}\n\n{performance_page(read_benches(docs))}", encoding="utf-8")


if __name__ == "__main__":
    write_page(sys.argv[1])
