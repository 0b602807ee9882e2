"""The claims of the ten papers are complete, consistent and found by their names."""

import re
import subprocess
import sys

import pytest
import yaml

from ninefold.core.errors import Refused
from ninefold.report.claims import FOLDER, Claim, Paper, claim_named, paper_named, papers
from ninefold.study.experiments import EXPERIMENTS

CLAIMS = {claim.id: claim for paper in papers().values() for claim in paper.claims}


def test_all_ten_papers_have_their_claims() -> None:
    expected = "augreg dum efficientnetv2 focal mbt paa sam swin video_swin yolos"
    assert sorted(papers()) == expected.split()
    assert all(2 <= len(paper.claims) <= 14 for paper in papers().values())


def test_a_papers_file_is_named_as_the_paper() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(papers())


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))
def test_the_papers_first_figure_goes_the_claims_way_and_is_worth_the_name(claim: Claim) -> None:
    effect = claim.paper_effect()
    if effect is not None and claim.direction == "equal":
        assert abs(effect) < claim.smallest
    assert effect is None or claim.direction == "equal" or effect >= claim.smallest


def test_only_figures_of_the_deck_are_corrected() -> None:
    figures = [figure for claim in CLAIMS.values() for figure in claim.figures]
    assert any(figure.corrected for figure in figures)
    assert all(figure.source == "deck" for figure in figures if figure.corrected)


def test_every_experiment_that_a_claim_names_exists_and_no_other() -> None:
    assert {claim.experiment for claim in CLAIMS.values()} - {""} == set(EXPERIMENTS)


def test_an_effect_is_positive_in_the_claims_direction() -> None:
    faster = claim_named("efficientnetv2/training-time")
    assert faster.effect_of(13.0, 54.0) == pytest.approx(41 / 54)
    assert claim_named("swin/shift").effect_of(0.8, 0.79) == pytest.approx(0.01)


def test_percentages_of_a_paper_count_from_0_to_1() -> None:
    assert claim_named("swin/shift").paper_effect() == pytest.approx(0.011)


def test_ids_must_begin_with_the_papers_name_and_differ() -> None:
    values = yaml.safe_load((FOLDER / "yolos.yaml").read_text(encoding="utf-8"))
    values["claims"][1]["id"] = values["claims"][0]["id"]
    with pytest.raises(Refused, match="unique and begin with 'yolos/'"):
        Paper.parse(values, where="yolos.yaml")


def test_a_typo_names_the_nearest() -> None:
    with pytest.raises(Refused, match="did you mean 'swin/shift'"):
        claim_named("swin/shif")
    with pytest.raises(Refused, match="did you mean 'focal'"):
        paper_named("foca")


def test_texts_are_whole_sentences_without_line_breaks() -> None:
    for claim in CLAIMS.values():
        assert re.fullmatch(r"[A-Z].*\.", claim.statement), claim.id
        assert "\n" not in claim.statement + claim.note + claim.where


def test_reading_claims_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, ninefold.report.measured as m; m.papers_table(kept=[]); "
        "print([x for x in ('torch', 'numpy', 'matplotlib') if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
