"""Progressive learning: stages of image size and regularisation, by the step alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from engine_parts import Until, small
from torch import Tensor, nn

from ninefold.augment.config import Augment, Patches
from ninefold.core.batch import Batch
from ninefold.core.errors import Refused, Stopped
from ninefold.core.preprocess import Preprocess
from ninefold.engine import checkpoint
from ninefold.engine.build import build
from ninefold.engine.config import Run, Stages
from ninefold.engine.feed import preparation, training_batches
from ninefold.engine.stages import Course, patch_of, with_magnitude
from ninefold.engine.train import train
from ninefold.models.create import create_model
from ninefold.optim.config import Schedule

LAST = 8
GROWING = Stages(
    count=3, image_size=(8, 12), magnitude=(0, 8), mixup=(0.0, 0.4), dropout=(0.0, 0.4)
)


def growing(**changes: Any) -> Run:
    """Nine steps in stages of three; an epoch is five steps, so no boundary is the end of one."""
    augment = Augment(crop="random_resized", randaugment="rand-n1-p1")
    return small(**{"stages": GROWING, "augment": augment, "ema": 0.9, **changes})


def course(stages: Stages, stop: int, **changes: Any) -> Course:
    return Course(small(stages=stages, augment=Augment(randaugment="rand-mmax40"), **changes), stop)


# efficientnetv2-paa specification, A7: first and last by the paper, then what is interpolated.
PAPER = [
    ((128, 300), (128, 185, 243, 300)),
    ((128, 380), (128, 212, 296, 380)),
    ((171, 300), (171, 214, 257, 300)),  # the released code, S
    ((192, 384), (192, 256, 320, 384)),  # M, L
]


@pytest.mark.parametrize(("ends", "sizes"), PAPER, ids=str)
def test_sizes_between_the_ends_are_the_papers(ends: tuple[int, int], sizes: Any) -> None:
    assert course(Stages(count=4, image_size=ends), 400).sizes == sizes


def test_regularisation_between_the_ends_is_the_papers() -> None:
    found = course(
        Stages(count=4, magnitude=(5, 20), mixup=(0, 0.2), dropout=(0.1, 0.4)), 400
    ).stages
    assert [s.augment.randaugment for s in found] == [f"rand-m{m}-mmax40" for m in (5, 10, 15, 20)]
    assert [s.augment.mixup for s in found] == pytest.approx([0, 0.2 / 3, 0.4 / 3, 0.2])
    assert [s.dropout for s in found] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert {s.image_size for s in found} == {12}


@pytest.mark.parametrize("stop", [4, 5, 7, 400, 109_474])
def test_each_step_belongs_to_the_stage_that_its_share_of_the_training_names(stop: int) -> None:
    found = course(Stages(count=4), stop)
    counts = [0] * 4
    for step in range(min(stop, 1000)) if stop < 1000 else range(0, stop, 97):
        stage = found.index(step)
        counts[stage] += 1
        assert abs(step / stop - stage / 4) <= 1 / 4 + 1 / stop
        assert found.starts[stage] <= step
        assert stage == 3 or step < found.starts[stage + 1]
    assert max(counts) - min(counts) <= 1


def test_unequal_stages_and_values_one_by_one_are_taken_as_they_are() -> None:
    found = course(Stages(count=3, shares=(2, 1, 1), image_size=(9, 16, 11), dropout=(0, 0.5)), 8)
    assert found.starts == (0, 4, 6)
    assert found.sizes == (9, 16, 11)
    assert [s.dropout for s in found.stages] == [0, 0.25, 0.5]
    assert found.largest() == 4


def test_sizes_are_rounded_to_multiples() -> None:
    assert course(Stages(count=4, image_size=(90, 224), multiple=32), 9).sizes == (
        96,
        128,
        192,
        224,
    )


def test_a_run_without_stages_has_one() -> None:
    found = course(Stages(), 9)
    assert (found.starts, found.sizes, found.index(8)) == ((0,), (12,), 0)
    assert found.stages[0].dropout is None


@pytest.mark.parametrize(
    ("notation", "told"),
    [("rand", "rand-m7"), ("rand-m9-mstd0.5-inc1", "rand-m7-mstd0.5-inc1"),
     ("rand-n3-mmax20-m4.5", "rand-m7-n3-mmax20")],
)  # fmt: skip
def test_a_stages_magnitude_takes_the_place_of_the_notations(notation: str, told: str) -> None:
    assert with_magnitude(notation, 7) == told


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_change_size_at_the_boundary_and_other_processes_change_nothing(
    workers: int,
) -> None:
    """Workers load ahead, across boundaries; a batch is what its step says all the same."""
    run = growing(workers=workers)
    parts = build(run, 1)
    fabric = launched()
    source = training_batches(run, parts.data, fabric, 0, parts.stop)
    found = [images(next(source)) for _ in range(9)]
    assert [x.shape[-1] for x in found] == [8] * 3 + [10] * 3 + [12] * 3
    for start in (2, 5):
        again = next(training_batches(run.changed(workers=0), parts.data, fabric, start, 9))
        assert torch.equal(images(again), found[start])


def images(batch: Batch) -> Tensor:
    assert isinstance(batch.x, Tensor)
    return batch.x


def test_mixing_follows_the_step() -> None:
    run = growing()
    parts = build(run, 1)
    prepare = preparation(run, parts.data, launched(), parts.stop)
    batch = next(training_batches(run, parts.data, launched(), 0, 9))
    targets = [prepare(batch, step).y for step in (0, 2, 3, 8)]
    assert [y.ndim for y in targets if isinstance(y, Tensor)] == [1, 1, 2, 2]


def launched() -> Any:
    from ninefold.engine.device import launch

    return launch("32-true")[0]


def trained_until(step: int, run: Run, folder: Path) -> None:
    with pytest.raises(Stopped, match=f"after step {step}"):
        train(run, out=folder, resume=True, observers=[Until(step)])


def state_in(folder: Path) -> dict[str, Any]:
    path = checkpoint.newest(folder / "checkpoints")
    assert path is not None
    content = checkpoint.load(path)
    del content["record"]
    return content


@pytest.mark.parametrize(
    "changes",
    [{}, {"ema_rule": "tensorflow"}, {"augment": Augment(patches=Patches(grid=2), mixup=0.2),
     "stages": Stages(count=3, image_size=(8, 12), mixup=(0, 0.4))}],
    ids=["stages", "tensorflow", "patches"],
)  # fmt: skip
def test_a_run_that_stopped_around_a_boundary_ends_as_the_one_that_did_not(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Boundaries lie before steps 3 and 6, in the middle of epochs of five."""
    run = growing(**changes)
    trained_until(LAST, run, tmp_path / "straight")
    for step, workers in ((2, 2), (3, 0), (7, 1), (LAST, 0)):
        trained_until(step, run.changed(workers=workers), tmp_path / "broken")
    one, other = state_in(tmp_path / "broken"), state_in(tmp_path / "straight")
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


