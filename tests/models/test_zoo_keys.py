"""Weights of the zoo's families from elsewhere and for elsewhere: presets, layouts, archives."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
import transformers
from torch import Tensor, nn

from ninefold.core.errors import Refused
from ninefold.core.weights import read_weights, write_weights
from ninefold.models.convert import convert
from ninefold.models.create import create_model
from ninefold.models.load import keys_of, load_weights
from ninefold.models.presets import PRESETS
from ninefold.models.vit_keys import VIT as VIT_KEYS

PUBLISHED = [name for name, preset in PRESETS.items() if preset.weights]


def randomised(model: nn.Module) -> Any:
    """Every parameter and statistic drawn anew, so that no swap goes unseen."""
    generator = torch.Generator().manual_seed(0)
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            wide = value.dim() > 1
            noise = (torch.randn if wide else torch.rand)(value.shape, generator=generator)
            scale = 1.0 / value[0].numel() ** 0.5 if wide else 0.3
            offset = 0.5 if key.endswith("running_var") else 0.0 if wide else value.mean()
            with torch.no_grad():
                value.copy_(offset + scale * noise)
    return model.eval()


def logits(model: nn.Module, image: Tensor) -> Tensor:
    with torch.inference_mode():
        out = model(image)
    return out if isinstance(out, Tensor) else out.logits


def same(a: nn.Module, b: nn.Module, image: Tensor) -> bool:
    x, y = logits(a, image), logits(b, image)
    return float((x - y).abs().max()) < 2e-5 * max(1.0, float(x.abs().max()))


def picture(side: int = 64) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


# ------------------------------------------------------------------- what "pretrained" names


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[] if PRESETS[n].parameters < 4e7 else [pytest.mark.slow])
        for n in PUBLISHED
    ],
)
def test_the_layout_of_published_weights_is_that_of_timms_model_of_their_name(name: str) -> None:
    """Whole, without memory: every key is known, none is missing or of another shape."""
    preset = PRESETS[name]
    scheme, repository, file = preset.weights.rsplit("/", 2)
    assert (scheme, file) == ("hf://timm", "model.safetensors")
    settings = timm.get_pretrained_cfg(repository)
    assert settings.hf_hub_id == f"timm/{repository}"
    assert settings.license.lower() == preset.licence.lower()
    assert settings.num_classes == preset.num_classes
    assert 0.5 < preset.accuracy < 0.9
    with torch.device("meta"):
        peer, ours = timm.create_model(repository.partition(".")[0]), create_model(name)
        report = load_weights(ours, peer.state_dict())
    assert (report.missing, report.skipped, report.resized) == ((), (), ())
    assert report.head == "loaded"


# ----------------------------------------------------------------- there and back, to the bit

VIT: dict[str, Any] = {"image_size": 64, "dim": 96, "depth": 2, "num_heads": 3, "mlp_dim": 160}
HF = {"image_size": 64, "hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3}
HF |= {"intermediate_size": 160, "num_labels": 5, "layer_norm_eps": 1e-6}
TIMM = {"img_size": 64, "embed_dim": 96, "depth": 2, "num_heads": 3, "mlp_ratio": 160 / 96}


def vit(**options: Any) -> nn.Module:
    return create_model("vit", **(VIT | {"num_classes": 5, "gelu": "exact"} | options))


def hybrid(blocks: tuple[int, ...] = (), patch: int = 4, **options: Any) -> nn.Module:
    return create_model("vit_r", resnet={"num_layers": blocks}, patch_size=patch,
                        **(VIT | {"num_classes": 5, "gelu": "exact"} | options))  # fmt: skip


def timm_vit(kind: str = "vit_base_patch16_224", **options: Any) -> nn.Module:
    return timm.create_model(kind, **(TIMM | {"num_classes": 5} | options))


def timm_hybrid(kind: str, patch: int) -> nn.Module:
    return timm.create_model(kind, **TIMM, num_classes=5, patch_size=patch)


def timm_mixer() -> nn.Module:
    return timm.models.mlp_mixer.MlpMixer(5, 64, patch_size=32, num_blocks=2, embed_dim=512)


def torchvision_vit() -> nn.Module:
    vision = torchvision.models.vision_transformer.VisionTransformer
    return vision(64, 16, 2, 3, 96, 160, num_classes=5, representation_size=24)


def hf(kind: str, config: str = "ViTConfig", **options: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(transformers, kind)(getattr(transformers, config)(**(HF | options)))


def timm_bit() -> nn.Module:
    resnet = timm.models.resnetv2
    model: Any = resnet.ResNetV2((1, 2, 1, 1), num_classes=5, stem_type="fixed",
                                 conv_layer=partial(timm.layers.StdConv2d, eps=1e-8))  # fmt: skip
    model.stem.pad, model.stem.pool = nn.Identity(), nn.MaxPool2d(3, 2, 1)  # the official padding
    return model


def bit() -> nn.Module:
    model = create_model("resnet", blocks=(1, 2, 1, 1), norm="bit", num_classes=5)
    for module in model.modules():
        if hasattr(module, "eps_in_root"):
            module.eps = 1e-8  # timm's
    return model


DISTILLED = "deit_base_distilled_patch16_224"
TEACHER = "DeiTForImageClassificationWithTeacher"
PEERS: dict[str, tuple[str, Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "vit in timm": ("timm", vit, timm_vit),
    "vit in transformers": ("transformers", vit, hf("ViTForImageClassification")),
    "vit in torchvision": ("torchvision", lambda: vit(representation_size=24), torchvision_vit),
    "deit in timm": ("timm", lambda: vit(distilled=True), lambda: timm_vit(DISTILLED)),
    "deit in transformers": (
        "transformers", lambda: vit(distilled=True), hf(TEACHER, "DeiTConfig"),
    ),
    "hybrid stem in timm": (
        "timm", hybrid, lambda: timm_hybrid("vit_tiny_r_s16_p8_224", 4),
    ),
    "hybrid in timm": (
        "timm", lambda: hybrid((2, 2, 2, 2), 1), lambda: timm_hybrid("vit_small_r26_s32_224", 1),
    ),
    "mixer in timm": (
        "timm",
        lambda: create_model("mixer_s32", image_size=64, depth=2, num_classes=5, gelu="exact"),
        timm_mixer,
    ),
    "resnet in torchvision": (
        "torchvision",
        lambda: create_model("resnet18", num_classes=5),
        lambda: torchvision.models.resnet18(num_classes=5),
    ),
    "bit in timm": ("timm", bit, timm_bit),
    "efficientnet in torchvision": (
        "torchvision",
        lambda: create_model("efficientnet_b0", padding="symmetric", bn_eps=1e-5, num_classes=5),
        lambda: torchvision.models.efficientnet_b0(num_classes=5),
    ),
    "efficientnet in timm": (
        "timm",
        lambda: create_model("efficientnet_v2_b0", num_classes=5),
        lambda: timm.create_model("tf_efficientnetv2_b0", num_classes=5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", PEERS)
def test_weights_go_into_other_libraries_and_come_back_to_the_bit(kind: str) -> None:
    layout, build, build_peer = PEERS[kind]
    ours, peer = randomised(build()), build_peer().eval()
    keys = keys_of(ours)
    assert keys
    told = peer.load_state_dict(keys.write(ours.state_dict(), layout), strict=False)
    assert not told.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in told.missing_keys)
    assert same(ours, peer, picture())
    again = build().eval()
    report = load_weights(again, peer.state_dict())
    assert (report.layout, report.head) == (layout, "loaded")
    assert (report.resized, report.skipped, report.missing) == ((), (), ())
    assert all(v.equal(again.state_dict()[k]) for k, v in ours.state_dict().items())


WRITTEN: list[tuple[Callable[[], nn.Module], str]] = [
    *((vit, name) for name in ("flax", "timm", "torchvision", "transformers", "transformers-4")),
    (lambda: vit(representation_size=24), "flax"),
    (lambda: vit(classifier="gap", positions="sincos"), "flax"),
    (lambda: vit(num_classes=0, representation_size=24), "transformers"),
    (lambda: vit(distilled=True), "transformers-4"),
    (lambda: hybrid((1, 2), 2), "flax"),
    (lambda: create_model("mixer_atto"), "flax"),
    (lambda: create_model("resnet", blocks=(1, 2), norm="group"), "big_vision-v1"),
    *((bit, name) for name in ("big_vision-v2", "bit", "timm")),
    (lambda: create_model("focal_atto"), "official"),
    (lambda: create_model("efficientnet_atto"), "torchvision"),
    (lambda: create_model("efficientnet_v2_atto"), "torchvision"),
]


@pytest.mark.parametrize(("build", "layout"), WRITTEN)
def test_every_layout_is_written_as_it_is_read(build: Callable[[], nn.Module], layout: str) -> None:
    model = randomised(build())
    state, keys = model.state_dict(), keys_of(model)
    assert keys
    found = keys.read(keys.write(state, layout, {"num_heads": 3}), "w")
    assert found is not None
    assert (found[0], found[2]) == (layout, [])
    assert found[1].keys() == state.keys()
    assert all(value.equal(found[1][key]) for key, value in state.items())


@pytest.mark.parametrize(
    ("build", "layout", "told"),
    [
        (lambda: vit(distilled=True), "flax", r"dist_token: flax's ViT has no place"),
        (lambda: vit(distilled=True), "torchvision", "dist_token"),
        (lambda: vit(representation_size=24), "timm", r"pre_logits\.0\.weight: timm's ViT"),
        (lambda: vit(representation_size=24), "transformers", "pre_logits"),
        (lambda: vit(classifier="gap"), "transformers", "cls_token: there is none"),
        (lambda: vit(positions="sincos"), "timm", "pos_embed: there is none"),
        (lambda: hybrid((1,), 2), "transformers", r"backbone\..*no place"),
        (bit, "torchvision", r"body\.conv_root\.weight: torchvision's ResNet"),
        (bit, "big_vision-v1", r"gn_root\.weight: there is none"),
        (lambda: create_model("resnet_atto"), "bit", "conv_root.weight: there is none"),
        (vit, "flaks", "is no layout of vit; did you mean 'flax'"),
        (vit, "flax", "asks for num_heads.*--model NAME"),
    ],
)
def test_what_another_library_has_no_place_for_is_refused_by_name(
    build: Callable[[], nn.Module], layout: str, told: str
) -> None:
    model = build()
    keys = keys_of(model)
    assert keys
    heads = {} if "num_heads" in told else {"num_heads": 3}
    with pytest.raises(Refused, match=told):
        keys.write(model.state_dict(), layout, heads)


@pytest.mark.parametrize("layout", ["transformers", "transformers-4"])
def test_a_folder_for_transformers_is_opened_by_it(layout: str, tmp_path: Path) -> None:
    for build, kind, config in (
        (vit, "ViTForImageClassification", "ViTConfig"),
        (lambda: vit(distilled=True), TEACHER, "DeiTConfig"),
    ):
        model, folder = randomised(build()), tmp_path / kind
        getattr(transformers, config)(**HF).save_pretrained(folder)
        keys = keys_of(model)
        assert keys
        tensors = keys.write(model.state_dict(), layout)
        write_weights(folder / "model.safetensors", tensors, {"format": "pt"})
        theirs, told = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
        assert not told["missing_keys"]
        assert not told["unexpected_keys"]
        assert same(model, theirs.eval(), picture())


# -------------------------------------------------------------------------- flax's archives

ARCHIVES: dict[str, tuple[Callable[[], nn.Module], str, Callable[[], nn.Module]]] = {
    "vit": (vit, "flax", timm_vit),
    "hybrid stem": (hybrid, "flax", lambda: timm_hybrid("vit_tiny_r_s16_p8_224", 4)),
    "hybrid": (
        lambda: hybrid((2, 2, 2, 2), 1), "flax", lambda: timm_hybrid("vit_small_r26_s32_224", 1)
    ),
    "bit": (bit, "bit", timm_bit),
}  # fmt: skip


@pytest.mark.parametrize("kind", ARCHIVES)
def test_timms_reader_of_official_archives_opens_ours(kind: str, tmp_path: Path) -> None:
    """It knows the authors' names by itself, so that ours are theirs."""
    build, layout, build_peer = ARCHIVES[kind]
    ours, peer = randomised(build()), build_peer().eval()
    keys = keys_of(ours)
    assert keys
    tensors = keys.write(ours.state_dict(), layout, {"num_heads": 3})
    write_weights(tmp_path / "w.npz", tensors)
    load: Any = peer.load_pretrained
    load(str(tmp_path / "w.npz"))
    assert same(ours, peer, picture())


