"""What comes first in a model: frozen stages, smaller rates near the input, memory saved."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ninefold.core.errors import Refused
from ninefold.models.create import create_model
from ninefold.models.depth import freeze, rate_scales, save_memory, set_head_bias
from ninefold.models.presets import PRESETS

GUESTS = ("resnet18", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_atto")


class Own(nn.Module):
    """A user's network that tells its order."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(2))
        self.scale = nn.Parameter(torch.ones(1))
        self.head = nn.Linear(4, 2)

    def layers_by_depth(self) -> list[list[tuple[str, ...]]]:
        return [[("stem", "scale")], [("blocks.0",)], [("blocks.1",)]]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x) * self.scale
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean(dim=(2, 3)))


def small_swin(**options: Any) -> nn.Module:
    sizes = {"embed_dim": 8, "depths": (2, 1), "num_heads": (1, 2), "window_size": 2}
    return create_model("swin", num_classes=3, image_size=16, **(sizes | options))


def trainable(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("preset", ["swin_atto", "swin_tiny"])
def test_scales_of_swin_are_those_of_its_authors(preset: str) -> None:
    """SimMIM: `decay ** i for i in reversed(range(blocks + 2))`, the embedding having number 0."""
    depths = {"swin_atto": (2, 2, 2), "swin_tiny": (2, 2, 6, 2)}[preset]
    with torch.device("meta"):
        model = create_model(preset)
    expected: dict[str, float] = {}
    for name, _ in model.named_parameters():
        parts = name.split(".")
        if parts[0] == "patch_embed":
            number = 0
        elif parts[0] == "layers":
            before = sum(depths[: int(parts[1])])
            step = parts[2] == "downsample"
            number = before + (depths[int(parts[1])] if step else int(parts[3]) + 1)
        else:
            number = sum(depths) + 1
        expected[name] = 0.75 ** (sum(depths) + 1 - number)
    assert rate_scales(model, 0.75, where="m") == pytest.approx(expected)


def test_scales_by_hand() -> None:
    scales = rate_scales(Own(), 0.5, where="m")
    first = dict.fromkeys(("stem.0.weight", "stem.1.bias", "scale"), 0.125)
    then = {"blocks.0.weight": 0.25, "blocks.1.bias": 0.5, "head.weight": 1.0}
    assert scales == scales | first | then


def test_scales_of_a_guest_are_those_of_timm() -> None:
    from timm.optim import param_groups_layer_decay

    guest = create_model("timm/vit_tiny_patch16_224", num_classes=5)
    inner: Any = guest.model
    inner.head = guest.head  # as timm has it
    theirs = {
        id(p): group["lr_scale"]
        for group in param_groups_layer_decay(inner, layer_decay=0.8)
        for p in group["params"]
    }
    ours = rate_scales(guest, 0.8, where="m")
    for name, parameter in guest.named_parameters():
        assert ours[name] == pytest.approx(theirs[id(parameter)]), name


def test_frozen_stages_come_with_the_embedding() -> None:
    model = small_swin(ape=True)
    whole = freeze(model, 1, where="m")
    assert not any(n.startswith(("patch_embed", "layers.0", "absolute")) for n in trainable(model))
    assert {n for n in trainable(model) if n.startswith("layers.1")}
    assert {"norm.weight", "head.weight"} <= trainable(model)
    names = {name for name, module in model.named_modules() if module in whole}
    assert names == {"patch_embed", "pos_drop", "layers.0"}


def test_a_linear_probe_trains_the_head_alone() -> None:
    for model in (small_swin(), Own(), create_model("timm/resnet18", num_classes=3)):
        freeze(model, "backbone", where="m")
        assert trainable(model) == {"head.weight", "head.bias"}


@pytest.mark.parametrize("name", GUESTS)
def test_guests_freeze_by_stages_and_tell_every_weight_once(name: str) -> None:
    with torch.device("meta"):
        guest = create_model(f"timm/{name}", num_classes=3)
    tell: Any = guest
    listed = [n for stage in tell.layers_by_depth() for layer in stage for n in layer]
    assert len(listed) == len(set(listed))
    count = len(tell.layers_by_depth())
    assert count == (13 if name.startswith("vit") else 5)
    whole = freeze(guest, 2, where="m")
    frozen = {id(p) for module in whole for p in module.parameters()}
    rest = {id(p) for p in guest.parameters() if not p.requires_grad} - frozen
    assert frozen
    assert len(rest) <= 2  # a token or a table of positions is no module


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        (9, r"m: has 2 stages after its embedding, freeze is 9; 1 to 2, or backbone"),
        ("backbone", r"m: has no `head` that could train alone"),
    ],
)
def test_what_cannot_be_frozen_is_refused(stages: int | str, words: str) -> None:
    model = Own()
    if stages == "backbone":
        model.head = nn.Identity()  # type: ignore[assignment]
    with pytest.raises(Refused, match=words):
        freeze(model, stages, where="m")


