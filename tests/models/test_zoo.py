"""What holds for every preset: published sizes, one contract, and equality with other libraries."""

import sys
from collections.abc import Callable, Iterator
from functools import partial
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


MEASURED: dict[str, tuple[int, float]] = {
    "swin_tiny": (28_288_354, 4.491),
    "swin_small": (49_606_258, 8.741),
    "swin_base": (87_768_224, 15.431),
    "swin_large": (196_532_476, 34.476),
    "swin_base_384": (87_903_584, 47.083),
    "swin_large_384": (196_735_516, 103.919),
    "focal_tiny": (28_880_380, 4.953),
    "focal_small": (51_141_940, 9.480),
    "focal_base": (89_815_400, 16.436),
    "focal_large": (199_602_640, 35.9),
    "vit_ti16": (5_717_416, 1.254),
    "vit_ti16_384": (5_790_376, 4.682),
    "vit_s32": (22_878_952, 1.143),
    "vit_s32_384": (22_915_432, 3.443),
    "vit_s16": (22_050_664, 4.599),
    "vit_s16_384": (22_196_584, 15.490),
    "vit_b32": (88_224_232, 4.409),
    "vit_b32_384": (88_297_192, 13.044),
    "vit_b16": (86_567_656, 17.564),
    "vit_b16_384": (86_859_496, 55.484),
    "vit_b8": (86_576_872, 78.148),
    "vit_l32": (306_535_400, 15.377),
    "vit_l16": (304_326_632, 61.555),
    "vit_l16_384": (304_715_752, 191.066),
    "vit_r_ti16": (6_337_704, 0.434),
    "vit_r_ti16_384": (6_355_944, 1.327),
    "vit_r26_s32": (36_431_912, 3.464),
    "vit_r26_s32_384": (36_468_392, 10.264),
    "vit_r50_l32": (328_994_856, 19.413),
    "vit_r50_l32_384": (329_092_136, 57.136),
    "mixer_s32": (19_104_624, 1.002),
    "mixer_s16": (18_528_264, 3.777),
    "mixer_b32": (60_293_428, 3.238),
    "mixer_b16": (59_880_472, 12.602),
    "mixer_l16": (208_196_168, 44.548),
    "resnet50": (25_557_032, 4.089),
    "resnet101": (44_549_160, 7.801),
    "resnet152": (60_192_808, 11.514),
    "efficientnet_v2_s": (21_458_488, 8.366),
    "efficientnet_v2_m": (54_139_356, 24.582),
    "efficientnet_v2_l": (118_515_272, 56.080),
    "efficientnet_b3": (12_233_232, 1.827),
    "efficientnet_b4": (19_341_616, 4.394),
    "efficientnet_b5": (30_389_784, 10.266),
    "efficientnet_b6": (43_040_704, 19.068),
    "efficientnet_b7": (66_347_960, 37.746),
    "shake_shake26_2x32d": (2_989_002, 0.427),
    "shake_shake26_2x96d": (26_777_546, 3.777),
    "shake_shake26_2x112d": (36_435_402, 5.135),
}
"""Parameters and GMACs as the specifications measured them on the references."""


def test_presets_tell_the_sizes_that_the_references_were_measured_to_have() -> None:
    for name, (parameters, gmacs) in MEASURED.items():
        assert PRESETS[name].parameters == parameters, name
        assert PRESETS[name].gmacs == pytest.approx(gmacs, rel=5e-3), name


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_multiply_adds_are_the_published_ones_to_half_a_per_cent(name: str) -> None:
    size = PRESETS[name].preprocess.image_size
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        create_model(name).eval()(torch.empty(1, 3, size, size))
    assert counter.get_total_flops() / 2e9 == pytest.approx(PRESETS[name].gmacs, rel=5e-3)


FUSED = {
    ("", 0, False): (19.34, 4.39),
    ("123", 0, False): (20.95, 9.65),
    ("123", 0, True): (20.99, 9.65),
    ("123", 3, False): (19.94, 7.34),
    ("123", 3, True): (19.99, 7.34),
    ("12345", 0, False): (43.53, 23.00),
    ("12345", 3, True): (29.71, 12.92),
    ("1234567", 0, False): (132.12, 36.04),
    ("1234567", 3, False): (65.45, 18.45),
}
"""EfficientNet-B4 at 380 pixels by fused stages, their kernel and excitation: million parameters
and GMACs by the specification's closed form, section A4."""


