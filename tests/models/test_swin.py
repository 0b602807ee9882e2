"""Swin Transformer against its references, at any size, in training, evaluation and export."""

import copy
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ninefold.core.errors import Refused
from ninefold.layers.attention import observe_attention
from ninefold.layers.position import resize_positions
from ninefold.models.create import create_model
from ninefold.models.presets import PRESETS
from ninefold.models.swin import Swin
from ninefold.models.swin_keys import SWIN

PARAMETERS = {
    ("swin_tiny", 1000): 28_288_354,
    ("swin_tiny", 21841): 44_315_083,
    ("swin_small", 1000): 49_606_258,
    ("swin_small", 21841): 65_632_987,
    ("swin_base", 1000): 87_768_224,
    ("swin_base", 21841): 109_130_249,
    ("swin_large", 1000): 196_532_476,
    ("swin_large", 21841): 228_565_093,
    ("swin_base_384", 1000): 87_903_584,
    ("swin_large_384", 1000): 196_735_516,
}
BACKBONES = {
    "swin_tiny": 27_520_698,
    "swin_small": 48_838_602,
    "swin_base": 86_745_016,
    "swin_large": 194_998_164,
}
GMACS = {
    "swin_tiny": 4.491,
    "swin_small": 8.741,
    "swin_base": 15.431,
    "swin_large": 34.476,
    "swin_base_384": 47.083,
    "swin_large_384": 103.919,
}


def tiny(**options: Any) -> Swin:
    """Two stages with random tables, so that biases matter."""
    torch.manual_seed(0)
    given = {"embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4}
    model = Swin(**{**given, "num_classes": 5, **options}).eval()
    for name, parameter in model.named_parameters():
        if "table" in name or "absolute" in name:
            nn.init.normal_(parameter)
        elif parameter.dim() > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return model


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("name", "classes"), PARAMETERS)
def test_parameters_are_those_of_the_official_classifiers(name: str, classes: int) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=classes)
    assert count(model) == PARAMETERS[name, classes]
    if classes == PRESETS[name].num_classes:
        assert PRESETS[name].parameters == PARAMETERS[name, classes]


@pytest.mark.parametrize("name", BACKBONES)
def test_parameters_are_those_of_the_official_backbones(name: str) -> None:
    with torch.device("meta"):
        assert count(create_model(name, out_indices=(0, 1, 2, 3))) == BACKBONES[name]


def test_parameters_are_those_of_the_measured_reference(shared_golden: Path) -> None:
    models = json.loads((shared_golden / "hierarchical_param_counts.json").read_text())["models"]
    checked = 0
    for key, measured in models.items():
        family, size, *_rest = key.split("_")
        if family != "swin":
            continue
        options: dict[str, Any] = {"num_classes": 21841 if "21841" in key else 1000}
        if "backbone" in key:
            options = {"out_indices": (0, 1, 2, 3)}
        elif "window12" in key:
            options |= {"window_size": 12, "image_size": 384}
        with torch.device("meta"):
            model = create_model(f"swin_{size.split()[0]}", **options)
        assert count(model) == measured["params"], key
        checked += 1
    assert checked >= 12


@pytest.mark.parametrize("name", [*GMACS, "swin_atto"])
def test_multiply_adds_are_as_listed(name: str) -> None:
    size = PRESETS[name].preprocess.image_size
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        create_model(name).eval()(torch.empty(1, 3, size, size))
    listed = GMACS.get(name, PRESETS[name].gmacs)
    assert counter.get_total_flops() / 2e9 == pytest.approx(listed, rel=1e-3)
    assert PRESETS[name].gmacs == listed


def test_atto_has_the_parameters_it_lists() -> None:
    with torch.device("meta"):
        assert count(create_model("swin_atto")) == PRESETS["swin_atto"].parameters


