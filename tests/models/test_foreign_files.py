"""Whole files as their authors save them, tensors and all that stands beside them."""

import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ninefold.core.errors import Refused
from ninefold.core.weights import read_weights, write_weights
from ninefold.models.convert import convert
from ninefold.models.create import create_model
from ninefold.models.load import load_weights
from ninefold.models.swin_keys import SWIN

OPTIMIZER = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-3}]}
META = {"epoch": 12, "config": "model = dict()", "CLASSES": ("cat", "dog"), "time": "now"}


def swin(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    model = create_model(
        "swin", image_size=56, embed_dim=32, depths=(1, 2), num_heads=(1, 2), window_size=7,
        **{"num_classes": 10, **options},
    )  # fmt: skip
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


def with_buffers(state: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    index = {k.replace("_bias_table", "_index"): torch.zeros(49, 49) for k in state if "table" in k}
    mask = {"layers.0.blocks.1.attn_mask": torch.zeros(4, 49, 49)}
    return OrderedDict((prefix + k, v) for k, v in (state | index | mask).items())


def beside(state: dict[str, Tensor], *others: str) -> dict[str, Tensor]:
    return OrderedDict({**state, **{key: torch.zeros(1) for key in others}})


FILES: dict[str, tuple[dict[str, Any], str, Any]] = {
    "classification": ({}, "official", lambda s: {"model": with_buffers(s)}),
    "in the midst of training": (
        {}, "official",
        lambda s: {"model": with_buffers(s), "optimizer": OPTIMIZER, "lr_scheduler": {"lr": [1.0]},
                   "max_accuracy": 81.2, "scaler": {}, "epoch": 299},
    ),
    "timm before 0.9": ({}, "official", with_buffers),
    "detection": (
        {"out_indices": (0, 1), "pos": "abs+rel"}, "official",
        lambda s: {"state_dict": beside(
            with_buffers(s | {"absolute_pos_embed": as_map(s["absolute_pos_embed"])}, "backbone."),
            "neck.fpn_convs.0.conv.weight", "roi_head.bbox_head.fc_cls.weight"),
            "meta": META, "optimizer": OPTIMIZER},
    ),
    "segmentation": (
        {"out_indices": (0, 1)}, "official",
        lambda s: {"state_dict": beside(with_buffers(s, "backbone."), "decode_head.conv_seg.bias"),
                   "meta": META},
    ),
    "MoBY": (
        {"num_classes": 0}, "official",
        lambda s: {"model": beside(with_buffers(s, "encoder."), "encoder_k.norm.weight",
                                   "projector.linear1.weight", "projector_k.linear1.weight",
                                   "predictor.linear1.weight", "queue1", "queue_ptr"),
                   "optimizer": OPTIMIZER},
    ),
    "SimMIM": (
        {"num_classes": 0}, "official",
        lambda s: {"model": beside(with_buffers(s, "encoder."), "encoder.mask_token",
                                   "decoder.0.weight")},
    ),
    "mmdetection's port": (
        {"out_indices": (0, 1)}, "mmdetection",
        lambda s: {"state_dict": beside({f"backbone.{k}": v for k, v in
                                         SWIN.write(s, "mmdetection").items()}, "neck.w"),
                   "meta": META},
    ),
    "torchvision": ({}, "torchvision", lambda s: SWIN.write(s, "torchvision")),
    "timm": ({}, "timm", lambda s: SWIN.write(s, "timm")),
    "transformers 4": ({}, "transformers-4", lambda s: SWIN.write(s, "transformers-4")),
    "transformers 5": ({}, "transformers", lambda s: SWIN.write(s, "transformers")),
}  # fmt: skip


def as_map(positions: Tensor) -> Tensor:
    """Absolute positions as the detection backbone holds them."""
    side = int(positions.shape[1] ** 0.5)
    return positions.transpose(1, 2).unflatten(2, (side, side))


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_each_origin_is_opened_and_told(kind: str, tmp_path: Path) -> None:
    options, layout, made = FILES[kind]
    theirs = swin(**options)
    torch.save(made(theirs.state_dict()), tmp_path / "w.pth")
    model = create_model("swin", image_size=56, embed_dim=32, depths=(1, 2), num_heads=(1, 2),
                         window_size=7, **{"num_classes": 10, **options})  # fmt: skip
    report = load_weights(model, tmp_path / "w.pth")
    assert report.layout == layout
    assert not report.missing
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, msg=key)
    told = convert(tmp_path / "w.pth")
    assert (told.layout, told.family, told.options.get("out_indices")) == (
        layout, "swin", list(options["out_indices"]) if "out_indices" in options else None,
    )  # fmt: skip
    assert told.bytes == (tmp_path / "w.pth").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


def pickled(path: Path, content: dict[str, Any], strange: type) -> None:
    """`content` saved as by a machine that has the library of the class `strange`, gone after."""
    parts = strange.__module__.split(".")
    names = [".".join(parts[: i + 1]) for i in range(len(parts))]
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setitem(sys.modules, name, ModuleType(name))
        setattr(sys.modules[names[-1]], strange.__name__, strange)
        torch.save(content, path)
    assert not any(name in sys.modules for name in names)


def test_settings_as_yacs_pickles_them_are_read_as_a_plain_dict_without_yacs(
    tmp_path: Path,
) -> None:
    """The training code of Swin, MoBY and SimMIM saves its whole configuration in the file."""

    def frozen(self: dict[str, Any], name: str, value: Any) -> None:
        raise AttributeError("frozen")

    node = type("CfgNode", (dict,), {"__module__": "yacs.config", "__setattr__": frozen})
    config = node(MODEL=node(NAME="swin", DROP=0.2), BASE=[""])
    config.__dict__["__immutable__"] = True
    theirs = swin()
    content = {"model": with_buffers(theirs.state_dict()), "epoch": 3, "config": config}
    pickled(tmp_path / "w.pth", content, node)
    assert b"yacs.config" in (tmp_path / "w.pth").read_bytes()
    tensors = read_weights(tmp_path / "w.pth").tensors
    assert tensors["head.weight"].equal(theirs.get_parameter("head.weight"))


def test_objects_of_other_libraries_are_refused_by_name(tmp_path: Path) -> None:
    """mmengine keeps the history of its losses in the file unless it was published."""
    name = "mmengine.logging.history_buffer"
    buffer = type("HistoryBuffer", (), {"__module__": name})
    content = {"state_dict": swin().state_dict(), "message_hub": {"loss": buffer()}}
    pickled(tmp_path / "w.pth", content, buffer)
    with pytest.raises(Refused, match=rf"asks for {name}\.HistoryBuffer\); nothing in it was run"):
        read_weights(tmp_path / "w.pth")


def test_the_authors_own_code_finds_the_weights_where_it_looks(tmp_path: Path) -> None:
    theirs = swin()
    write_weights(tmp_path / "ours.safetensors", theirs.state_dict())
    convert(tmp_path / "ours.safetensors", tmp_path / "w.pth", to="official")
    content = torch.load(tmp_path / "w.pth", weights_only=True)
    assert list(content) == ["model"]
    assert all(v.equal(content["model"][k]) for k, v in theirs.state_dict().items())


# --------------------------------------------------------------------------- the hub's cache


def hub(home: Path, repository: str, file: str, tensors: dict[str, Tensor]) -> None:
    """A repository in the layout of the hub's own cache: a blob, and a snapshot that links it."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    root = home / "hub" / f"models--{repository.replace('/', '--')}"
    for folder in ("blobs", "refs", f"snapshots/{commit}"):
        (root / folder).mkdir(parents=True)
    write_weights(root / "blobs" / "w.safetensors", tensors)
    (root / "blobs" / "w.safetensors").rename(root / "blobs" / ("ab" * 32))
    (root / "refs" / "main").write_text(commit)
    (root / "refs" / "v1").write_text(commit)
    (root / "snapshots" / commit / file).symlink_to(f"../../blobs/{'ab' * 32}")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An HF_HOME of its own, without a network."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "home"


def test_pretrained_weights_come_from_the_hubs_cache_without_a_network(home: Path) -> None:
    """Under the preset's own address and in timm's layout, as they are published."""
    theirs = create_model("swin_tiny")
    written = SWIN.write(theirs.state_dict(), "timm")
    hub(home, "timm/swin_tiny_patch4_window7_224.ms_in1k", "model.safetensors", written)
    model = create_model("swin_tiny", weights="pretrained")
    assert all(v.equal(theirs.state_dict()[k]) for k, v in model.state_dict().items())


def test_a_revision_is_asked_for_by_its_name_or_commit(home: Path) -> None:
    hub(home, "org/repo", "w.safetensors", {"a": torch.ones(2)})
    for revision in ("", "@main", "@v1", "@0123456789abcdef0123456789abcdef01234567"):
        assert "a" in read_weights(f"hf://org/repo{revision}/w.safetensors").tensors
    with pytest.raises(Refused, match=r"download http\S+/org/repo/resolve/v2/w\.safetensors where"):
        read_weights("hf://org/repo@v2/w.safetensors")
    with pytest.raises(Refused, match="org/repo@revision/file"):
        read_weights("hf://org/repo@/w.safetensors")