def archive(path: Path, model: nn.Module, change: Callable[[str], str] = str) -> Path:
    keys = keys_of(model)
    assert keys
    tensors = keys.write(model.state_dict(), "flax", {"num_heads": 3})
    np.savez(path, **{change(name): value.numpy() for name, value in tensors.items()})
    return path


def linen(name: str) -> str:
    """Today's numbers: of the second norm, of attention and of the perceptrons."""
    for old, new in (("LayerNorm_2", "LayerNorm_1"), ("Attention_1", "Attention_0"),
                     ("MlpBlock_3", "MlpBlock_0")):  # fmt: skip
        name = name.replace(old, new)
    return name


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as released": str,
    "linen": linen,
    "with the optimizer": lambda name: f"opt/target/{name}",
    "linen below params": lambda name: f"params/{linen(name)}",
    "big_vision": lambda name: linen(name).replace("Transformer/posembed_input/", ""),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    "build", [vit, lambda: vit(representation_size=24), lambda: vit(classifier="gap"), hybrid],
    ids=["token", "pre_logits", "gap, as in GSAM", "hybrid"],
)  # fmt: skip
def test_an_archive_of_either_spelling_is_opened(
    build: Callable[[], nn.Module], spelling: str, tmp_path: Path
) -> None:
    ours, again = randomised(build()), build().eval()
    report = load_weights(again, archive(tmp_path / "w.npz", ours, SPELLINGS[spelling]))
    assert (report.layout, report.skipped, report.missing) == ("flax", (), ())
    assert all(v.equal(again.state_dict()[k]) for k, v in ours.state_dict().items())


