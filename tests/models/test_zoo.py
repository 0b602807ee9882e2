"""What holds for every preset: published sizes, one contract, and equality with other libraries."""

import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ninefold.core.weights import read_weights, write_weights
from ninefold.layers.conv import StdConv2d
from ninefold.models.create import create_model
from ninefold.models.depth import freeze, rate_scales
from ninefold.models.load import load_weights
from ninefold.models.presets import PRESETS

ATTO = [name for name in PRESETS if name.endswith("_atto")]
ONE_SIZE = ("mixer",)
"""Families that are made for one image size."""
SHALLOWEST = {"wide_resnet": 10, "shake_shake": 8, "pyramidnet": 8}
MAPS = ("swin", "focal", "resnet", "efficientnet", "efficientnet_v2", *SHALLOWEST)


def shrunk(name: str, **options: Any) -> nn.Module:
    """A preset with one block a stage, for small images, with random values everywhere."""
    preset, changes = PRESETS[name], dict[str, Any](options)
    if "depths" in preset.options or preset.family in ("swin", "focal"):
        changes["depths"] = (1,) * len(preset.options["depths"])
    elif preset.family == "resnet":
        changes["blocks"] = (1,) * len(preset.options["blocks"])
    elif preset.family in SHALLOWEST:
        bottleneck = preset.options.get("bottleneck", False)
        changes["depth"] = SHALLOWEST[preset.family] + (3 if bottleneck else 0)
    elif preset.family.startswith("efficientnet"):
        changes["depth"] = 0.01
        if "stages" in preset.options:
            changes["stages"] = [(*row[:5], 1, row[6]) for row in preset.options["stages"]]
    else:
        changes["depth"] = 1
        if "resnet" in preset.options:
            units = (1,) * len(preset.options["resnet"]["num_layers"])
            changes["resnet"] = {"num_layers": units, "width_factor": 1.0}
    torch.manual_seed(0)
    changes = {"image_size": 64, "num_classes": 3, "drop_path": 0.0} | changes
    model = create_model(name, **changes)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)
    return model


def largest(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in create_model(name).parameters())
    assert count == PRESETS[name].parameters


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_multiply_adds_are_the_published_ones_to_half_a_per_cent(name: str) -> None:
    size = PRESETS[name].preprocess.image_size
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        create_model(name).eval()(torch.empty(1, 3, size, size))
    assert counter.get_total_flops() / 2e9 == pytest.approx(PRESETS[name].gmacs, rel=5e-3)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[] if PRESETS[n].parameters < 4e7 else [pytest.mark.slow])
        for n in PRESETS
    ],
)
def test_every_preset_keeps_the_contract_of_models(name: str, tmp_path: Path) -> None:
    """Forward is head of pool of features; gradients reach all; what is saved is loaded."""
    model = shrunk(name)
    image = torch.randn(2, 3, 64, 64)
    model.train()(image).square().sum().backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    model.eval()
    with torch.no_grad():
        features: Any = model.features(image)  # type: ignore[operator]
        out = model(image)
        assert torch.equal(out, model.head(model.pool(features)))  # type: ignore[operator]
        assert torch.equal(out, model(image))
        assert out.shape == (2, 3)
        assert bool(out.isfinite().all())
        if PRESETS[name].family in MAPS:
            assert [f.dim() for f in features] == [4] * len(features)
            sides = [f.shape[-1] for f in features]
            assert sides == sorted(sides, reverse=True)
        else:
            assert features.dim() == 3
        write_weights(tmp_path / "model.safetensors", model.state_dict())
        other = shrunk(name)
        for parameter in other.parameters():
            parameter.normal_()
        report = load_weights(other.eval(), read_weights(tmp_path / "model.safetensors").tensors)
        assert (report.missing, report.skipped) == ((), ())
        assert torch.equal(out, other(image))


@pytest.mark.parametrize("name", ATTO)
@pytest.mark.parametrize("channels", [1, 4])
def test_images_may_have_any_channels_and_odd_sizes(name: str, channels: int) -> None:
    model = shrunk(name, in_channels=channels).eval()
    size = (64, 64) if PRESETS[name].family in ONE_SIZE else (57, 75)
    with torch.no_grad():
        out = model(torch.randn(1, channels, *size))
    assert out.shape == (1, 3)
    assert bool(out.isfinite().all())


