"""Costs of attention are read once, in turns, and fitted as they should be."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from ninefold.core.errors import Refused
from ninefold.models.create import create_model
from ninefold.study.kept import reading_file, readings
from ninefold.study.plan import Timed
from ninefold.study.reproduce import reproduce
from ninefold.study.swin_cost import KINDS, fit_exponent, linear_cost


def what_process(*, seed: int, start: int) -> dict[str, float]:
    """Who reads, and the next number."""
    return {"process": os.getpid(), "value": start + seed}


def test_readings_are_taken_once_in_a_process_of_their_own(tmp_path: Path) -> None:
    one = Timed("test_swin_cost:what_process", {"start": 5}, "value")
    first = readings(tmp_path, one, 2)
    assert first["value"] == 7
    assert first["process"] != os.getpid()
    assert readings(tmp_path, one, 2) == first
    other = Timed("test_swin_cost:what_process", {"start": 5}, "process")
    assert reading_file(tmp_path, other, 2) == reading_file(tmp_path, one, 2)
    assert reading_file(tmp_path, one, 3) != reading_file(tmp_path, one, 2)


def test_an_exponent_is_the_slope_between_logarithms() -> None:
    x = [10.0, 40.0, 90.0]
    assert fit_exponent(x, [3 * v**1.5 for v in x]) == pytest.approx(1.5)
    noisy = [1.0, 4.4, 8.9]
    a, b = torch.tensor(x).log(), torch.tensor(noisy).log()
    ones = torch.stack([a, torch.ones(3)], 1)
    slope = torch.linalg.lstsq(ones, b[:, None]).solution[0].item()
    assert fit_exponent(x, noisy) == pytest.approx(slope, rel=1e-4)


def test_operations_of_windows_are_linear_in_the_pixels_and_those_of_global_attention_are_not() -> (
    None
):
    found = linear_cost(part="layer", sizes=(112, 224), rounds=1, seed=0)
    tokens, dim, window = (28 * 28, 56 * 56), 96, 7
    for size, n in zip((112, 224), tokens, strict=True):  # equations 1 and 2, an operation an add
        mine = 2 * (4 * n * dim**2 + 2 * window**2 * n * dim) / 1e9
        whole = 2 * (4 * n * dim**2 + 2 * n**2 * dim) / 1e9
        assert found[f"windows gigaflops {size}"] == pytest.approx(mine, rel=1e-6)
        assert found[f"global gigaflops {size}"] == pytest.approx(whole, rel=1e-6)
    assert found["windows operations exponent"] == pytest.approx(1, abs=1e-6)
    assert found["global operations exponent"] > 1.7
    assert all(found[f"{kind} seconds 224"] > 0 for kind in ("windows", "global"))


@pytest.mark.parametrize("kind", KINDS)
def test_rivals_of_table_5_have_the_parameters_of_swin_but_for_tables(kind: str) -> None:
    def shapes(**options: Any) -> dict[str, torch.Size]:
        with torch.device("meta"):
            model = create_model("swin_tiny", image_size=224, **options)
        named = model.named_parameters()
        return {name: p.shape for name, p in named if "position_bias" not in name}

    assert shapes(**KINDS[kind]) == shapes()


@pytest.mark.slow
def test_table_5_is_measured_once_for_all_its_claims(tmp_path: Path) -> None:
    (one,) = reproduce("swin/cyclic-speed", scale="smoke", out=tmp_path, seeds=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("table5-*.json")}
    (two,) = reproduce("swin/performer-speed", scale="smoke", out=tmp_path, seeds=1)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("table5-*.json")} == before
    assert one.subject == two.subject
    assert one.tables == two.tables
    (table,) = one.tables
    assert [row[0] for row in table.rows] == list(KINDS)
    assert table.rows[1][-1] == 1.0  # cyclic against itself
    assert all(float(value) > 0 for row in table.rows for value in row[1:])


@pytest.mark.slow
def test_growth_is_told_for_the_layer_and_for_the_model(tmp_path: Path) -> None:
    layer, model = reproduce("swin/linear-cost", scale="smoke", out=tmp_path, seeds=1)
    assert "layer" in layer.setting
    assert "Swin-T" in model.setting
    assert layer.tables[0].columns == ("", "56", "112", "exponent")
    assert layer.effects[0] == pytest.approx(1 - layer.subject[0] / layer.against[0])


def test_times_are_taken_on_random_images_alone(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="--data photos has no use"):
        reproduce("swin/cyclic-speed", data="photos", out=tmp_path)
