"""Swin weights carried over from other libraries: the same images give the same logits."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ninefold.core.errors import Refused
from ninefold.core.weights import read_weights, write_weights
from ninefold.models.create import create_model
from ninefold.models.load import load_weights
from ninefold.models.swin_keys import SWIN

SMALL: dict[str, Any] = {"embed_dim": 32, "depths": (1, 2), "num_heads": (1, 2), "num_classes": 10}
TINY: dict[str, Any] = {"embed_dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)}
TINY["num_classes"] = 1000
DEEP = TINY | {"depths": (2, 2, 18, 2)}
BASE = DEEP | {"embed_dim": 128, "num_heads": (4, 8, 16, 32)}
SIZES = [
    pytest.param(SMALL, 56, id="small"),
    pytest.param(TINY, 224, id="swin_tiny", marks=pytest.mark.slow),
    pytest.param(DEEP, 224, id="swin_small", marks=pytest.mark.slow),
    pytest.param(BASE, 224, id="swin_base", marks=pytest.mark.slow),
]


def torchvision_swin(size: int, num_classes: int, **options: Any) -> nn.Module:
    from torchvision.models.swin_transformer import SwinTransformer

    options = {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}
    return SwinTransformer([4, 4], window_size=[7, 7], num_classes=num_classes, **options)


def timm_swin(size: int, **options: Any) -> nn.Module:
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(img_size=size, window_size=7, **options)


def transformers_swin(size: int, num_classes: int, **options: Any) -> nn.Module:
    from transformers import SwinConfig, SwinForImageClassification

    config = SwinConfig(image_size=size, window_size=7, num_labels=num_classes, **options)
    return SwinForImageClassification(config)


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter drawn anew, norms and biases too, so that no swap goes unseen."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        scale = 1.3 / parameter[0].numel() ** 0.5 if parameter.dim() > 1 else 0.3
        offset = 1.0 if parameter.dim() == 1 and bool((parameter == 1).all()) else 0.0
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = offset + scale * noise
    return model.eval()


def logits(model: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        output = model(images)
    return output if isinstance(output, Tensor) else output.logits


def ours(options: dict[str, Any], size: int, **more: Any) -> nn.Module:
    return create_model("swin", image_size=size, window_size=7, **(options | more)).eval()


PEERS = [
    ("torchvision", torchvision_swin),
    ("timm", timm_swin),
    ("transformers", transformers_swin),
]


@pytest.mark.parametrize(("options", "size"), SIZES)
@pytest.mark.parametrize(("layout", "build"), PEERS)
def test_the_authors_weights_go_into_other_libraries_and_come_back_to_the_bit(
    layout: str, build: Callable[..., nn.Module], options: dict[str, Any], size: int
) -> None:
    model = randomised(ours(options, size))
    theirs = build(size, **options).eval()
    theirs.load_state_dict(SWIN.write(model.state_dict(), layout))  # strict
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(logits(theirs, images), logits(model, images), atol=2e-5, rtol=2e-5)
    again = ours(options, size)
    report = load_weights(again, theirs.state_dict())
    assert set(report.loaded) == set(model.state_dict())
    assert (report.layout, report.head) == (layout, "loaded")
    assert (report.resized, report.skipped, report.missing) == ((), (), ())
    assert all(value.equal(again.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("layout", [layout.name for layout in SWIN.layouts])
@pytest.mark.parametrize("kind", ["classifier", "features", "backbone"])
def test_every_layout_is_written_as_it_is_read(layout: str, kind: str) -> None:
    more = {"features": {"num_classes": 0}, "backbone": {"out_indices": (0, 1)}}.get(kind, {})
    state = randomised(ours(SMALL, 56, **more)).state_dict()
    if kind == "backbone" and layout in ("torchvision", "timm"):
        with pytest.raises(Refused, match=r"norm0.weight: .*has no place for it; --to official"):
            SWIN.write(state, layout)
        return
    written = SWIN.write(state, layout)
    found = SWIN.read(written, "w")
    assert found is not None
    assert found[0] == layout
    assert found[1].keys() == state.keys()
    assert all(value.equal(found[1][key]) for key, value in state.items())


@pytest.mark.parametrize("layout", ["torchvision", "timm", "transformers", "mmdetection"])
def test_ablated_models_are_written_as_the_authors_do_alone(layout: str) -> None:
    for options, told in (
        ({"pos": "none"}, "bias_table: there is none"),
        ({"attention": "performer"}, "attn.features: .*has no place for it"),
    ):
        state = ours(SMALL, 56, **options).state_dict()
        with pytest.raises(Refused, match=told):
            SWIN.write(state, layout)
        assert SWIN.write(state, "official").keys() == state.keys()


def test_a_folder_for_transformers_is_opened_by_it(tmp_path: Path) -> None:
    """In either spelling, as both of its generations read it."""
    from transformers import SwinForImageClassification

    model = randomised(ours(SMALL, 56))
    images = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    for layout in ("transformers", "transformers-4"):
        folder = tmp_path / layout
        transformers_swin(56, **SMALL).config.save_pretrained(folder)
        tensors = SWIN.write(model.state_dict(), layout)
        write_weights(folder / "model.safetensors", tensors, {"format": "pt"})
        theirs, told = SwinForImageClassification.from_pretrained(folder, output_loading_info=True)
        assert not told["missing_keys"]
        assert not told["unexpected_keys"]
        torch.testing.assert_close(
            logits(theirs.eval(), images), logits(model, images), atol=2e-5, rtol=2e-5
        )


def test_what_another_library_has_no_place_for_is_refused() -> None:
    state = ours(SMALL, 56, pos="abs+rel").state_dict()
    for layout in ("torchvision", "timm"):
        with pytest.raises(Refused, match=r"absolute_pos_embed: .*no place"):
            SWIN.write(state, layout)
    state = ours(SMALL, 56).state_dict()
    with pytest.raises(Refused, match="--to tim: is no layout of swin; did you mean 'timm'"):
        SWIN.write(state, "tim")
    state = {"layers.0.blocks.0.attn.relative_position_bias_table": torch.zeros(15, 1)}
    with pytest.raises(Refused, match="15 rows are those of no square window"):
        SWIN.write(state, "torchvision")


def renamed(tensors: dict[str, Tensor], *rules: tuple[str, str]) -> dict[str, Tensor]:
    for pattern, text in rules:
        tensors = {re.sub(pattern, text, key): value for key, value in tensors.items()}
    return tensors


def test_files_of_transformers_4_have_their_older_names() -> None:
    theirs = randomised(transformers_swin(56, **SMALL))
    older = renamed(
        theirs.state_dict(),
        (r"attention\.q_proj", "attention.self.query"),
        (r"attention\.k_proj", "attention.self.key"),
        (r"attention\.v_proj", "attention.self.value"),
        (r"attention\.o_proj", "attention.output.dense"),
        (r"attention\.relative_position_bias\.", "attention.self."),
        (r"mlp\.fc1", "intermediate.dense"),
        (r"mlp\.fc2", "output.dense"),
    )
    assert older.keys() != theirs.state_dict().keys()
    older["swin.encoder.layers.0.blocks.0.attention.self.relative_position_index"] = torch.zeros(4)
    model = ours(SMALL, 56)
    load_weights(model, older)
    images = torch.randn(2, 3, 56, 56)
    torch.testing.assert_close(logits(model, images), logits(theirs, images), atol=2e-5, rtol=2e-5)


def official(options: dict[str, Any], **more: Any) -> tuple[nn.Module, dict[str, Tensor]]:
    """A model of ours, and what the authors' own file of it would hold: buffers, too."""
    model = randomised(ours(options, 56, **more))
    state = model.state_dict()
    for key in [k for k in state if k.endswith("relative_position_bias_table")]:
        stem = key.removesuffix("relative_position_bias_table")
        state[f"{stem}relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
        state[f"{stem}attn_mask".replace("attn.attn_mask", "attn_mask")] = torch.zeros(4, 49, 49)
    return model, state


def equal(model: nn.Module, other: nn.Module) -> bool:
    state, images = other.state_dict(), torch.randn(1, 3, 56, 56)
    same = all(value.equal(state[key]) for key, value in model.state_dict().items())
    return same and logits(model, images).equal(logits(other, images))


@pytest.mark.parametrize(
    ("prefix", "others"),
    [
        pytest.param("", (), id="official"),
        pytest.param("backbone.", ("neck.convs.0.weight", "rpn_head.w"), id="detection"),
        pytest.param("backbone.", ("decode_head.conv_seg.weight",), id="segmentation"),
        pytest.param("encoder.", ("encoder_k.norm.weight", "projector.0.w", "queue1"), id="moby"),
    ],
)
def test_the_authors_files_load_from_behind_their_prefixes(
    prefix: str, others: tuple[str, ...]
) -> None:
    theirs, state = official(SMALL)
    file = {prefix + key: value for key, value in state.items()}
    file |= {key: torch.zeros(1) for key in others}
    model = ours(SMALL, 56)
    report = load_weights(model, file)
    assert equal(model, theirs)
    assert report.skipped == others


def test_a_backbone_with_its_norms_loads_from_a_detection_file() -> None:
    options = SMALL | {"out_indices": (0, 1)}
    theirs, state = official(options)
    model = ours(options, 56)
    load_weights(model, {f"backbone.{key}": value for key, value in state.items()})
    image = torch.randn(1, 3, 50, 61)
    with torch.inference_mode():
        pairs = zip(model.features(image), theirs.features(image), strict=True)
        assert all(a.equal(b) for a, b in pairs)


def test_a_backbone_starts_from_a_classifier_with_fresh_norms_of_its_own() -> None:
    _, state = official(SMALL)
    model = ours(SMALL, 56, out_indices=(0, 1))
    report = load_weights(model, state)
    assert set(report.skipped) == {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    assert set(report.missing) == {f"norm{i}.{part}" for i in (0, 1) for part in ("weight", "bias")}
    assert model.get_parameter("norm1.weight").equal(torch.ones(64))


class UnfoldMerging(nn.Module):
    """mmdetection's step down: `nn.Unfold` gathers a 2x2 cell channel by channel, row by row."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        cells = nn.functional.unfold(x.permute(0, 3, 1, 2), 2, stride=2).transpose(1, 2)
        return self.reduction(self.norm(cells)).unflatten(1, (x.shape[1] // 2, -1))


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_mmdetections_own_names_and_order_of_channels_are_understood(prefix: str) -> None:
    theirs, state = official(SMALL)
    merging = randomised(UnfoldMerging(32), seed=3)
    step = {k: v for k, v in state.items() if ".downsample." not in k}
    step |= {f"layers.0.downsample.{k}": v for k, v in merging.state_dict().items()}
    file = renamed(
        step,
        (r"^patch_embed\.proj\.", "patch_embed.projection."),
        (r"^layers\.", "stages."),
        (r"\.attn\.", ".attn.w_msa."),
        (r"\.mlp\.fc1\.", ".ffn.layers.0.0."),
        (r"\.mlp\.fc2\.", ".ffn.layers.1."),
        (r"^", prefix),
    )
    model = ours(SMALL, 56)
    report = load_weights(model, file)
    assert set(report.loaded) == set(theirs.state_dict())
    x = torch.randn(2, 8, 6, 32)
    with torch.inference_mode():
        here = model.get_submodule("layers.0.downsample")(x)
        torch.testing.assert_close(here, merging(x), atol=2e-5, rtol=2e-5)
    kept = [k for k in model.state_dict() if ".downsample." not in k]
    assert all(model.state_dict()[k].equal(theirs.state_dict()[k]) for k in kept)


def test_a_third_of_queries_keys_and_values_that_is_missing_is_named() -> None:
    state = transformers_swin(56, **SMALL).state_dict()
    lost = next(key for key in state if key.endswith("blocks.0.attention.k_proj.weight"))
    del state[lost]
    with pytest.raises(
        Refused, match=r"missing \(layers\.0\.blocks\.0\.attn\.qkv\.weight\).*unknown"
    ):
        load_weights(ours(SMALL, 56), state)


def test_shapes_that_do_not_fit_each_other_are_refused_in_one_line() -> None:
    state = transformers_swin(56, **SMALL).state_dict()
    key = next(key for key in state if key.endswith("blocks.0.attention.k_proj.weight"))
    state[key] = torch.zeros(3)
    with pytest.raises(
        Refused, match="keys are those of swin in transformers, but its shapes"
    ) as e:
        load_weights(ours(SMALL, 56), state)
    assert "\n" not in str(e.value)
    for key in ("absolute_pos_embed", "layers.0.blocks.0.attn.relative_position_bias_table"):
        for shape in [(), (0,), (5,), (1, 2, 3, 4, 5), (2, 64, 8), (1, 63, 8), (7, 1)]:
            model = ours(SMALL, 32, ape=True)
            strange = model.state_dict() | {key: torch.zeros(shape)}
            with pytest.raises(Refused, match="1 of another shape"):
                load_weights(model, strange)
    with pytest.raises(Refused, match="of another shape"):
        load_weights(model, model.state_dict() | {"head.weight": torch.zeros(())})


def test_the_backbone_of_a_segmenter_of_transformers_gives_the_same_maps(
    shared_golden: Path,
) -> None:
    """A file with the names of version 4, behind `backbone.`, with a norm for each map."""
    file = read_weights(shared_golden / "upernet_swin.safetensors").tensors
    weights = {k.removeprefix("weights/"): v for k, v in file.items() if k.startswith("weights/")}
    model = create_model(
        "swin", embed_dim=12, depths=(2, 1, 2, 1), num_heads=(1, 2, 3, 6), window_size=4,
        out_indices=(0, 1, 2, 3),
    ).eval()  # fmt: skip
    report = load_weights(model, weights)
    assert set(report.loaded) == set(model.state_dict())
    with torch.inference_mode():
        maps = model.features(file["input"])
    for i, fmap in enumerate(maps):
        torch.testing.assert_close(fmap, file[f"feature/{i}"], atol=1e-4, rtol=1e-4)