def test_positions_without_a_row_for_the_class_get_one_of_zeros(tmp_path: Path) -> None:
    ours, again = randomised(vit()), vit()
    with torch.no_grad():
        ours.pos_embed[:, 0] = 0
    keys = keys_of(ours)
    assert keys
    tensors = keys.write(ours.state_dict(), "flax", {"num_heads": 3})
    tensors["pos_embedding"] = tensors.pop("Transformer/posembed_input/pos_embedding")[:, 1:]
    load_weights(again, tensors)
    assert again.state_dict()["pos_embed"].equal(ours.pos_embed)


def test_scales_of_old_hybrids_have_four_axes(tmp_path: Path) -> None:
    ours, again = randomised(hybrid((1,), 2)), hybrid((1,), 2)
    keys = keys_of(ours)
    assert keys
    tensors = keys.write(ours.state_dict(), "flax", {"num_heads": 3})
    old = {k: v[None, None, None] if "/gn" in f"/{k}" else v for k, v in tensors.items()}
    assert sum(v.dim() == 4 for v in old.values()) > 10
    load_weights(again, old)
    assert all(v.equal(again.state_dict()[k]) for k, v in ours.state_dict().items())


def test_mixers_first_spelling_is_opened(tmp_path: Path) -> None:
    """Kernels with axes of length 1, under the names that big_vision still reads."""
    ours, again = randomised(create_model("mixer_atto")), create_model("mixer_atto")
    keys = keys_of(ours)
    assert keys
    arrays: dict[str, Any] = {}
    for name, value in keys.write(ours.state_dict(), "flax").items():
        name = re.sub(r"^MixerBlock_", "encoderblock_", name)
        name = name.replace("pre_head_layer_norm", "encoder_norm").replace("stem/", "embedding/")
        mixing = re.search(r"_mixing/Dense_(\d)/(\w+)$", name)
        if mixing:
            name = name[: mixing.start()] + f"_mixing_phase_0/{mixing[2]}{int(mixing[1]) + 1}"
            value = value[None, ..., None]
        inner = name.startswith("encoder")
        arrays[f"Mixer/{name}" if inner else name] = value.numpy()
    np.savez(tmp_path / "w.npz", **arrays)
    report = load_weights(again, tmp_path / "w.npz")
    assert (report.layout, report.missing, report.skipped) == ("flax-old", (), ())
    assert all(v.equal(again.state_dict()[k]) for k, v in ours.state_dict().items())