def test_a_model_that_does_not_tell_its_order_is_told_how() -> None:
    with pytest.raises(Refused, match=r"m: has no method layers_by_depth\(\); one that lists"):
        freeze(nn.Linear(2, 2), 1, where="m")
    with pytest.raises(Refused, match="has no method set_grad_checkpointing"):
        save_memory(nn.Linear(2, 2), where="m")


def test_a_name_that_is_not_there_is_told() -> None:
    model = Own()
    model.layers_by_depth = lambda: [[("stem",)], [("block.0",)]]  # type: ignore[method-assign]
    with pytest.raises(Refused, match=r"names 'block.0', which is no module or parameter"):
        rate_scales(model, 0.5, where="m")


SAVING = ["swin", "efficientnet_atto", "resnet_atto", "timm/resnet10t", "timm/vit_tiny_patch16_224"]


@pytest.mark.parametrize("name", [*SAVING, "timm/tf_efficientnet_b0"])
def test_saved_memory_changes_no_bit(name: str) -> None:
    """Noise of dropout and drop path, gradients, and BatchNorm's statistics are the same."""
    torch.manual_seed(0)
    if name == "swin":
        model = small_swin(drop_rate=0.2, drop_path=0.3)
    elif "vit" in name:
        model = create_model(
            name, num_classes=3, image_size=32, drop_path=0.3, proj_drop_rate=0.1, depth=2
        )
    else:
        model = create_model(name, num_classes=3, drop_path=0.3)
    other = copy.deepcopy(model)
    save_memory(other, where="m")
    x = torch.randn(4, 3, 32, 32)
    for module in (model, other):
        torch.manual_seed(1)
        for _ in range(2):
            module(x).square().mean().backward()
    for (key, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        assert one.grad is not None
        assert two.grad is not None
        assert one.grad.equal(two.grad), key
    for (key, value), again in zip(model.named_buffers(), other.buffers(), strict=True):
        assert value.equal(again), key


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_tells_its_order_and_can_save_memory(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name)
    scales = rate_scales(model, 0.9, where=name)
    values = [scales[key] for key, _ in model.named_parameters()]
    assert values[0] == min(values)
    head = set(map(id, model.head.parameters()))  # type: ignore[union-attr]
    assert {scales[key] for key, p in model.named_parameters() if id(p) in head} == {1.0}
    save_memory(model, where=name)
    freeze(model, 1, where=name)
    assert 0 < len(trainable(model)) < len(values)


@pytest.mark.parametrize("name", ["vit_atto", "deit_tiny_distilled", "swin_atto", "timm/resnet18"])
def test_biases_of_a_head_are_set_and_nothing_else(name: str) -> None:
    model = create_model(name, num_classes=3)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    set_head_bias(model, -6.9, where=name)
    head = {id(p) for p in model.head.parameters()}  # type: ignore[union-attr]
    for key, p in model.named_parameters():
        if id(p) in head and key.endswith("bias"):
            assert p.unique().tolist() == [pytest.approx(-6.9)]
        else:
            assert p.equal(before[key]), key


def test_a_model_without_a_biased_head_is_told_to_leave_it() -> None:
    own = Own()
    own.head = nn.Linear(4, 2, bias=False)
    for model in (own, nn.Conv2d(3, 3, 1)):
        with pytest.raises(Refused, match="mine: has no `head` with a bias"):
            set_head_bias(model, -6.9, where="mine")