@pytest.mark.parametrize("name", ATTO)
def test_channels_last_and_autocast_give_the_same_within_rounding(name: str) -> None:
    model, image = shrunk(name).eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        out = model(image)
        assert largest(out, model(image.to(memory_format=torch.channels_last))) < 1e-4
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(image)
    assert largest(out, rough) < 0.05 * max(1.0, float(out.abs().max()))


@pytest.mark.parametrize("name", ATTO)
def test_rows_of_a_batch_do_not_see_each_other(name: str) -> None:
    model, image = shrunk(name).eval(), torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        alone = torch.cat([model(image[i : i + 1]) for i in range(3)])
        assert largest(model(image), alone) < 1e-4


@pytest.mark.parametrize("name", ATTO)
def test_layers_by_depth_name_every_parameter_but_the_last_ones(name: str) -> None:
    model = create_model(name)
    scales = rate_scales(model, 0.5, where=name)
    top = {n.split(".")[0] for n, scale in scales.items() if scale == 1.0}
    assert top <= {
        "norm",
        "head",
        "classifier",
        "conv_head",
        "bn1",
        "bn2",
        "bn_final",
        "fc",
        "fc_out",
        "pre_logits",
    }
    assert min(scales.values()) < 0.5
    freeze(model, 1, where=name)
    assert any(p.requires_grad for p in model.parameters())
    assert not all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", ATTO)
def test_recomputing_in_the_backward_pass_changes_no_gradient(name: str) -> None:
    found = []
    for recompute in (False, True):
        model: Any = shrunk(name).train()
        model.set_grad_checkpointing(recompute)
        torch.manual_seed(1)
        model(
            torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
        ).sum().backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def _exports(name: str) -> None:
    model, image = shrunk(name).eval(), torch.randn(2, 3, 64, 64)
    program = torch.export.export(model, (image,)).module()
    with torch.no_grad():
        assert largest(program(image), model(image)) < 1e-5