def test_numbered_layers_of_bit_are_opened(tmp_path: Path) -> None:
    ours, again = randomised(bit()), bit()
    keys = keys_of(ours)
    assert keys
    tensors = keys.write(ours.state_dict(), "bit")
    numbered = {
        k.replace("unit01/a/standardized_conv2d", "unit01/a/standardized_conv2d_7"): v
        for k, v in tensors.items()
    }
    assert numbered.keys() != tensors.keys()
    load_weights(again, numbered)
    assert all(v.equal(again.state_dict()[k]) for k, v in ours.state_dict().items())


def test_a_representation_layer_is_dropped_with_its_head_and_never_without() -> None:
    """ImageNet-21k files of the first ViT: their head means nothing without that layer."""
    tensors = randomised(vit(representation_size=96)).state_dict()
    with pytest.raises(Refused, match=r"2 unknown \(pre_logits\.0\.weight, pre_logits\.0\.bias\)"):
        load_weights(vit(), tensors)
    report = load_weights(vit(num_classes=3), tensors, reset_head=True)
    assert report.head == "reset"
    assert set(report.skipped) == {"pre_logits.0.weight", "pre_logits.0.bias"}
    report = load_weights(vit(num_classes=0), tensors)
    assert not report.missing


def test_a_norm_after_pooling_is_not_taken_for_one_before() -> None:
    peer = timm_vit(class_token=False, global_pool="avg", fc_norm=True)
    with pytest.raises(Refused, match=r"2 missing \(norm\.weight.*2 unknown \(fc_norm\.weight"):
        load_weights(vit(classifier="gap"), peer.state_dict())
    peer = timm_vit(class_token=False, global_pool="avg", fc_norm=False)
    ours = vit(classifier="gap").eval()
    load_weights(ours, randomised(peer).state_dict())
    assert same(ours, peer, picture())


