"""Focal beside Swin, its parts, and fused blocks: what is compared is what the claims say."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ninefold.core.options import read_options
from ninefold.engine.config import Run
from ninefold.layers.focal import FocalAttention, focal_keys
from ninefold.models.create import create_model
from ninefold.models.efficientnet import EfficientNet
from ninefold.study.experiments import EXPERIMENTS
from ninefold.study.plan import Trained
from ninefold.study.reproduce import reproduce
from ninefold.study.zoo_claims import MODES, PLACES, fused_speed


def arms(experiment: str, scale: str) -> list[tuple[Run, Run]]:
    pairs: list[tuple[Run, Run]] = []
    for pair in EXPERIMENTS[experiment](scale, "").comparisons:  # type: ignore[arg-type]
        assert isinstance(pair.subject, Trained)
        assert isinstance(pair.against, Trained)
        pairs.append((pair.subject.run, pair.against.run))
    return pairs


def built(run: Run) -> torch.nn.Module:
    size = run.preprocess.image_size
    options = read_options(run.model_options, where="model_options")
    return create_model(run.model, image_size=size, num_classes=12, **options)


def macs(run: Run) -> int:
    size = run.preprocess.image_size
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        built(run).eval()(torch.empty(1, 3, size, size))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("scale", ["laptop", "gpu"])
def test_focal_and_swin_do_equally_many_multiply_adds(scale: str) -> None:
    ((focal, swin),) = arms("focal_or_swin", scale)
    assert macs(swin) == pytest.approx(macs(focal), rel=0.01)
    like = swin.changed(model=focal.model, model_options=focal.model_options)
    assert like == focal


@pytest.mark.parametrize("scale", ["laptop", "gpu"])
def test_without_a_part_no_key_of_that_part_is_left(scale: str) -> None:
    """Keys of a window of the first stage: 16 tokens, 48 places of the ring, 9 coarse tokens."""
    found: list[list[int]] = []
    for both, less in arms("focal_near_and_far", scale):
        assert less.changed(model_options=both.model_options) == both
        found.append([keys_of_a_window(run) for run in (both, less)])
    assert found == [[73, 64], [73, 25], [73, 16]]


def keys_of_a_window(run: Run) -> int:
    with torch.device("meta"):
        first = next(m for m in built(run).modules() if isinstance(m, FocalAttention))
    keys = focal_keys(
        (16, 16), 4, first.expand, first.focal_window, first.levels, 0, torch.device("cpu")
    )
    return len(keys.index) // 16


def test_all_claims_on_focal_share_one_run_a_seed() -> None:
    runs = [pair[0] for name in ("focal_or_swin", "focal_near_and_far")
            for pair in arms(name, "laptop")]  # fmt: skip
    assert all(run == runs[0] for run in runs)


def test_rows_of_table_3_are_fused_where_they_say() -> None:
    for row, stages in PLACES.items():
        with torch.device("meta"):
            model = create_model("efficientnet_b4", fused_stages=stages)
        assert isinstance(model, EfficientNet)
        assert [i for i, stage in enumerate(model.rows, 1) if stage.fused] == list(stages), row


def test_speed_is_read_for_every_row_in_both_modes() -> None:
    found = fused_speed(model="efficientnet_atto", image_size=32, batch_size=2, rounds=1, seed=0)
    for row in PLACES:
        assert all(found[f"{row} {mode} images/s"] > 0 for mode in MODES)
        assert found[f"{row} GMACs"] >= found["none GMACs"] > 0
    assert found["1-7 millions"] > found["1-5 millions"] > found["1-3 millions"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claim", "settings"),
    [
        ("focal/classification", [""]),
        (
            "focal/near-and-far",
            [
                "against windows and ring",
                "against windows and coarse tokens",
                "against windows alone",
            ],
        ),
        ("efficientnetv2/fused-early", ["inference", "training"]),
    ],
)
def test_the_smoke_scale_of_each_claim_writes_its_results(
    claim: str, settings: list[str], tmp_path: Path
) -> None:
    found = reproduce(claim, scale="smoke", out=tmp_path, seeds=1)
    assert [one.setting for one in found] == settings
    assert len(list(tmp_path.glob(f"{claim.replace('/', '-')}-smoke*.json"))) == len(settings)