@pytest.mark.parametrize("name", ["focal_atto", "vit_atto", "mixer_atto", "resnet_atto"])
def test_a_small_model_of_a_family_is_exported(name: str) -> None:
    _exports(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_exported(name: str) -> None:
    _exports(name)


def _timm(name: str, **options: Any) -> nn.Module:
    return timm.create_model(name, **options)


def _torchvision(name: str) -> nn.Module:
    return torchvision.models.get_model(name)


def _timm_bit(name: str) -> nn.Module:
    """timm pads with zeros before the first pooling, where the official model has -inf."""
    peer: Any = timm.create_model(name)
    peer.stem.pad, peer.stem.pool = nn.Identity(), nn.MaxPool2d(3, 2, 1)
    return peer


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


TANH: dict[str, Any] = {"act_layer": "gelu_tanh"}
EXACT = {"gelu": "exact"}
SYMMETRIC = {"padding": "symmetric"}
PEERS: list[Any] = [
    ("vit_ti16", {}, lambda: _timm("vit_tiny_patch16_224", **TANH)),
    slow("vit_s16", {}, lambda: _timm("vit_small_patch16_224", **TANH)),
    slow("vit_s32", {}, lambda: _timm("vit_small_patch32_224", **TANH)),
    slow("vit_b16", {}, lambda: _timm("vit_base_patch16_224", **TANH)),
    slow("vit_b32", {}, lambda: _timm("vit_base_patch32_224", **TANH)),
    slow("vit_b8", {}, lambda: _timm("vit_base_patch8_224", **TANH)),
    slow("vit_l16", {}, lambda: _timm("vit_large_patch16_224", **TANH)),
    ("deit_tiny", {}, lambda: _timm("deit_tiny_patch16_224")),
    ("deit_tiny_distilled", {}, lambda: _timm("deit_tiny_distilled_patch16_224")),
    slow("deit_small", {}, lambda: _timm("deit_small_patch16_224")),
    slow("deit_base", {}, lambda: _timm("deit_base_patch16_224")),
    slow("vit_b32", EXACT, lambda: _torchvision("vit_b_32")),
    slow("vit_b16", EXACT, lambda: _torchvision("vit_b_16")),
    ("vit_r_ti16", {}, lambda: _timm("vit_tiny_r_s16_p8_224", **TANH)),
    slow("vit_r26_s32", {}, lambda: _timm("vit_small_r26_s32_224", **TANH)),
    slow("vit_r50_l32", {}, lambda: _timm("vit_large_r50_s32_224", **TANH)),
    ("mixer_s32", EXACT, lambda: _timm("mixer_s32_224")),
    slow("mixer_b16", EXACT, lambda: _timm("mixer_b16_224")),
    slow("mixer_l16", EXACT, lambda: _timm("mixer_l16_224")),
    ("resnet18", {}, lambda: _torchvision("resnet18")),
    ("resnet50", {}, lambda: _torchvision("resnet50")),
    slow("resnet34", {}, lambda: _torchvision("resnet34")),
    slow("resnet101", {}, lambda: _torchvision("resnet101")),
    slow("resnet152", {}, lambda: _torchvision("resnet152")),
    ("resnet50_bit", {}, lambda: _timm_bit("resnetv2_50x1_bit")),
    slow("resnet101_bit", {}, lambda: _timm_bit("resnetv2_101x1_bit")),
    ("efficientnet_v2_b0", {}, lambda: _timm("tf_efficientnetv2_b0")),
    slow("efficientnet_v2_b1", {}, lambda: _timm("tf_efficientnetv2_b1")),
    slow("efficientnet_v2_b2", {}, lambda: _timm("tf_efficientnetv2_b2")),
    slow("efficientnet_v2_b3", {}, lambda: _timm("tf_efficientnetv2_b3")),
    slow("efficientnet_v2_s", {}, lambda: _timm("tf_efficientnetv2_s")),
    slow("efficientnet_v2_m", {}, lambda: _timm("tf_efficientnetv2_m")),
    slow("efficientnet_v2_l", {}, lambda: _timm("tf_efficientnetv2_l")),
    slow("efficientnet_v2_xl", {}, lambda: _timm("tf_efficientnetv2_xl")),
    slow("efficientnet_v2_s", SYMMETRIC, lambda: _torchvision("efficientnet_v2_s")),
    slow("efficientnet_v2_m", SYMMETRIC, lambda: _torchvision("efficientnet_v2_m")),
    ("efficientnet_b0", {}, lambda: _timm("tf_efficientnet_b0")),
    *[
        slow(f"efficientnet_b{i}", {}, lambda i=i: _timm(f"tf_efficientnet_b{i}"))
        for i in range(1, 8)
    ],
    slow("efficientnet_b0", SYMMETRIC | {"bn_eps": 1e-5}, lambda: _torchvision("efficientnet_b0")),
    slow("efficientnet_b3", SYMMETRIC | {"bn_eps": 1e-5}, lambda: _torchvision("efficientnet_b3")),
]


@pytest.mark.parametrize(
    ("name", "options", "build"), PEERS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_the_same_weights_give_what_the_other_library_gives(
    name: str, options: dict[str, Any], build: Any
) -> None:
    """Random weights, two image sizes where the other library's model takes two."""
    torch.manual_seed(0)
    peer = build().eval()
    with torch.no_grad():
        for value in peer.state_dict().values():
            if value.is_floating_point():
                noise = torch.randn_like(value) if value.dim() > 1 else torch.rand_like(value)
                value.add_(noise, alpha=0.02 if value.dim() > 1 else 0.1)
    ours = create_model(name, **options).eval()
    for module in ours.modules():
        if isinstance(module, StdConv2d) and name.endswith("_bit"):
            module.eps = 1e-8  # timm's
    report = load_weights(ours, peer.state_dict())
    assert report.missing == ()
    convolutional = PRESETS[name].family in MAPS
    size = 224
    for side in (size, 192) if convolutional else (size,):
        image = torch.randn(1, 3, side, side)
        with torch.no_grad():
            theirs, out = peer(image), ours(image)
        scale = max(1.0, float(theirs.abs().max()))
        assert largest(out, theirs) < 2e-5 * scale


def test_timm_departs_from_the_official_vit_by_its_gelu() -> None:
    torch.manual_seed(0)
    peer = timm.create_model("vit_tiny_patch16_224", depth=2).eval()
    nn.init.normal_(peer.head.weight, std=0.05)
    options: dict[str, Any] = {"depth": 2}
    official = create_model("vit_ti16", **options).eval()
    same = create_model("vit_ti16", gelu="exact", **options).eval()
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        for model in (official, same):
            load_weights(model, peer.state_dict())
        assert largest(same(image), peer(image)) < 2e-5
        assert largest(official(image), peer(image)) > 1e-5


def test_model_files_do_not_know_each_other() -> None:
    families = ["vit", "mixer", "resnet", "efficientnet", "focal", "swin", *SHALLOWEST]
    for family in families:
        source = Path(sys.modules["ninefold"].__file__ or "").parent / "models" / f"{family}.py"
        text = source.read_text()
        for other in families:
            assert f"ninefold.models.{other} " not in text