# ----------------------------------------------------------------------------- what a file is


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("vit_atto", "flax"), ("vit_r_atto", "flax"), ("mixer_atto", "flax"),
        ("mixer_atto", "timm"), ("resnet_atto", "torchvision"), ("focal_atto", "official"),
        ("efficientnet_atto", "torchvision"), ("efficientnet_v2_atto", "timm"),
        ("vit_r_atto", "timm"), ("vit_atto", "transformers"),
    ],
)  # fmt: skip
def test_a_file_is_told_written_and_told_again(name: str, layout: str, tmp_path: Path) -> None:
    model = randomised(create_model(name))
    keys = keys_of(model)
    assert keys
    suffix = "npz" if layout == "flax" else "pth"
    write_weights(tmp_path / f"w.{suffix}", keys.write(model.state_dict(), layout,
                                                       {"num_heads": 3}))  # fmt: skip
    done = convert(tmp_path / f"w.{suffix}", tmp_path / "ours.safetensors")
    assert (done.family, done.layout, done.preset) == (keys.family, layout, name)
    assert done.skipped == ()
    again = convert(tmp_path / "ours.safetensors", tmp_path / f"b.{suffix}", to=layout)
    assert (again.layout, again.preset) == ("ninefold", name)
    first = read_weights(tmp_path / f"w.{suffix}").tensors
    back = read_weights(tmp_path / f"b.{suffix}").tensors
    assert first.keys() == back.keys()
    assert all(value.equal(back[key]) for key, value in first.items())


