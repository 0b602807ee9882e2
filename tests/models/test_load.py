"""Loading: what fits, what is resized, what becomes of the head, what is refused and how."""

import importlib
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ninefold.core.errors import Refused
from ninefold.core.labels import labels
from ninefold.core.weights import write_weights
from ninefold.layers.position import resize_positions
from ninefold.models.convert import convert
from ninefold.models.create import create_model
from ninefold.models.load import load_weights

ANIMALS = ("ant", "bee", "cat")


def small(num_classes: int = 3, **options: Any) -> Any:
    defaults = {"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2), "window_size": 4}
    return create_model("swin", num_classes=num_classes, **(defaults | options))


def shuffled(model: nn.Module) -> dict[str, Tensor]:
    return {k: torch.randn_like(v) for k, v in model.state_dict().items()}


def saved(path: Path, tensors: dict[str, Tensor], classes: tuple[str, ...] | None = None) -> Path:
    write_weights(path, tensors, {} if classes is None else {"classes": json.dumps(classes)})
    return path


def unchanged(model: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(v.equal(before[k]) for k, v in model.state_dict().items())


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


# -------------------------------------------------------------------------------- sizes


def test_bias_tables_are_resized_to_another_window_and_said_to_be() -> None:
    tensors = shuffled(small(window_size=4))
    model = small(window_size=(6, 5))
    report = load_weights(model, tensors)
    tables = [k for k in tensors if k.endswith("bias_table")]
    assert set(report.resized) == set(tables)
    for key in tables:
        expected = resize_positions(tensors[key], (7, 7), (11, 9))
        assert model.state_dict()[key].equal(expected)


def test_absolute_positions_are_resized_to_another_image() -> None:
    tensors = shuffled(small(ape=True, image_size=32))
    model = small(ape=True, image_size=(48, 64))
    report = load_weights(model, tensors)
    assert report.resized == ("absolute_pos_embed",)
    expected = resize_positions(tensors["absolute_pos_embed"][0], (8, 8), (12, 16))
    assert model.state_dict()["absolute_pos_embed"][0].equal(expected)


def test_absolute_positions_of_a_backbone_come_as_a_map() -> None:
    tensors = shuffled(small(ape=True, image_size=(32, 64)))
    flat = tensors["absolute_pos_embed"]
    tensors["absolute_pos_embed"] = flat.transpose(1, 2).unflatten(2, (8, 16))
    model = small(ape=True, image_size=(32, 64))
    load_weights(model, tensors)
    assert model.state_dict()["absolute_pos_embed"].equal(flat)


def test_a_table_of_other_heads_is_refused_and_not_resized() -> None:
    tensors = shuffled(small())
    key = "layers.0.blocks.0.attn.relative_position_bias_table"
    tensors[key] = torch.zeros(81, 3)
    with pytest.raises(Refused, match=r"1 of another shape \(layers.*\(81, 3\) for \(49, 1\)"):
        load_weights(small(), tensors)


# ---------------------------------------------------------------------- keys that do not fit


def test_unknown_missing_and_misshapen_keys_are_named_and_the_model_is_unchanged() -> None:
    model = small()
    before, tensors = copy_of(model), shuffled(model)
    tensors["surprise"] = torch.zeros(1)
    tensors["norm.bias"] = torch.zeros(7)
    del tensors["norm.weight"]
    with pytest.raises(Refused) as caught:
        load_weights(model, tensors)
    message = str(caught.value)
    for part in ("1 missing (norm.weight)", "1 unknown (surprise)", "norm.bias (7,) for (16,)"):
        assert part in message
    assert "\n" not in message
    assert unchanged(model, before)


def test_tables_and_models_without_them_do_not_fit_and_are_named() -> None:
    whole, bare = small(), small(pos="none")
    with pytest.raises(Refused, match=r"2 unknown \(.*bias_table.*\); strict=False loads the rest"):
        load_weights(bare, whole.state_dict())
    with pytest.raises(Refused, match=r"2 missing \(.*bias_table.*\)"):
        load_weights(whole, bare.state_dict())
    report = load_weights(bare, shuffled(whole), strict=False)
    assert all(k.endswith("bias_table") for k in report.skipped)
    assert not report.missing
    load_weights(small(app=False, shift_impl="padding"), whole.state_dict())


@pytest.mark.parametrize("pos", ["none", "abs", "abs+rel", "rel", "performer"])
def test_a_converted_file_remembers_its_positions_and_features(pos: str, tmp_path: Path) -> None:
    options = {"attention": "performer"} if pos == "performer" else {"pos": pos}
    model = create_model("swin_atto", **options)
    converted = convert(
        saved(tmp_path / "a.safetensors", model.state_dict()), tmp_path / "b.safetensors"
    )
    expected = {"pos": "none", **options} if pos == "performer" else options
    told = {"pos": "rel", **converted.options}
    assert {key: told[key] for key in expected} == expected
    assert told.get("attention") == expected.get("attention")
    assert converted.preset == "swin_atto"


def test_without_strict_they_are_reported_and_the_rest_loads(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = small()
    tensors = shuffled(model)
    tensors["surprise"] = torch.zeros(1)
    tensors["norm.bias"] = torch.zeros(7)
    del tensors["norm.weight"]
    with caplog.at_level(logging.WARNING):
        report = load_weights(model, tensors, strict=False)
    assert set(report.skipped) == {"surprise", "norm.bias"}
    assert set(report.missing) == {"norm.weight", "norm.bias"}
    assert set(report.loaded) == set(model.state_dict()) - {"norm.weight", "norm.bias"}
    assert model.state_dict()["head.weight"].equal(tensors["head.weight"])
    assert "surprise" in caplog.text


def test_a_file_of_which_nothing_fits_is_refused_even_without_strict() -> None:
    with pytest.raises(Refused, match="layouts known for swin are torchvision"):
        load_weights(small(), {"conv1.weight": torch.zeros(3)}, strict=False)


def test_long_lists_of_keys_are_cut_with_their_count() -> None:
    tensors = {k: v for k, v in shuffled(small()).items() if not k.startswith("layers.")}
    with pytest.raises(Refused, match=r"missing \(layers.* and \d+ more\)"):
        load_weights(small(), tensors)


def test_a_model_of_the_users_own_takes_exactly_its_own_keys() -> None:
    model = nn.Sequential(nn.Linear(3, 4))
    tensors = {"0.weight": torch.randn(4, 3), "0.bias": torch.randn(4)}
    assert set(load_weights(model, tensors).loaded) == set(tensors)
    assert model.state_dict()["0.weight"].equal(tensors["0.weight"])
    with pytest.raises(Refused, match=r"1 missing \(0\.bias\)"):
        load_weights(model, {"0.weight": tensors["0.weight"]})


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_a_guest_takes_timms_own_files(name: str) -> None:
    import timm

    theirs = timm.create_model(name, num_classes=5).eval()
    guest = create_model(f"timm/{name}", num_classes=5).eval()
    load_weights(guest, theirs.state_dict())
    image = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(guest(image), theirs(image))
    again = create_model(f"timm/{name}", num_classes=5)
    assert set(load_weights(again, guest.state_dict()).loaded) == set(guest.state_dict())


# --------------------------------------------------------------------------------- heads


def test_the_same_classes_in_another_order_are_put_in_order_by_name(tmp_path: Path) -> None:
    model = small()
    tensors = shuffled(model)
    model.classes = ("cat", "ant", "bee")
    report = load_weights(model, saved(tmp_path / "w.safetensors", tensors, ANIMALS))
    assert report.head == "reordered"
    for part in ("weight", "bias"):
        assert model.state_dict()[f"head.{part}"].equal(tensors[f"head.{part}"][[2, 0, 1]])


@pytest.mark.parametrize("classes", [("ant", "bee", "dog"), ("ant", "bee", "cat", "dog", "eel")])
def test_other_classes_are_refused_with_both_lists(
    tmp_path: Path, classes: tuple[str, ...]
) -> None:
    model = small(len(classes))
    model.classes = classes
    before = copy_of(model)
    path = saved(tmp_path / "w.safetensors", shuffled(small()), ANIMALS)
    with pytest.raises(Refused) as caught:
        load_weights(model, path)
    message = str(caught.value)
    assert "3 classes (ant, bee, cat)" in message
    assert f"{len(classes)} classes ({', '.join(classes)})" in message
    assert "--reset-head" in message
    assert "\n" not in message
    assert unchanged(model, before)


@pytest.mark.parametrize("classes", [("ant", "bee", "dog"), ("ant", "bee")])
def test_reset_head_starts_with_zeros_where_the_classes_differ(
    tmp_path: Path, classes: tuple[str, ...]
) -> None:
    model = small(len(classes))
    model.classes = classes
    tensors = shuffled(small())
    report = load_weights(
        model, saved(tmp_path / "w.safetensors", tensors, ANIMALS), reset_head=True
    )
    assert report.head == "reset"
    assert not model.head.weight.any()
    assert not model.head.bias.any()
    assert model.state_dict()["norm.weight"].equal(tensors["norm.weight"])
    assert {"head.weight", "head.bias"}.isdisjoint(report.loaded)


def test_reset_head_keeps_a_head_of_the_same_classes(tmp_path: Path) -> None:
    model = small()
    model.classes = ANIMALS
    tensors = shuffled(model)
    path = saved(tmp_path / "w.safetensors", tensors, ANIMALS)
    assert load_weights(model, path, reset_head=True).head == "loaded"
    assert model.state_dict()["head.weight"].equal(tensors["head.weight"])


def test_a_file_without_a_head_needs_reset_head() -> None:
    tensors = {k: v for k, v in shuffled(small()).items() if not k.startswith("head.")}
    with pytest.raises(Refused, match=r"2 missing \(head\.weight, head\.bias\); --reset-head"):
        load_weights(small(), tensors)
    model = small()
    assert load_weights(model, tensors, reset_head=True).head == "reset"
    assert not model.head.weight.any()


def test_the_names_of_a_public_head_are_known_without_metadata() -> None:
    tensors = shuffled(small(1000))
    model = small(12)
    model.classes = tuple(f"shape {i}" for i in range(12))
    with pytest.raises(Refused, match=r"1000 classes \(tench, goldfish, .* and 992 more\).*12 cl"):
        load_weights(model, tensors)
    same = small(1000)
    same.classes = tuple(reversed(labels("imagenet-1k")))
    assert load_weights(same, tensors).head == "reordered"
    assert same.head.weight.equal(tensors["head.weight"].flip(0))


def test_a_model_without_a_head_skips_the_files() -> None:
    tensors = shuffled(small())
    report = load_weights(small(0), tensors)
    assert report.skipped == ("head.weight", "head.bias")
    assert report.head == ""


@pytest.mark.parametrize("kind", ["file", "tensor", "list"])
def test_a_head_map_picks_rows_of_the_old_head(tmp_path: Path, kind: str) -> None:
    rows = [4, 0, 4]
    (tmp_path / "rows.txt").write_text("4\n0\n4\n")
    given: Any = {"file": tmp_path / "rows.txt", "tensor": torch.tensor(rows), "list": rows}[kind]
    tensors = shuffled(small(5))
    model = small(3)
    model.classes = ANIMALS
    report = load_weights(model, tensors, head_map=given)
    assert report.head == "mapped"
    assert model.head.weight.equal(tensors["head.weight"][rows])
    assert model.head.bias.equal(tensors["head.bias"][rows])


def test_the_shipped_map_goes_from_imagenet_22k_to_1k() -> None:
    tensors = shuffled(small(21841))
    model = small(1000)
    load_weights(model, tensors, head_map="imagenet-22k-to-1k")
    assert model.head.bias[:3].equal(tensors["head.bias"][[359, 368, 460]])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("0\n1\n", "2 rows for 3 classes"),
        ("0\n1\n5\n", "row 5 is not in a head of 5 rows; 0 to 4"),
        ("0\nx\n1\n", "line 2 is 'x'"),
    ],
)
def test_a_head_map_that_does_not_fit_is_refused(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "rows.txt").write_text(text)
    with pytest.raises(Refused, match=what):
        load_weights(small(3), shuffled(small(5)), head_map=tmp_path / "rows.txt")
    with pytest.raises(Refused, match="no such file"):
        load_weights(small(3), shuffled(small(5)), head_map=tmp_path / "none.txt")


def test_pretrained_weights_are_looked_up_on_the_hub_by_the_presets_address() -> None:
    with pytest.raises(Refused, match=r"hf://timm/swin_tiny.*neither in the local cache"):
        create_model("swin_tiny", weights="pretrained", depths=(1, 1, 1, 1))


class Trap:
    """An object whose unpickling leaves a file behind."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("sprung"),)


def test_no_door_for_weights_runs_what_a_pickle_holds(tmp_path: Path) -> None:
    torch.save({"model": shuffled(small()), "extra": Trap()}, tmp_path / "w.pth")
    doors = [
        lambda: load_weights(small(), tmp_path / "w.pth", strict=False, reset_head=True),
        lambda: create_model("swin_atto", weights=tmp_path / "w.pth"),
        lambda: convert(tmp_path / "w.pth", tmp_path / "w.safetensors"),
    ]
    for door in doors:
        with pytest.raises(Refused, match="nothing in it was run"):
            door()
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


# -------------------------------------------------------------------------------- heads by names


def test_rows_of_known_names_are_kept_and_the_others_start_anew(tmp_path: Path) -> None:
    tensors = shuffled(small())
    file = saved(tmp_path / "old.safetensors", tensors, ("ant", "Honey-Bee", "cat"))
    model = small(4)
    model.classes = ("cat", "dog", "honey_bee", "eel")
    report = load_weights(model, file, head_map="names")
    assert (report.head, report.new_classes) == ("mapped", ("dog", "eel"))
    for part in ("weight", "bias"):
        old, new = tensors[f"head.{part}"], model.state_dict()[f"head.{part}"]
        assert new[0].equal(old[2])
        assert new[2].equal(old[1])
        assert new[[1, 3]].eq(0).all()


def test_a_name_that_the_file_has_twice_is_no_name(tmp_path: Path) -> None:
    file = saved(tmp_path / "old.safetensors", shuffled(small()), ("crane", "crane", "cat"))
    model = small(2)
    model.classes = ("crane", "cat")
    assert load_weights(model, file, head_map="names").new_classes == ("crane",)


def test_without_a_known_name_the_head_is_reset_or_refused(tmp_path: Path) -> None:
    file = saved(tmp_path / "old.safetensors", shuffled(small()), ANIMALS)
    model = small(2)
    model.classes = ("dog", "eel")
    before = copy_of(model)
    with pytest.raises(Refused, match="its head knows 3 classes"):
        load_weights(model, file, head_map="names")
    assert unchanged(model, before)
    report = load_weights(model, file, head_map="names", reset_head=True)
    assert (report.head, report.new_classes) == ("reset", ())
    assert model.head.weight.eq(0).all()


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("vit_tiny_patch16_224", {"image_size": 64}, {"image_size": 96}),
        ("swin_tiny_patch4_window7_224", {"image_size": 112}, {"image_size": 128}),
    ],
)
def test_a_guest_takes_weights_of_another_image_size(
    name: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """Equal to what timm's own loading makes of them."""
    depth = {"depths": (1, 1, 1, 1)} if name.startswith("swin") else {"depth": 1}
    window = [{"window_size": size} if "swin" in name else {} for size in (7, 4)]
    old = create_model(f"timm/{name}", num_classes=3, **depth, **window[0], **before)
    new = create_model(f"timm/{name}", num_classes=3, **depth, **window[1], **after)
    tensors = shuffled(old)
    own = {k.removeprefix("model."): v for k, v in tensors.items() if not k.startswith("head.")}
    head = "head.fc" if "swin" in name else "head"
    report = load_weights(
        new, own | {f"{head}.{p}": tensors[f"head.{p}"] for p in ("weight", "bias")}
    )
    assert report.resized
    guest: Any = new
    expected: Any = create_model(f"timm/{name}", num_classes=0, **depth, **window[1], **after).model
    theirs = importlib.import_module(type(expected).__module__).checkpoint_filter_fn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected.load_state_dict(theirs(own, expected), strict=False)
    for key, value in expected.state_dict().items():
        assert guest.model.state_dict()[key].equal(value), key
