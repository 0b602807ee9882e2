"""Conversion: a foreign checkpoint becomes a file of ours that says what it is."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ninefold.core.errors import Refused
from ninefold.core.labels import labels
from ninefold.core.weights import read_weights
from ninefold.models.convert import convert
from ninefold.models.create import create_model


def foreign(path: Path, model: torch.nn.Module, **rest: Any) -> Path:
    """Saved as the authors save theirs, with a buffer that the model computes."""
    state = {**model.state_dict(), "layers.0.blocks.1.attn_mask": torch.zeros(4, 16, 16)}
    torch.save({"model": state, **rest}, path)
    return path


def test_a_converted_checkpoint_names_its_preset_and_loads(tmp_path: Path) -> None:
    theirs = create_model("swin_atto", num_classes=7).eval()
    done = convert(foreign(tmp_path / "w.pth", theirs, epoch=3), tmp_path / "w.safetensors")
    assert (done.family, done.layout, done.preset) == ("swin", "official", "swin_atto")
    assert set(done.tensors) == set(theirs.state_dict())
    metadata = read_weights(tmp_path / "w.safetensors").metadata
    assert metadata["preset"] == "swin_atto"
    assert json.loads(metadata["model_options"]) == {"num_classes": 7}
    assert json.loads(metadata["preprocess"])["image_size"] == 64
    model = create_model(
        metadata["preset"],
        weights=tmp_path / "w.safetensors",
        **json.loads(metadata["model_options"]),
    ).eval()
    image = torch.randn(1, 3, 64, 64)
    assert model(image).equal(theirs(image))


def test_a_head_of_imagenets_size_gets_its_names(tmp_path: Path) -> None:
    theirs = create_model("swin_atto", num_classes=1000)
    done = convert(foreign(tmp_path / "w.pth", theirs), tmp_path / "w.safetensors")
    assert done.classes == 1000
    metadata = read_weights(tmp_path / "w.safetensors").metadata
    assert tuple(json.loads(metadata["classes"])) == labels("imagenet-1k")
    assert json.loads(metadata["model_options"]) == {"num_classes": 1000}


def test_timms_swin_tiny_is_told_from_the_other_presets_by_its_shapes(tmp_path: Path) -> None:
    import timm

    with torch.device("meta"):
        state = timm.create_model("swin_tiny_patch4_window7_224").state_dict()
    halves = {k: torch.zeros(v.shape, dtype=torch.float16) for k, v in state.items()}
    torch.save(halves, tmp_path / "w.pth")
    done = convert(tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert (done.layout, done.preset, done.classes) == ("timm", "swin_tiny", 1000)


def test_a_backbone_behind_a_prefix_keeps_its_maps(tmp_path: Path) -> None:
    theirs = create_model("swin_atto", out_indices=(0, 2))
    state = {f"backbone.{k}": v for k, v in theirs.state_dict().items()}
    torch.save({"state_dict": {**state, "neck.0.weight": torch.zeros(1)}}, tmp_path / "w.pth")
    done = convert(tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert (done.preset, done.options) == ("swin_atto", {"out_indices": [0, 2]})
    assert done.skipped == ("neck.0.weight",)


def test_shapes_of_no_preset_are_converted_without_one(tmp_path: Path) -> None:
    theirs = create_model("swin", embed_dim=8, depths=(1,), num_heads=(1,), num_classes=2)
    done = convert(foreign(tmp_path / "w.pth", theirs), tmp_path / "w.safetensors")
    assert done.preset == ""
    assert "preset" not in read_weights(tmp_path / "w.safetensors").metadata


def test_unknown_keys_and_another_suffix_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(Refused, match=r"keys \(conv1\.weight, \.\.\.\) are of no known family"):
        convert(tmp_path / "w.pth", tmp_path / "w.safetensors")
    with pytest.raises(Refused, match=r"name it out\.safetensors"):
        convert(tmp_path / "w.pth", tmp_path / "out.pth")
    assert [p.name for p in tmp_path.iterdir()] == ["w.pth"]