def test_shapes_of_two_presets_are_told_apart_by_the_caller_or_the_layout(tmp_path: Path) -> None:
    """DeiT and ViT differ in their GELU alone; no file of flax is DeiT's."""
    with torch.device("meta"):
        shapes = timm.create_model("vit_tiny_patch16_224").state_dict()
    state = {key: torch.zeros(value.shape) for key, value in shapes.items()}
    torch.save(state, tmp_path / "w.pth")
    done = convert(tmp_path / "w.pth", tmp_path / "w.npz", to="flax")  # heads: both have three
    assert (done.preset, done.candidates) == ("", ("vit_ti16", "deit_tiny"))
    named = convert(tmp_path / "w.pth", tmp_path / "w.safetensors", model="deit_tiny")
    assert named.preset == "deit_tiny"
    assert convert(tmp_path / "w.npz").preset == "vit_ti16"
    with pytest.raises(Refused, match=r"w\.pth: is no deit_small: .*\(192,.*and \d+ more"):
        convert(tmp_path / "w.pth", model="deit_small")


def test_what_is_classified_is_read_from_the_tensors(tmp_path: Path) -> None:
    model = randomised(create_model("vit_atto", classifier="gap", in_channels=1))
    archive(tmp_path / "w.npz", model)
    done = convert(tmp_path / "w.npz", tmp_path / "w.safetensors")
    assert done.preset == "vit_atto"
    assert done.options == {"num_classes": 10, "classifier": "gap", "in_channels": 1}


def test_focals_files_are_opened_with_their_buffers(tmp_path: Path) -> None:
    theirs, ours = randomised(create_model("focal_atto")), create_model("focal_atto")
    state = theirs.state_dict() | {
        "layers.0.blocks.0.attn.relative_position_index": torch.zeros(16, 16),
        "layers.0.blocks.0.attn.relative_position_index_0": torch.zeros(16, 9),
        "layers.0.blocks.0.attn.valid_ind_rolled": torch.zeros(48),
        "layers.0.blocks.0.attn.valid_ind_unfold_1": torch.zeros(12),
        "layers.0.blocks.1.attn_mask": torch.zeros(4, 16, 16),
    }
    torch.save({"model": state, "epoch": 299, "max_accuracy": 82.2}, tmp_path / "w.pth")
    report = load_weights(ours, tmp_path / "w.pth")
    assert (report.missing, report.skipped) == ((), ())
    assert all(v.equal(ours.state_dict()[k]) for k, v in theirs.state_dict().items())
    assert convert(tmp_path / "w.pth").preset == "focal_atto"


# ------------------------------------------------------------------ two image sizes, to 2e-5


def at(side: int, kind: str) -> tuple[nn.Module, nn.Module]:
    """Ours and a peer, both made for images of one size, with the peer's random weights."""
    peers: dict[str, tuple[dict[str, Any], Callable[[], nn.Module]]] = {
        "vit, timm": ({}, lambda: timm_vit(img_size=side)),
        "vit, timm, tanh": (
            {"gelu": "tanh"}, lambda: timm_vit(img_size=side, act_layer="gelu_tanh"),
        ),
        "vit, transformers": ({}, hf("ViTForImageClassification", image_size=side)),
        "deit, timm": ({"distilled": True}, lambda: timm_vit(DISTILLED, img_size=side)),
        "deit, transformers": (
            {"distilled": True}, hf(TEACHER, "DeiTConfig", image_size=side),
        ),
        "hybrid, timm": (
            {"resnet": {"num_layers": ()}, "patch_size": 4},
            lambda: timm.create_model("vit_tiny_r_s16_p8_224", num_classes=5, patch_size=4,
                                      **(TIMM | {"img_size": side})),
        ),
    }  # fmt: skip
    options, build = peers[kind]
    peer, ours = randomised(build()), vit(image_size=side, **options).eval()
    report = load_weights(ours, peer.state_dict())
    assert (report.missing, report.skipped, report.resized) == ((), (), ())
    return ours, peer


KINDS = ["vit, timm", "vit, timm, tanh", "vit, transformers", "deit, timm", "deit, transformers"]


@pytest.mark.parametrize("kind", [*KINDS, "hybrid, timm"])
@pytest.mark.parametrize("side", [64, 96])
def test_small_transformers_agree_with_their_peers_at_two_sizes(kind: str, side: int) -> None:
    ours, peer = at(side, kind)
    assert same(ours, peer, picture(side))