class Seeing(nn.Module):
    """Notes, in training, the sizes it sees and the dropout it has."""

    seen: list[tuple[int, float]] = []  # noqa: RUF012 - read after the run has ended

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.drop, self.head = nn.Dropout(0.7), nn.Linear(3, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            Seeing.seen.append((x.shape[-1], self.drop.p))
        return self.head(self.drop(x.mean(dim=(2, 3))))


def test_the_model_sees_each_stages_size_with_its_dropout_and_is_judged_at_its_own(
    tmp_path: Path,
) -> None:
    Seeing.seen.clear()
    run = growing(model="test_stages:Seeing", preprocess=Preprocess(image_size=16), ema=0.0)
    trained = train(run, out=tmp_path / "run")
    assert Seeing.seen == [(8, 0.0)] * 3 + [(10, 0.2)] * 3 + [(12, 0.4)] * 3
    assert trained.preprocess.image_size == 16


@pytest.mark.parametrize("model", ["vit_atto", "swin_atto", "efficientnet_v2_atto", "focal_atto"])
def test_transformers_and_convolutions_train_at_growing_sizes(tmp_path: Path, model: str) -> None:
    patch = patch_of(create_model(model, image_size=32))
    run = growing(
        model=model,
        preprocess=Preprocess(image_size=40, crop_fraction=1.0),
        stages=Stages(count=3, image_size=(16, 32), multiple=patch, dropout=(0, 0.2)),
        steps=3,
    )
    result = train(run, out=tmp_path / "run")
    assert result.preprocess.image_size == 40


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ({"count": 3, "image_size": (8, 9, 10, 11)}, "image_size has 4 values for count 3; 2"),
        ({"image_size": (8, 12)}, "has 2 values for count 0; stages.count 2 would be right"),
        ({"count": 2, "shares": (1,)}, "shares has 1 value for count 2; 2 would be right"),
        ({"count": 2, "dropout": (0.1, 1.0)}, r"stages.dropout.1: input should be less than 1"),
        ({"count": 2, "image_size": (0, 9)}, "stages.image_size.0: input should be greater than 0"),
        ({"count": 2, "size": (8, 9)}, "unknown field 'stages.size'"),
    ],
)
def test_a_table_that_is_none_is_refused_in_a_line(stages: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told) as refusal:
        Run.parse({**small().model_dump(), "stages": stages}, where="run")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"stages": Stages(count=10)}, "10 stages leave one of them without any of the 9 steps"),
        ({"stages": Stages(count=2, magnitude=(5, 9)), "augment": Augment()}, "has no RandAugment"),
        (
            {"stages": Stages(count=2, magnitude=(5, 15))},
            "15 is above 10, the limit of 'rand-n1-p1'",
        ),
        ({"stages": Stages(count=2, image_size=(2, 12))}, "2 x 2 pixels do not go through it"),
        (
            {"model": "vit_atto", "stages": Stages(count=3, image_size=(9, 17))},
            r"stage 1 has 9 pixels, which are no whole patches of \d+ for vit_atto; .* rounds",
        ),
        (
            {"model": "mixer_atto", "stages": Stages(count=2, image_size=(16, 32))},
            "^stages.image_size: mixer_atto: .* do not go through it: mixer: is made for images of "
            "32 x 32 pixels, not 16 x 16",
        ),
        (
            {"model": "resnet_atto", "stages": Stages(count=2, dropout=(0, 0.2))},
            "stages.dropout: resnet_atto has no dropout layers",
        ),
    ],
)
def test_a_table_that_does_not_fit_the_run_is_refused_before_work(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    if "model" in changes:
        changes = {"preprocess": Preprocess(image_size=32, crop_fraction=1.0), **changes}
    with pytest.raises(Refused, match=told) as refusal:
        train(growing(**changes), out=tmp_path / "run")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"stages": Stages(count=10)}, "10 stages leave one of them without any of the 9 steps"),
        ({"schedule": Schedule(warmup_steps=9)}, "9 are not fewer than the 9 steps of the run"),
        ({"stages": Stages(), "augment": Augment(randaugment="augreg-m31")}, "from 0 to 30"),
    ],
)
def test_what_the_configuration_alone_rules_out_is_refused_before_the_data_are_read(
    changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(Refused, match=told):
        build(growing(data="nowhere", **changes), 1)
