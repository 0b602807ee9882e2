"""The verb `bench`: a bar on the terminal, a table on stdout, and the record in a file."""

import math
import sys
from argparse import Namespace
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ninefold.app import printing
from ninefold.report.benched import OURS, Bench, Benched, Cell, differs


def bench(given: Namespace) -> int:
    """Measure and print; 1 where a peer computes something else, or nothing could be measured."""
    from ninefold.study.bench import Plan
    from ninefold.study.bench import bench as measure

    values = {k: v for k, v in vars(given).items() if k in Plan.model_fields and v is not None}
    plan = Plan.parse(values, where="bench")
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    if bar.console.is_terminal:
        with bar:
            found = measure(plan, out=given.out, tell=_moving(bar))
    else:
        found = measure(plan, out=given.out)
    print(told(found))
    if given.out:
        print(given.out, file=sys.stderr)
    return 1 if any(m.differing() or not m.cells for m in found.models) else 0


def _moving(bar: Progress) -> Callable[[str, float], None]:
    task = bar.add_task("", total=1.0)
    return lambda what, share: bar.update(task, description=what, completed=share)


def told(found: Bench) -> str:
    """All models as text: how equal the contestants are, then ratios, times and memory."""
    parts = [_model(m) for m in found.models]
    where = f"{found.hardware}, {found.threads} threads; {found.versions}; {found.date}"
    return "\n\n".join([*parts, where])


def _model(m: Benched) -> str:
    ours, *peers = m.contestants
    size = f"{printing.short(ours.parameters)} parameters, {_macs(ours.macs)} MACs an image"
    lines = [f"{m.model} at {m.image_size} pixels: {size}"]
    for peer in peers:
        gap = math.nan if peer.difference is None else peer.difference
        verdict = "COMPUTES SOMETHING ELSE: outputs differ by" if differs(gap) else "equal within"
        lines.append(f"  {peer.library} {peer.version} {peer.name}: {verdict} {gap:.1g}, "
                     f"{_macs(peer.macs)} MACs")  # fmt: skip
    names = [peer.library for peer in peers]
    if names:
        lines.append("  ratios are our time over theirs, median [quartiles] of the rounds: below 1 "
                     "ours is faster")  # fmt: skip
    header = ["work", *names, "ms", "images/s", "memory", *(["over leanest"] if names else [])]
    if any(c.compiled for c in m.cells):
        header.append("compiled in")
    rows = [_row(c, names, len(header)) for c in m.cells]
    lines.append(printing.table([*header, "rounds"], rows))
    return "\n".join(lines)


def _row(cell: Cell, peers: list[str], width: int) -> list[str]:
    ratios = [str(cell.ratio(peer) or "-") for peer in peers]
    ours = cell.timing(OURS)
    assert ours
    lean = cell.memory_ratio()
    row = [cell.name, *ratios, f"{1000 * ours.median:.4g}", f"{cell.batch_size / ours.median:.4g}"]
    row.append(f"{ours.memory / 2**20:.0f} MiB" if ours.memory else "-")
    row += [f"{lean:.2f}" if lean else "-"] if peers else []
    if len(row) < width:
        row.append("-" if ours.compile_seconds is None else f"{ours.compile_seconds:.1f} s")
    left = f" ({cell.discarded} left out)" if cell.discarded else ""
    return [*row, f"{cell.rounds}{left}"]


def _macs(number: int) -> str:
    return printing.short(number) if number else "unknown"