def golden(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    with safe_open(str(path), "pt") as file:
        config = json.loads(file.metadata()["config"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    weights = {k.removeprefix("weights/"): v for k, v in tensors.items() if k[:8] == "weights/"}
    return config["kwargs"], weights, tensors


def keep(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    dropped = ("relative_position_index", "attn_mask")
    return {key: value for key, value in weights.items() if not key.endswith(dropped)}


@pytest.mark.parametrize("name", ["swin_cls_w7", "swin_cls_ape_rect", "swin_dense_pad"])
def test_every_map_equals_the_reference(name: str, shared_golden: Path) -> None:
    options, weights, tensors = golden(shared_golden / f"{name}.safetensors")
    model = create_model("swin", **options).eval()
    model.load_state_dict(keep(weights))  # strict: our keys are the official ones
    with torch.no_grad():
        maps = model.features(tensors["input"])
        pooled = model.pool(maps)
        tokens = model.patch_embed(tensors["input"])
    expected = {"output/patch_embed": tokens.detach()}
    if "out_indices" in options:
        expected |= {f"output/stage{i}_normed_nchw": x for i, x in enumerate(maps)}
        expected["output"] = maps[-1]
    else:
        expected |= {f"output/stage{i}": x.permute(0, 2, 3, 1) for i, x in enumerate(maps)}
        expected |= {"output/features": pooled, "output": model(tensors["input"])}
    if options.get("ape"):
        del expected["output/patch_embed"]  # recorded after the position was added
    for key, value in expected.items():
        torch.testing.assert_close(value, tensors[key], atol=2e-5, rtol=1e-5, msg=key)


def test_a_bias_table_is_resized_as_the_reference_does(shared_golden: Path) -> None:
    with safe_open(str(shared_golden / "swin_bias_table_resize.safetensors"), "pt") as file:
        table, expected = file.get_tensor("input"), file.get_tensor("output")
    torch.testing.assert_close(resize_positions(table, (13, 13), (23, 23)), expected)


@pytest.mark.parametrize("window", [4, 7])
@pytest.mark.parametrize("size", [(52, 76), (64, 64), (12, 16), (4, 4), (97, 30)])
def test_policy_torchvision_equals_torchvision(size: tuple[int, int], window: int) -> None:
    """52 x 76 gives 13 x 19 patches: neither side divides by the window."""
    from torchvision.models.swin_transformer import SwinTransformer

    rows, columns = (n // 4 * 4 for n in size)  # torchvision drops what fills no patch
    image = torch.randn(2, 3, rows, columns)
    ours = tiny(window_size=window, window_policy="torchvision", drop_path=0.0)
    peer = SwinTransformer([4, 4], 16, [2, 2], [2, 4], [window] * 2, num_classes=5).eval()
    peer.load_state_dict(SWIN.write(ours.state_dict(), "torchvision"))
    with torch.no_grad():
        torch.testing.assert_close(ours(image), peer(image), atol=2e-5, rtol=2e-5)


def test_timm_departs_where_the_window_does_not_divide_a_map_and_only_there() -> None:
    """It rolls before it pads, so that its mask no longer fits what was rolled around."""
    from timm.models.swin_transformer import SwinTransformer

    ours = tiny(window_policy="torchvision", drop_path=0.0)
    distances: dict[tuple[int, int], float] = {}
    for size in [(64, 96), (52, 76)]:
        peer = SwinTransformer(
            img_size=size, embed_dim=16, depths=(2, 2), num_heads=(2, 4), window_size=4,
            num_classes=5,
        ).eval()  # fmt: skip
        peer.load_state_dict(SWIN.write(ours.state_dict(), "timm"))
        image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            distances[size] = float((ours(image) - peer(image)).abs().max())
    assert distances[64, 96] < 2e-5
    assert distances[52, 76] > 1e-3


def test_transformers_departs_in_training_where_it_never_drops_the_second_branch() -> None:
    from transformers import SwinConfig, SwinModel

    options: dict[str, Any] = {"embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4)}
    config = SwinConfig(
        image_size=64, window_size=4, drop_path_rate=1 - 1e-7, add_pooling_layer=False, **options
    )
    peer = SwinModel(config)
    tables = [v for k, v in peer.state_dict().items() if k.endswith("bias_table")]
    assert not any(table.any() for table in tables)  # its tables begin with zeros
    peer.train()
    ours = tiny(drop_path=1 - 1e-7).train()
    x = torch.randn(1, 64, 32)
    theirs = peer.encoder.layers[1].blocks[1](x, (8, 8))
    theirs = theirs if isinstance(theirs, Tensor) else theirs[0]
    assert not theirs.equal(x)
    assert ours.layers[1].blocks[1](x.view(1, 8, 8, 32)).equal(x.view(1, 8, 8, 32))


def test_policies_agree_where_every_map_exceeds_its_window_and_divides() -> None:
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        outputs = [tiny(window_policy=p)(image) for p in ("classification", "dense", "torchvision")]
    torch.testing.assert_close(outputs[1], outputs[0])
    torch.testing.assert_close(outputs[2], outputs[0])


def test_policies_differ_where_one_window_covers_a_map() -> None:
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        shrunk, dense = (tiny(window_policy=p)(image) for p in ("classification", "dense"))
    assert (shrunk - dense).abs().max() > 1e-3


def test_whole_tables_give_what_tables_made_for_the_map_give() -> None:
    """A window shrunk at run time uses exactly the offsets that the official construction keeps."""
    whole = tiny(window_size=7, image_size=32, full_tables=True)
    made = tiny(window_size=7, image_size=32)
    state = whole.state_dict()
    for key, value in state.items():
        if "table" in key:
            stage = int(key.split(".")[1])
            reach = (8, 4)[stage] if (8, 4)[stage] < 7 else 7
            grid = value.view(13, 13, -1)[7 - reach : 6 + reach, 7 - reach : 6 + reach]
            state[key] = grid.flatten(0, 1)
    made.load_state_dict(state)
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(whole(image), made(image))


@pytest.mark.parametrize("policy", ["classification", "dense", "torchvision"])
@pytest.mark.parametrize("size", [(4, 4), (1, 1), (7, 5), (33, 65), (4, 200), (150, 9)])
def test_images_of_any_size_and_aspect_train(size: tuple[int, int], policy: Any) -> None:
    model = tiny(window_policy=policy).train()
    maps = model.features(torch.randn(2, 3, *size))
    rows, columns = (-(-n // 4) for n in size)
    halves = (-(-rows // 2), -(-columns // 2))
    assert [tuple(m.shape) for m in maps] == [(2, 16, rows, columns), (2, 32, *halves)]
    model.head(model.pool(maps)).sum().backward()
    gradients = [p.grad for p in model.parameters()]
    assert all(g is not None and bool(g.isfinite().all()) for g in gradients)


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (32, 3), (64, 3)])
def test_atto_serves_small_images(size: int, channels: int) -> None:
    model = create_model("swin_atto", in_channels=channels, image_size=size, num_classes=12)
    assert model(torch.randn(2, channels, size, size)).shape == (2, 12)


def test_shifting_lets_windows_see_each_other() -> None:
    """Without shifts (and before any merging) a window's output depends on its pixels alone."""
    for shift in (True, False):
        model = tiny(shift=shift)
        image = torch.randn(1, 3, 64, 64, requires_grad=True)
        model.features(image)[0][0, :, 3, 3].sum().backward()  # the last of its first window
        assert image.grad is not None
        outside = image.grad[..., 16:, 16:].abs().max()
        assert (outside > 0) == shift


def test_forward_is_head_of_pool_of_features() -> None:
    image = torch.randn(2, 3, 64, 64)
    model, bare = tiny(), tiny(num_classes=0)
    assert torch.equal(model(image), model.head(model.pool(model.features(image))))
    assert isinstance(model.head, nn.Linear)
    assert isinstance(bare.head, nn.Identity)
    assert bare(image).shape == (2, 32)


def test_a_backbone_gives_the_maps_asked_for() -> None:
    model, image = tiny(out_indices=(1,)), torch.randn(1, 3, 40, 56)
    (only,) = model.features(image)
    assert only.shape == (1, 32, 5, 7)
    assert {k.split(".")[0] for k in model.state_dict()} == {"patch_embed", "layers", "norm1"}
    both = tiny(out_indices=(0, 1))
    both.load_state_dict(model.state_dict(), strict=False)
    torch.testing.assert_close(both.features(image)[1], only)


def test_frozen_stages_stay_as_they_are() -> None:
    model = tiny(out_indices=(0, 1), frozen_stages=2).train()
    trained = {n.split(".")[1] for n, p in model.named_parameters() if p.requires_grad}
    assert not model.patch_embed.training
    assert not model.layers[0].training
    assert model.layers[1].training
    assert trained == {"1", "weight", "bias"}


def test_recomputed_blocks_have_the_same_gradients() -> None:
    image = torch.randn(2, 3, 40, 40)
    plain, saving = tiny(drop_path=0.3).train(), tiny(drop_path=0.3, use_checkpoint=True).train()
    for model in (plain, saving):
        torch.manual_seed(1)
        model(image).sum().backward()
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_stochastic_depth_rises_over_all_blocks_and_acts_in_training_only() -> None:
    model = tiny(depths=(2, 3), drop_path=0.4)
    rates = [block.drop_path.rate for stage in model.layers for block in stage.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    image = torch.randn(1, 3, 32, 32)
    assert torch.equal(model(image), model(image))
    model.train()
    assert len({model(image).sum().item() for _ in range(20)}) > 1


def test_absolute_positions_are_resampled_to_other_sizes() -> None:
    model = tiny(ape=True, image_size=(32, 64))
    assert model.absolute_pos_embed is not None
    assert model.absolute_pos_embed.shape == (1, 8 * 16, 16)
    image = torch.randn(1, 3, 48, 40)
    with torch.no_grad():
        moved = tiny(ape=True, image_size=(48, 40), full_tables=True)
        table = resize_positions(model.absolute_pos_embed[0], (8, 16), (12, 10))
        moved.load_state_dict({**model.state_dict(), "absolute_pos_embed": table[None]})
        torch.testing.assert_close(moved(image), model(image))


POSITIONS = {"rel": "table", "none": "", "abs": "absolute", "abs+rel": "absolute table"}


@pytest.mark.parametrize("pos", POSITIONS)
def test_positions_have_the_parameters_they_name_and_train(pos: str) -> None:
    model = tiny(pos=pos, image_size=32).train()
    names = " ".join(model.state_dict())
    assert ("absolute_pos_embed" in names) == ("absolute" in POSITIONS[pos])
    assert ("position_bias_table" in names) == ("table" in POSITIONS[pos])
    model(torch.randn(2, 3, 40, 36)).sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in model.parameters())


def test_without_positions_a_model_cannot_tell_tokens_of_a_window_apart() -> None:
    """Exchanged patches of a window are exchanged tokens of the first stage."""
    image = torch.randn(1, 3, 16, 16)
    patches = image.unflatten(2, (4, 4)).unflatten(4, (4, 4))
    swapped = patches.flip(2, 4).flatten(4, 5).flatten(2, 3)
    for pos in POSITIONS:
        model = tiny(pos=pos, image_size=16, depths=(2,), num_heads=(2,))
        with torch.no_grad():
            a, b = model.features(image)[0], model.features(swapped)[0].flip(2, 3)
        assert torch.allclose(a, b, atol=1e-5) == (pos == "none")


def test_ape_is_another_name_for_an_absolute_position() -> None:
    names = [
        list(tiny(image_size=32, **options).state_dict())
        for options in ({"ape": True}, {"pos": "abs+rel"}, {"pos": "abs+rel", "ape": True})
    ]
    assert names[0] == names[1] == names[2]
    assert list(tiny(ape=False).state_dict()) == list(tiny(pos="rel").state_dict())


@pytest.mark.parametrize("policy", ["classification", "dense", "torchvision"])
@pytest.mark.parametrize("size", [(64, 64), (52, 76), (28, 12)])
def test_shifting_by_padding_gives_the_same_model(size: tuple[int, int], policy: str) -> None:
    image = torch.randn(1, 3, *size)
    rolled, padded = (tiny(window_policy=policy, shift_impl=s) for s in ("cyclic", "padding"))
    with torch.no_grad():
        torch.testing.assert_close(padded(image), rolled(image), atol=1e-5, rtol=1e-5)


KINDS = ("window", "sliding", "sliding_naive", "performer")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_attention_trains_at_any_size_and_comes_back_from_its_state(
    kind: str,
) -> None:
    model = tiny(attention=kind, window_size=5).train()
    for size in ((64, 64), (28, 52), (4, 4), (1, 9)):
        model.zero_grad()
        model(torch.randn(2, 3, *size)).sum().backward()
        gradients = [p.grad for p in model.parameters()]
        assert all(g is not None and bool(g.isfinite().all()) for g in gradients)
    twin, image = tiny(attention=kind, window_size=5), torch.randn(1, 3, 40, 40)
    for tensor in twin.state_dict().values():
        tensor.zero_()
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(image), model.eval()(image))


def test_kinds_of_attention_share_parameters_but_for_tables_and_features() -> None:
    names = {kind: set(tiny(attention=kind, window_size=5).state_dict()) for kind in KINDS}
    tables = {name for name in names["window"] if name.endswith("bias_table")}
    features = {name for name in names["performer"] if name.endswith("features")}
    assert names["window"] == names["sliding"] == names["sliding_naive"]
    assert names["performer"] - features == names["window"] - tables
    assert len(tables) == len(features) == 4


def test_both_forms_of_sliding_attention_give_the_same_model() -> None:
    image = torch.randn(2, 3, 52, 76)
    fused, naive = (tiny(attention=k, window_size=5) for k in ("sliding", "sliding_naive"))
    with torch.no_grad():
        torch.testing.assert_close(fused(image), naive(image), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "reach"), [("window", 0), ("sliding", 2), ("performer", 15)])
def test_kinds_of_attention_see_as_far_as_they_say(kind: str, reach: int) -> None:
    """One block: which patches of 16 x 16 move the one at (4, 4), the corner of a window."""
    model = tiny(attention=kind, window_size=5, depths=(1,), num_heads=(2,))
    image = torch.randn(1, 3, 64, 64, requires_grad=True)
    model.features(image)[0][0, :, 4, 4].square().sum().backward()
    assert image.grad is not None
    seen = image.grad.abs().amax((0, 1)).unflatten(0, (16, 4)).unflatten(2, (16, 4)).amax((1, 3))
    rows = (seen > 0).any(1).nonzero().flatten().tolist()
    assert rows[-1] == min(4 + reach, 15)
    assert rows[0] == (2 if kind == "sliding" else 0)


def test_weights_begin_as_the_authors_initialise_them() -> None:
    torch.manual_seed(0)
    model = Swin(embed_dim=32, depths=(2, 2), num_heads=(1, 2), ape=True, image_size=224)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert (parameter == float(name.endswith("weight"))).all(), name
        elif name.endswith("bias") and "patch_embed" not in name:
            assert (parameter == 0).all(), name
        elif "patch_embed" in name:
            assert parameter.abs().max() <= (3 * 16) ** -0.5, name  # torch's own, uniform
        elif parameter.numel() > 1000:
            assert 0.019 < parameter.std() < 0.021, name


def test_observed_probabilities_sum_to_one_and_stay_in_their_windows() -> None:
    model, seen = tiny(), list[Tensor]()
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad(), observe_attention(seen.append):
        model(image)
    assert [tuple(p.shape) for p in seen] == [(2, 16, 2, 16, 16)] * 2 + [(2, 4, 4, 16, 16)] * 2
    for p in seen:
        torch.testing.assert_close(p.sum(-1), torch.ones(p.shape[:-1]))
    assert (seen[0] > 0).all(), "nothing is masked in windows that do not shift"
    assert (seen[1][:, -1] == 0).any()


def test_a_model_that_has_run_can_be_copied_and_saved() -> None:
    model, image = tiny(), torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = model(image)
        assert torch.equal(copy.deepcopy(model)(image), expected)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(image), expected)


@pytest.mark.parametrize("mode", ["autocast", "converted"])
def test_bfloat16_is_close_to_float32(mode: str) -> None:
    model, image = tiny(), torch.randn(2, 3, 52, 76)
    with torch.no_grad():
        expected = model(image)
        if mode == "autocast":
            with torch.autocast("cpu", dtype=torch.bfloat16):
                rounded = model(image)
        else:
            rounded = model.to(torch.bfloat16)(image.bfloat16())
    assert 0 < (rounded.float() - expected).abs().max() < 0.05 * expected.abs().max()


def test_windows_need_not_be_square() -> None:
    model = tiny(window_size=(2, 5), patch_size=(4, 2))
    assert model.layers[0].blocks[0].attn.relative_position_bias_table.shape == (3 * 9, 2)
    assert model(torch.randn(1, 3, 30, 50)).shape == (1, 5)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"image_size": 3}, "image_size 3 is smaller than a patch of 4 pixels"),
    ({"image_size": 0}, "one whole number above 0"),
    ({"depths": (2,)}, "1 and 2 stages"),
    ({"num_heads": (3, 4)}, "3 heads do not divide 16 channels; 2 would"),
    ({"num_heads": (0, 4)}, "0 heads do not divide 16 channels; 1 would"),
    ({"out_indices": (0, 2)}, "from 0 to 1"),
    ({"window_policy": "clasification"}, "'classification'"),
    ({"ape": True}, "need an image_size"),
    ({"pos": "abs"}, "need an image_size"),
    ({"pos": "absolute"}, "pos is 'absolute'; one of rel, none, abs, abs.rel"),
    ({"pos": "abs+real"}, "did you mean 'abs.rel'"),
    ({"pos": "rel", "ape": True}, "pos is 'rel' and ape True"),
    ({"pos": "abs", "ape": False, "image_size": 32}, "pos is 'abs' and ape False"),
    ({"pos": "none", "app": False}, "app=False needs pos=rel or abs.rel"),
    ({"attention": "slidng"}, "did you mean 'sliding'"),
    ({"attention": "sliding"}, r"window of 4 x 4 has no token in its middle; .* 5 x 5"),
    ({"attention": "performer", "pos": "rel"}, "a performer has no relative bias; none or abs"),
    ({"attention": "performer", "app": False}, "app=False needs pos=rel"),
    ({"attention": "performer", "attn_drop_rate": 0.1}, "no probabilities to drop"),
    ({"attention": "sliding", "shift_impl": "padding"}, "shift_impl=padding has no meaning"),
    ({"attention": "performer", "window_policy": "dense"}, "window_policy=dense has no meaning"),
    ({"shift_impl": "pading"}, "did you mean 'padding'"),
    ({"shift_impl": "padding", "shift": False}, "shift_impl is 'padding' and shift False"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_options_that_do_not_fit_are_refused_in_a_line(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(Refused, match=message) as caught:
        tiny(**options)
    assert "\n" not in str(caught.value)


EXPORT = """
import sys
import torch
from ninefold.layers.attention import observe_attention
from ninefold.models.create import create_model
torch.manual_seed(0)
options = dict(word.split("=") for word in sys.argv[1:])
model = create_model("swin_atto", depths=(2, 1), num_heads=(1, 2), window_size=3, **options).eval()
image, more = torch.randn(2, 3, 36, 36), torch.randn(5, 3, 36, 36)
batch = torch.export.Dim("batch", min=1, max=64)
program = torch.export.export(model, (image,), strict=False, dynamic_shapes=({0: batch},))
with torch.no_grad():
    torch.testing.assert_close(program.module()(more), model(more))
compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
torch.testing.assert_close(compiled(image), model(image))
seen = []
with observe_attention(seen.append):
    compiled(image)
assert len(seen) == (0 if "attention=performer" in sys.argv else 3)
compiled.train()
compiled(image).sum().backward()
assert all(p.grad is not None for p in model.parameters())
"""


def exported(*options: str) -> None:
    """In a process of its own, without the type checks that cannot see traced shapes."""
    done = subprocess.run([sys.executable, "-c", EXPORT, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_it_exports_with_any_batch_and_compiles_as_one_graph() -> None:
    exported()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["shift_impl=padding"],
        ["pos=none", "shift_impl=padding"],
        ["pos=abs+rel", "app="],
        ["attention=sliding"],
        ["attention=sliding_naive", "app="],
        ["attention=performer"],
    ],
)
def test_every_ablation_exports_with_any_batch_and_compiles_as_one_graph(
    options: list[str],
) -> None:
    exported(*options)