@pytest.mark.parametrize(("stages", "kernel", "excited"), FUSED)
def test_fused_blocks_stand_where_they_are_asked_for(
    stages: str, kernel: int, excited: bool
) -> None:
    where = {"fused_stages": [int(i) for i in stages], "fused_kernel": kernel, "fused_se": excited}
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        model = create_model("efficientnet_b4", **where).eval()
        model(torch.empty(1, 3, 380, 380))
    parameters, gmacs = FUSED[stages, kernel, excited]
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(parameters, abs=6e-3)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=5e-3)


@pytest.mark.parametrize(("size", "width", "depth"), [("m", 1.6, 2.2), ("l", 2.0, 3.1)])
def test_uniform_scaling_is_an_option_and_larger_v2s_are_deeper_late(
    size: str, width: float, depth: float
) -> None:
    """The base scaled by one width and depth, as V1 is, beside the paper's: equal up to stage 4."""
    with torch.device("meta"):
        uniform = create_model("efficientnet_v2", width=width, depth=depth)
        paper = create_model(f"efficientnet_v2_{size}")
    ours, theirs = ([row.repeats for row in model.rows] for model in (uniform, paper))
    assert ours[:4] == theirs[:4]
    assert sum(theirs[4:]) > 1.2 * sum(ours[4:])


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


EACH = [n if n in ATTO else pytest.param(n, marks=pytest.mark.slow) for n in PRESETS]
"""One preset a family; the others, which differ in widths alone once they are shrunk, are slow."""


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_may_have_any_channels_and_odd_sizes(name: str, channels: int) -> None:
    model = shrunk(name, in_channels=channels).eval()
    size = (64, 64) if PRESETS[name].family in ONE_SIZE else (57, 75)
    with torch.no_grad():
        out = model(torch.randn(1, channels, *size))
    assert out.shape == (1, 3)
    assert bool(out.isfinite().all())


@pytest.mark.parametrize("name", EACH)
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
def test_recomputing_in_the_backward_pass_changes_no_gradient_and_no_statistics(name: str) -> None:
    found = []
    for recompute in (False, True):
        model: Any = shrunk(name).train()
        model.set_grad_checkpointing(recompute)
        torch.manual_seed(1)
        model(
            torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
        ).sum().backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        found[-1] += [buffer.clone() for buffer in model.buffers()]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def _exports(name: str) -> None:
    model, image = shrunk(name).eval(), torch.randn(2, 3, 64, 64)
    program = torch.export.export(model, (image,)).module()
    with torch.no_grad():
        assert largest(program(image), model(image)) < 1e-5


