"""Every family learns real photos: 200 steps at its smallest size on a part of CIFAR-10."""

from pathlib import Path

import pytest

from ninefold.core.results import read_lines
from ninefold.engine.train import train
from ninefold.recipes.everyday import quickstart

DEIT = ("gelu=exact", "resize=bicubic", "init_std=0.02", "distilled=true")
FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "swin": ("swin_atto", ()),
    "focal": ("focal_atto", ()),
    "vit": ("vit_atto", ()),
    "deit": ("vit_atto", DEIT),
    "hybrid": ("vit_r_atto", ()),
    "mixer": ("mixer_atto", ()),
    "resnet": ("resnet_atto", ()),
    "resnet, group": ("resnet_atto", ("norm=group", "bottleneck=true")),
    "resnet, bit": ("resnet_atto", ("norm=bit", "bottleneck=true")),
    "efficientnet": ("efficientnet_atto", ()),
    "efficientnet_v2": ("efficientnet_v2_atto", ()),
    "wide_resnet": ("wide_resnet_atto", ()),
    "shake_shake": ("shake_shake_atto", ()),
    "pyramidnet": ("pyramidnet_atto", ()),
}


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("family", FAMILIES)
def test_every_familys_loss_falls_on_photos(family: str, shared_data: Path, tmp_path: Path) -> None:
    """From the first to the last quarter of the steps by 0.1 nats, where guessing has 2.30."""
    model, options = FAMILIES[family]
    run = quickstart(
        model=model, data=shared_data / "cifar10-small", model_options=options, batch_size=32,
        steps=200, evaluate_every=200, checkpoint_every=200, workers=0,
    )  # fmt: skip
    train(run, out=tmp_path / "run", device="cpu")
    losses = [line["loss"] for line in read_lines(tmp_path / "run" / "log.jsonl")
              if "split" not in line]  # fmt: skip
    quarter = len(losses) // 4
    assert quarter > 1
    first, last = sum(losses[:quarter]) / quarter, sum(losses[-quarter:]) / quarter
    assert last < first - 0.1
    assert last < 2.2
