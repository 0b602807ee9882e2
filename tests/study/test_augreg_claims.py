"""Claims of AugReg: which arms are compared, and that they are measured."""

from pathlib import Path

import pytest

from ninefold.core.errors import Refused
from ninefold.study.experiments import EXPERIMENTS
from ninefold.study.plan import Best, Trained
from ninefold.study.reproduce import reproduce

NAMES = ("augreg_axis", "augreg_tenfold", "augreg_transfer", "augreg_more_data")


def test_the_axis_differs_in_augmentation_alone_and_both_sizes_take_the_same_steps() -> None:
    for pair, count in zip(
        EXPERIMENTS["augreg_axis"]("laptop", "cifar").comparisons, (50, 500), strict=True
    ):
        assert isinstance(pair.subject, Best)
        assert isinstance(pair.against, Trained)
        runs = [pair.against.run, *(one.run for one in pair.subject.candidates)]
        told = [(run.augment.randaugment, run.augment.mixup) for run in runs]
        assert told == [
            ("", 0.0), ("augreg-l2-m10-mean-rel", 0.2), ("augreg-l2-m15-mean-rel", 0.5),
            ("augreg-l2-m20-mean-rel", 0.8),
        ]  # fmt: skip
        plain = {run.changed(augment=runs[0].augment).model_dump_json() for run in runs}
        assert len(plain) == 1
        assert (runs[0].steps, runs[0].data) == (420, f"cifar?per_class={count}")


def test_tenfold_data_need_no_run_beside_those_of_the_axis() -> None:
    small, large = EXPERIMENTS["augreg_axis"]("laptop", "cifar").comparisons
    (pair,) = EXPERIMENTS["augreg_tenfold"]("laptop", "cifar").comparisons
    assert (pair.subject, pair.against) == (large.against, small.subject)


def test_what_is_transferred_trains_for_less_and_sees_the_photos_of_its_rival() -> None:
    for pair in EXPERIMENTS["augreg_transfer"]("laptop", "cifar").comparisons:
        assert isinstance(pair.subject, Trained)
        assert isinstance(pair.against, Best)
        assert pair.subject.start is not None
        for rival in pair.against.candidates:
            assert rival.start is None
            assert rival.at(2).data == pair.subject.at(2).data
            assert rival.run.steps == 3 * pair.subject.run.steps


@pytest.mark.parametrize("name", NAMES)
def test_photos_are_asked_for_beyond_the_smoke_scale(name: str) -> None:
    with pytest.raises(Refused, match="this needs CIFAR-10; --data FOLDER"):
        EXPERIMENTS[name]("laptop", "")


def test_a_claim_is_measured_at_the_smoke_scale(tmp_path: Path) -> None:
    (found,) = reproduce("augreg/tenfold-data", scale="smoke", out=tmp_path, seeds=1)
    (table,) = found.tables
    assert [str(row[1]).removesuffix(" (chosen)") for row in table.rows] == [
        "augreg-l2-m10-mean-rel", "augreg-l2-m20-mean-rel",
    ]  # fmt: skip
