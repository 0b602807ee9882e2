"""A grid of fine-tunings, chosen on validation."""

import json
from pathlib import Path

import pytest

from ninefold.core.errors import Refused
from ninefold.core.results import read_lines
from ninefold.engine.config import Run
from ninefold.engine.train import train
from ninefold.optim.config import Sgd
from ninefold.recipes.augreg import augreg_in1k, finetune_augreg
from ninefold.study.grid import best_of

TINY = ("patch_size=8", "dim=16", "depth=1", "num_heads=1", "mlp_dim=32")
DATA = "synthetic://classification?size=16&train=40&val=24&test=24"


def start() -> Run:
    run = augreg_in1k(model="vit_atto", data=DATA, augreg="light2-wd_0.1-do_0.1-sd_0.1",
                      image_size=16, batch_size=8, steps=4, workers=0)  # fmt: skip
    return run.changed(model_options=(*TINY, *run.model_options))


def tuned(weights: Path, lr: float) -> Run:
    return finetune_augreg(
        model="vit_atto", data=f"{DATA}&classes=cross,ring,star", weights=weights, image_size=24,
        optim=Sgd(lr=lr, weight_decay=0.0), batch_size=8, steps=4, model_options=TINY, workers=0,
    )  # fmt: skip


def splits(folder: Path) -> list[str]:
    return [line["split"] for line in read_lines(folder / "results.jsonl")]


def test_one_of_several_runs_is_chosen_on_validation_and_is_alone_in_seeing_the_test_part(
    tmp_path: Path,
) -> None:
    """From a pre-training by AugReg to a grid of fine-tunings at another size, other classes."""
    train(start(), out=tmp_path / "start")
    assert splits(tmp_path / "start").count("test") == 1
    runs = [tuned(tmp_path / "start" / "model.safetensors", lr) for lr in (1e-6, 0.3)]
    opened = best_of(runs, out=tmp_path / "grid")
    told = json.loads((tmp_path / "grid" / "grid.json").read_text())["tried"]
    assert [row["folder"] for row in told] == ["00", "01"]
    assert [row["differs"]["optim"]["lr"] for row in told] == [1e-6, 0.3]
    (chosen,) = [row for row in told if row["chosen"]]
    assert (chosen["top1"], -chosen["loss"]) == max((row["top1"], -row["loss"]) for row in told)
    for row in told:
        seen = splits(tmp_path / "grid" / row["folder"])
        assert seen.count("test") == int(row["chosen"])
    assert opened.classes == ("cross", "ring", "star")


def test_runs_on_several_data_sets_are_refused(tmp_path: Path) -> None:
    runs = [tuned(tmp_path / "w", 0.1), tuned(tmp_path / "w", 0.1).changed(data="other")]
    for wrong in (runs, []):
        with pytest.raises(Refused, match="data sets; one is needed"):
            best_of(wrong, out=tmp_path)
