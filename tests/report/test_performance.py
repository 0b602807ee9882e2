"""The page on speed is made of kept records, and a goal is met by figures alone."""

from pathlib import Path
from typing import Any

import pytest

from ninefold.core.errors import Refused
from ninefold.report.benched import Bench, Benched, Cell, read_bench, spread
from ninefold.report.performance import (
    MARK,
    goal_of,
    met,
    performance_page,
    read_benches,
    write_page,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"


def cell(ours: float, *, rounds: int = 7, **changes: Any) -> Cell:
    return Cell.parse(
        {
            "mode": "inference", "precision": "fp32", "batch_size": 8, "compiled": False,
            "discarded": 1,
            "timings": [
                {"library": "ninefold", "seconds": [ours] * rounds, "memory": 80 * 2**20},
                {"library": "timm", "seconds": [1.1] * rounds, "memory": 120 * 2**20},
                {"library": "torchvision", "seconds": [1.0] * rounds, "memory": 100 * 2**20},
            ],
            **changes,
        },
        where="here",
    )  # fmt: skip


def benched(*cells: Cell, difference: float = 1e-6) -> Benched:
    contestants = [
        {"library": name, "name": "Swin", "version": "1", "parameters": 28, "macs": 4,
         "difference": None if name == "ninefold" else difference}
        for name in ("ninefold", "timm", "torchvision")
    ]  # fmt: skip
    values = {"model": "swin_tiny", "image_size": 224, "contestants": contestants}
    return Benched.parse({**values, "cells": [c.model_dump() for c in cells]}, where="here")


def record(*cells: Cell) -> Bench:
    return Bench(
        models=(benched(*cells),), device="cpu", hardware="a processor", threads=2,
        versions="torch 2", command="ninefold bench swin_tiny", date="2026-11-25", minutes=3.0,
    )  # fmt: skip


def test_a_ratio_is_of_samples_of_the_same_round() -> None:
    """A machine that halves its speed in two rounds changes no ratio."""
    found = spread([1.0, 2.0, 1.0, 2.0, 1.0], [2.0, 4.0, 2.0, 4.0, 2.0])
    assert (found.low, found.median, found.high) == (0.5, 0.5, 0.5)
    assert str(spread([1, 2, 3, 4, 5], [1] * 5)) == "3.00 [2.00, 4.00]"
    assert spread([3.0], [2.0]).high == 1.5


def test_the_fastest_and_the_leanest_peer_are_the_measure() -> None:
    assert cell(0.7).fastest_peer() == "torchvision"
    assert cell(0.7).memory_ratio() == pytest.approx(0.8)


def test_a_goal_is_met_by_seven_rounds_of_equal_work_and_by_nothing_less() -> None:
    fast, slow = cell(0.69), cell(0.71)
    assert goal_of("swin_tiny", fast) == 0.70
    assert goal_of("swin_small", fast) == 1.0
    assert goal_of("swin_tiny", cell(0.7, compiled=True)) == 0.9
    assert met(benched(), fast) == "met"
    assert met(benched(), slow) == "not met"
    assert met(benched(), cell(0.69, rounds=6)) == "too few rounds, 6"
    assert met(benched(difference=1e-3), fast) == "the peer computes something else"
    assert met(benched(difference=float("nan")), fast) == "the peer computes something else"
    alone = fast.model_copy(update={"timings": fast.timings[:1]})
    assert met(benched(), alone) == "no peer"


def test_the_page_says_which_goals_are_not_met() -> None:
    page = performance_page({"machine": record(cell(0.69), cell(0.8, batch_size=1))})
    assert "| inference fp32 b8 | 0.63 [0.63, 0.63] | **0.69 [0.69, 0.69]** | 0.7 | met |" in page
    assert "| 0.65 | not met | 800 | 1.25 | 0.80, goal 0.8 met | 80 | 7 of 8 |" in page
    assert "## machine" in page
    assert "`ninefold bench swin_tiny`" in page


@pytest.mark.parametrize(
    "change",
    [
        {"timings": []},
        {"timings": [{"library": "timm", "seconds": [1.0]}]},
        {
            "timings": [
                {"library": "ninefold", "seconds": [1.0]},
                {"library": "timm", "seconds": [1.0, 2.0]},
            ]
        },
    ],
)
def test_a_cell_without_ours_first_and_a_sample_a_round_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="here"):
        cell(1.0, **change)


def test_a_file_that_is_no_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text("{", encoding="utf-8")
    with pytest.raises(Refused, match=r"torn\.json: not JSON"):
        read_bench(tmp_path / "torn.json")


def test_the_page_and_the_kept_records_agree(tmp_path: Path) -> None:
    """After a change: python -m ninefold.report.performance docs."""
    page = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert page.partition(MARK)[2].strip() == performance_page(read_benches(DOCS)).strip()
    (tmp_path / "performance.md").write_text(f"By hand.\n\n{MARK}\nold", encoding="utf-8")
    write_page(tmp_path)
    assert (tmp_path / "performance.md").read_text().startswith(f"By hand.\n\n{MARK}\n\nNothing")