def test_positions_at_another_size_are_those_of_transformers_and_not_those_of_timm() -> None:
    """DeiT's rule is bicubic. timm smooths besides, and the first ViT's authors are bilinear."""
    ours, peer = at(64, "vit, transformers")
    ours.resize = "bicubic"
    with torch.inference_mode():
        theirs = peer(picture(48), interpolate_pos_encoding=True).logits
    torch.testing.assert_close(logits(ours, picture(48)), theirs, atol=2e-5, rtol=2e-5)
    dynamic = timm_vit(dynamic_img_size=True).eval()
    dynamic.load_state_dict(VIT_KEYS.write(ours.state_dict(), "timm"))
    assert same(ours, dynamic, picture(64))
    for rule in ("bicubic", "bilinear"):
        ours.resize = rule
        assert float((logits(ours, picture(48)) - logits(dynamic, picture(48))).abs().max()) > 1e-3


# --------------------------------------------------------------------------------------- guests


@pytest.mark.parametrize("name", ["resnet10t", "resnetv2_50x1_bit", "vit_tiny_r_s16_p8_224"])
def test_a_guests_file_is_converted_there_and_back(name: str, tmp_path: Path) -> None:
    """BiT's classifier is a convolution in timm's files and a linear layer here."""
    theirs = randomised(timm.create_model(name, num_classes=5))
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    done = convert(tmp_path / "w.pth", tmp_path / "w.safetensors", model=f"timm/{name}")
    assert (done.preset, done.layout, done.options) == (f"timm/{name}", "timm", {"num_classes": 5})
    guest = create_model(f"timm/{name}", num_classes=5, weights=tmp_path / "w.safetensors").eval()
    assert same(guest, theirs, picture(224 if "vit" in name else 64))
    back = convert(tmp_path / "w.safetensors", tmp_path / "b.pth", to="timm")
    assert back.layout == "ninefold"
    written = torch.load(tmp_path / "b.pth", weights_only=True)
    assert written.keys() == theirs.state_dict().keys()
    assert all(value.equal(written[key]) for key, value in theirs.state_dict().items())


@pytest.mark.parametrize("name", [n for n in PRESETS if n.endswith("_atto")])
def test_a_run_of_every_family_is_told_and_copied(name: str, tmp_path: Path) -> None:
    """Those that no other library has, too; these are written for none."""
    model = create_model(name)
    about = {"preset": name, "model_options": "{}"}
    write_weights(tmp_path / "model.safetensors", model.state_dict(), about)
    done = convert(tmp_path / "model.safetensors", tmp_path / "copy.safetensors")
    assert (done.preset, done.layout) == (name, "ninefold")
    assert load_weights(create_model(name), tmp_path / "copy.safetensors").missing == ()
    if keys_of(model) is None:
        with pytest.raises(Refused, match=r"is no layout of .*there is none"):
            convert(tmp_path / "model.safetensors", tmp_path / "w.pth", to="timm")


def test_a_guest_with_two_heads_is_refused_by_name() -> None:
    theirs = timm.create_model("deit_tiny_distilled_patch16_224", depth=1, num_classes=5)
    guest = create_model("timm/deit_tiny_distilled_patch16_224", depth=1, num_classes=5)
    with pytest.raises(Refused, match=r"head_dist\.weight: .*second head.*deit_\*_distilled here"):
        load_weights(guest, theirs.state_dict())
    one = {k: v for k, v in theirs.state_dict().items() if "head_dist" not in k}
    assert load_weights(guest, one).head == "loaded"


def test_a_guests_file_without_its_name_is_told_how_to_name_it(tmp_path: Path) -> None:
    torch.save(timm.create_model("convnext_atto").state_dict(), tmp_path / "w.pth")
    with pytest.raises(Refused, match=r"no known family.*--model timm/NAME"):
        convert(tmp_path / "w.pth")
    with pytest.raises(Refused, match=r"w\.pth: is no timm/resnet10t: "):
        convert(tmp_path / "w.pth", model="timm/resnet10t")