@pytest.mark.parametrize("name", ATTO)
def test_a_small_model_of_each_family_is_exported(name: str) -> None:
    _exports(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_exported(name: str) -> None:
    _exports(name)


Peer = tuple[str, dict[str, Any], Callable[[int], nn.Module]]

SECOND = {"vit": 160, "vit_r": 160, "mixer": 160}
"""The second size of transformers; of convolutional networks it is odd, which tests their padding.
"""
UNNAMED = {
    "vit_l32": "vit_large_patch32_224",
    "vit_h14": "vit_huge_patch14_224",
    "vit_r50_b16": "vit_base_r50_s16_224",
    "mixer_s32": "mixer_s32_224",
    "mixer_s16": "mixer_s16_224",
    "mixer_b32": "mixer_b32_224",
    "mixer_l32": "mixer_l32_224",
}
"""timm's names of models of ours that have no weights there."""
FAST = ("vit_ti16", "deit_tiny", "deit_tiny_distilled", "vit_r_ti16", "mixer_s32", "resnet18",
        "resnet50", "resnet50_bit", "efficientnet_v2_b0", "efficientnet_b0")  # fmt: skip


def _timm_peers() -> Iterator[Peer]:
    """timm's model of every preset that it has: by the name of its weights, or by `UNNAMED`."""
    for name, preset in PRESETS.items():
        file = preset.weights.removeprefix("hf://timm/").partition("/")[0].partition(".")[0]
        kind = file or UNNAMED.get(name, "")
        if not kind or preset.family == "swin":  # whose tests are in test_swin.py
            continue
        depth = {} if name in FAST else {"depth": 2}
        if preset.family in ("vit", "vit_r"):
            gelu = {} if "gelu" in preset.options else {"act_layer": "gelu_tanh"}
            yield name, depth, partial(_sized, kind, **gelu, **depth)
        elif preset.family == "mixer":
            cut = {"num_blocks": 2} if depth else {}
            yield name, {"gelu": "exact", **depth}, partial(_sized, kind, **cut)
        else:
            yield name, {}, partial(_timm_bit if name.endswith("_bit") else _unsized, kind)


def _sized(kind: str, side: int, **options: Any) -> nn.Module:
    return timm.create_model(kind, img_size=side, **options)


def _unsized(kind: str, side: int) -> nn.Module:
    return timm.create_model(kind)


def _timm_bit(kind: str, side: int) -> nn.Module:
    """timm pads with zeros before the first pooling, where the official model has -inf."""
    peer: Any = timm.create_model(kind)
    peer.stem.pad, peer.stem.pool = nn.Identity(), nn.MaxPool2d(3, 2, 1)
    return peer


def _torchvision_peers() -> Iterator[Peer]:
    for name in ("vit_b16", "vit_b32", "vit_l16", "vit_l32", "vit_h14"):
        yield name, {"gelu": "exact", "depth": 2}, partial(_torchvision_vit, name)
    symmetric = {"padding": "symmetric"}
    for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"):
        yield name, {}, partial(_torchvision, name)
    for name in ("efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l"):
        yield name, symmetric, partial(_torchvision, name)
    for i in range(8):
        eps = {} if i > 4 else {"bn_eps": 1e-5}
        yield f"efficientnet_b{i}", symmetric | eps, partial(_torchvision, f"efficientnet_b{i}")


def _torchvision(name: str, side: int) -> nn.Module:
    return torchvision.models.get_model(name)


def _torchvision_vit(name: str, side: int) -> nn.Module:
    told = PRESETS[name].options
    kind = torchvision.models.vision_transformer.VisionTransformer
    return kind(side, told["patch_size"], 2, told["num_heads"], told["dim"], told["mlp_dim"])


PEERS = [
    pytest.param(*peer, id=f"{library}-{peer[0]}",
                 marks=() if peer[0] in FAST and library == "timm" else pytest.mark.slow)
    for library, peers in (("timm", _timm_peers()), ("torchvision", _torchvision_peers()))
    for peer in peers
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "build"), PEERS)
def test_the_same_weights_give_what_the_other_library_gives(
    name: str, options: dict[str, Any], build: Callable[[int], nn.Module]
) -> None:
    """Random weights, two image sizes. Transformers of more than a few million parameters have two
    blocks, as all their blocks are of one kind, and how many there are is in their parameters."""
    family = PRESETS[name].family
    for side in (PRESETS[name].preprocess.image_size, SECOND.get(family, 129)):
        size = min(side, 224) if family not in SECOND else side
        torch.manual_seed(0)
        peer = build(size).eval()
        with torch.no_grad():
            for value in peer.state_dict().values():
                if value.is_floating_point():
                    noise = torch.randn_like(value) if value.dim() > 1 else torch.rand_like(value)
                    value.add_(noise, alpha=0.02 if value.dim() > 1 else 0.1)
        ours = create_model(name, image_size=size, **options).eval()
        for module in ours.modules():
            if isinstance(module, StdConv2d) and name.endswith("_bit"):
                module.eps = 1e-8  # timm's
        report = load_weights(ours, peer.state_dict())
        assert (report.missing, report.resized) == ((), ())
        image = torch.randn(1, 3, size, size)
        with torch.no_grad():
            theirs, out = peer(image), ours(image)
        assert largest(out, theirs) < 2e-5 * max(1.0, float(theirs.abs().max()))


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


def test_vits_and_mixers_begin_as_flax_initialises_them() -> None:
    """Queries, keys and values are three kernels there, each with a fan-out of its own."""
    torch.manual_seed(0)
    expected = {
        "qkv.weight": 96**-0.5,  # Xavier's: the root of 2 / (96 + 96)
        "attn.proj.weight": 96**-0.5,
        "mlp.fc1.weight": (2 / 480) ** 0.5,
        "mlp.fc2.weight": (2 / 480) ** 0.5,
        "mlp.fc1.bias": 1e-6,
        "mlp.fc2.bias": 1e-6,
        "pos_embed": 0.02,
        "embed.proj.weight": 192**-0.5,  # LeCun's: the root of 1 / (3 * 8 * 8)
        "stem.proj.weight": 192**-0.5,
    }
    for model in (create_model("vit_atto"), create_model("mixer_atto")):
        for name, parameter in model.named_parameters():
            std = next((std for end, std in expected.items() if name.endswith(end)), 0.0)
            if std:
                assert float(parameter.detach().std(correction=0)) == pytest.approx(
                    std, rel=0.15
                ), name
            elif name.endswith(("attn.qkv.bias", "proj.bias", "head.weight", "head.bias")):
                assert not parameter.any(), name
    weight = create_model("vit_atto").get_parameter("patch_embed.proj.weight")
    assert float(weight.detach().abs().max()) <= 2 / 0.87962566 * 192**-0.5
