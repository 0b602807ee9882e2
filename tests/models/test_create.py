"""Models by name: presets, families under either spelling, guests, a user's own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ninefold.core.errors import Refused
from ninefold.core.preprocess import Preprocess
from ninefold.models.create import FAMILIES, create_model
from ninefold.models.presets import PRESETS, list_models, preset_of
from ninefold.models.swin import Swin


class Own(nn.Module):
    """A user's model with nothing but a forward pass."""

    def __init__(self, num_classes: int = 3, width: int = 4) -> None:
        super().__init__()
        self.layer, self.width = nn.LazyLinear(num_classes), width

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))


def test_presets_are_listed_by_pattern_and_sorted() -> None:
    assert list_models() == sorted(PRESETS)
    assert list_models("swin_*_384") == ["swin_base_384", "swin_large_384"]
    assert list_models("nothing*") == []


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_says_what_it_is(name: str) -> None:
    preset = preset_of(name)
    assert preset is PRESETS[name]
    assert preset.family in FAMILIES
    assert preset.paper
    assert preset.parameters > 0
    assert preset.gmacs > 0
    assert bool(preset.weights or preset.authors_file) == bool(preset.licence)
    assert preset.weights or preset.authors_file or not preset.accuracy


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_takes_the_common_overrides(name: str) -> None:
    size = PRESETS[name].preprocess.image_size
    with torch.device("meta"):
        model = create_model(
            name, num_classes=0, in_channels=5, drop_path=0.0, image_size=2 * size
        ).eval()
        pooled = model(torch.empty(1, 5, 2 * size, 2 * size))
    assert isinstance(model.head, nn.Identity)
    assert pooled.dim() == 2


def test_test_crops_are_those_of_the_recipes() -> None:
    assert preset_of("swin_tiny").preprocess == Preprocess(image_size=224, crop_fraction=224 / 256)
    assert preset_of("swin_base_384").preprocess.squash


def test_a_preset_keeps_whole_tables_at_any_image_size() -> None:
    with torch.device("meta"):
        model = create_model("swin_tiny", image_size=64)
    tables = [p.shape[0] for n, p in model.named_parameters() if n.endswith("table")]
    assert set(tables) == {169}


def test_a_family_is_built_as_its_reference_builds_it() -> None:
    """The official classifier shrinks the window of a stage whose map is smaller."""
    with torch.device("meta"):
        model = create_model("swin", img_size=64, in_chans=2, drop_path_rate=0.3, embed_dim=32,
                             depths=[1, 1, 1], num_heads=[1, 2, 4], window_size=7)  # fmt: skip
    tables = [p.shape[0] for n, p in model.named_parameters() if n.endswith("table")]
    assert tables == [169, 169, 49]
    assert isinstance(model, Swin)
    assert model.patch_embed.proj.in_channels == 2
    assert model.layers[2].blocks[0].drop_path.rate == pytest.approx(0.3)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("swin_tny", {}, "did you mean 'swin_tiny'"),
    ("swim", {}, "did you mean 'swin'"),
    ("swin_tiny", {"window_sise": 7}, "did you mean 'window_size'"),
    ("swin", {"image_size": 64, "img_size": 64}, "given twice"),
    ("swin_tiny", {"image_size": 2}, "smaller than a patch"),
    ("swin_atto", {"weights": "pretrained"}, "no published weights"),
    ("focal_tiny", {"weights": "pretrained"}, "not on the hub; download focal-tiny-is224-ws7.pth"),
    (f"{__name__}:Own", {"widht": 3}, "did you mean 'width'"),
    ("no.such.module:Name", {}, "cannot be imported"),
    (f"{__name__}:WRONG", {}, "makes no model"),
]


@pytest.mark.parametrize(("name", "options", "message"), WRONG)
def test_what_cannot_be_built_is_refused_in_a_line(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(Refused, match=message) as caught:
        create_model(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("own", [Own, f"{__name__}:Own", lambda width, num_classes=3: Own(9, 2)])
def test_a_users_own_model_gets_what_it_takes(own: object) -> None:
    model = create_model(own, num_classes=9, image_size=32, drop_path=0.1, width=2)
    assert isinstance(model, Own)
    assert model.width == 2
    assert model(torch.randn(2, 3, 4, 4)).shape == (2, 9)


def test_a_users_module_is_taken_as_it_is() -> None:
    model = Own()
    assert create_model(model, num_classes=7) is model


def test_names_are_listed_and_settings_read_without_torch() -> None:
    code = (
        "import sys; from ninefold.models import list_models, preset_of; list_models(); "
        "preset_of('swin_tiny'); assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


GUESTS = {
    "resnet18": [(64, 16), (64, 8), (128, 4), (256, 2), (512, 1)],
    "swin_tiny_patch4_window7_224": [(96, 8), (192, 4), (384, 2), (768, 1)],
    "vit_tiny_patch16_224": None,
}


@pytest.mark.parametrize("name", GUESTS)
def test_a_guest_has_features_pool_and_head(name: str) -> None:
    model = create_model(f"timm/{name}", num_classes=4, in_channels=1, image_size=32).eval()
    with torch.no_grad():
        image = torch.randn(2, 1, 32, 32)
        features = model.features(image)
        torch.testing.assert_close(model.head(model.pool(features)), model(image))
    if GUESTS[name] is None:
        assert features.shape == (2, 5, 192)
    else:
        assert [(m.shape[1], m.shape[2]) for m in features] == GUESTS[name]


def test_a_guest_without_its_head_gives_its_own_pooled_features() -> None:
    import timm

    torch.manual_seed(0)
    peer = timm.create_model("resnet18", num_classes=0).eval()
    torch.manual_seed(0)
    ours = create_model("timm/resnet18", num_classes=0).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), peer(image))


def test_a_guests_settings_are_timms() -> None:
    preset = preset_of("timm/swin_base_patch4_window12_384")
    assert preset.preprocess.image_size == 384
    assert preset.status == "guest"


def test_unknown_guests_and_their_options_are_refused() -> None:
    with pytest.raises(Refused, match="did you mean 'resnet18'"):
        create_model("timm/resnet188")
    with pytest.raises(Refused, match="timm cannot build it"):
        create_model("timm/resnet18", no_such_option=1)


def test_a_missing_timm_is_named_with_its_install_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(Refused, match=r"pip install 'ninefold\[timm\]'"):
        create_model("timm/resnet18")
