"""Kept results prove themselves, and the page is made of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from ninefold.core.errors import Refused
from ninefold.report.claim_chart import claim_chart, settings_chart
from ninefold.report.claims import claim_named
from ninefold.report.measured import (
    Measurement,
    kept_folder,
    papers_table,
    read_kept,
    results_page,
    write_page,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"


def values(**changes: Any) -> dict[str, Any]:
    effects = [0.03, 0.02, 0.04]
    return {
        "claim": "swin/shift",
        "scale": "laptop",
        "metric": "top1",
        "smallest": 0.01,
        "seeds": [0, 1, 2],
        "subject": [0.83, 0.82, 0.84],
        "against": [0.8, 0.8, 0.8],
        "effects": effects,
        "effect": sum(effects) / 3,
        "low": 0.005,
        "high": 0.055,
        "verdict": "shown",
        "data": "generated pictures (`synthetic://classification?size=64&train=4000`)",
        "command": "ninefold reproduce swin/shift --scale laptop",
        "hardware": "a processor",
        "versions": "ninefold 0.1.0",
        "minutes": 12.5,
        "date": "2026-11-23",
        "run": {"model": "swin_atto"},
        "differs": {"model_options": ["shift=false"]},
        **changes,
    }


def test_a_result_reads_back_equal(tmp_path: Path) -> None:
    found = Measurement.parse(values(), where="here")
    told = json.dumps(found.model_dump(mode="json"))
    (tmp_path / f"{found.name}.json").write_text(told, encoding="utf-8")
    assert found.name == "swin-shift-laptop"
    assert read_kept(tmp_path) == [found]


@pytest.mark.parametrize(
    "change",
    [{"verdict": "not shown"}, {"effect": 0.09}, {"effects": [0.0, 0.0, 0.0]}, {"seeds": [0, 1]}],
)
def test_a_result_that_contradicts_itself_is_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    (tmp_path / "wrong.json").write_text(json.dumps(values(**change)), encoding="utf-8")
    with pytest.raises(Refused, match=r"wrong\.json"):
        read_kept(tmp_path)


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text("{", encoding="utf-8")
    with pytest.raises(Refused, match=r"torn\.json: not JSON"):
        read_kept(tmp_path)


def test_the_table_of_papers_sets_measured_beside_printed() -> None:
    found = Measurement.parse(values(), where="here")
    rows = {row.claim: row for row in papers_table("swin", kept=[found])}
    assert rows["swin/shift"].paper == "81.3 against 80.2 % (deck)"
    assert rows["swin/shift"].measured == "+3.0 points [0.5, 5.5], n = 3 (laptop)"
    assert rows["swin/shift"].verdict == "shown"
    assert rows["swin/detection"].verdict == "not measured"
    assert len(papers_table(kept=[])) > len(rows)


def test_the_page_holds_every_claim_and_every_kept_value() -> None:
    page = results_page([Measurement.parse(values(), where="here")])
    assert "| 2 | 0.8400 | 0.8000 | +0.0400 |" in page
    assert all(f"`{row.claim}`" in page for row in papers_table(kept=[]))


def test_settings_and_tables_stand_on_the_page() -> None:
    table = {"title": "By stage", "columns": ["stage", "time"], "rows": [["1", 1.5], ["2", 2.25]]}
    found = Measurement.parse(values(setting="20 images a class", tables=[table]), where="here")
    assert found.name == "swin-shift-laptop-20-images-a-class"
    page = results_page([found], pictures=["swin-shift-laptop.png"])
    assert "### `swin/shift` at laptop scale, 20 images a class: shown" in page
    assert "20 images a class: +3.0 points" in page
    assert "By stage:\n\n| stage | time |\n|---|---|\n| 1 | 1.5 |\n| 2 | 2.25 |" in page
    assert "![swin/shift in all settings](results/swin-shift-laptop.png)" in page


def test_a_table_with_a_row_that_is_too_long_is_refused() -> None:
    table = {"title": "By stage", "columns": ["stage"], "rows": [["1", 1.5]]}
    with pytest.raises(Refused, match="each row must have 1 values"):
        Measurement.parse(values(tables=[table]), where="here")


def test_the_kept_page_is_up_to_date(tmp_path: Path) -> None:
    (tmp_path / "results").symlink_to(DOCS / "results")
    write_page(tmp_path)
    made = (tmp_path / "results.md").read_text(encoding="utf-8")
    kept = (DOCS / "results.md").read_text(encoding="utf-8")
    assert made == kept, "docs/results.md is not what its sources make; see docs/claims.md"


def test_kept_results_are_named_for_their_claim_and_none_is_of_the_smoke_scale() -> None:
    assert kept_folder() == DOCS / "results"
    names = {path.stem for path in kept_folder().glob("*.json")}
    kept = read_kept(kept_folder())
    assert names == {m.name for m in kept}
    assert all(m.scale != "smoke" for m in kept)


def test_kept_results_decide_by_the_effect_that_their_claim_states() -> None:
    for m in read_kept(kept_folder()):
        claim = claim_named(m.claim)
        assert (m.smallest, m.metric) == (claim.smallest, claim.metric)
        assert m.equal == (claim.direction == "equal")
        pairs = zip(m.subject, m.against, m.effects, strict=True)
        assert all(claim.effect_of(a, b) == pytest.approx(e) for a, b, e in pairs)


def test_settings_are_drawn_together(tmp_path: Path) -> None:
    found = [Measurement.parse(values(setting=name), where="here") for name in ("few", "many")]
    settings_chart(found, tmp_path / "claim.png")
    assert (tmp_path / "claim.png").stat().st_size > 5000


@pytest.mark.parametrize("seeds", [1, 2, 7])
def test_a_claim_is_drawn_for_any_number_of_seeds(tmp_path: Path, seeds: int) -> None:
    one = values(
        seeds=list(range(seeds)),
        subject=[0.5] * seeds,
        against=[0.5] * seeds,
        effects=[0.0] * seeds,
        effect=0.0,
        low=None,
        high=None,
        verdict="underpowered" if seeds == 1 else "not shown",
    )
    claim_chart(Measurement.parse(one, where="here"), tmp_path / "claim.png")
    assert (tmp_path / "claim.png").stat().st_size > 5000
