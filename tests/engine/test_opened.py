"""A trained model put to use: predictions, evaluation, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_parts import CLASSES, Net, Tones, Until, small, tones
from PIL import Image

from ninefold.core.errors import Failed, Refused, Stopped
from ninefold.core.weights import read_weights, write_weights
from ninefold.engine.matching import plain_address
from ninefold.engine.opened import Opened, open_model, open_run
from ninefold.engine.train import train
from ninefold.models.create import create_model


def write_images(folder: Path, images: Tones, *, names: tuple[str, ...] = CLASSES) -> Path:
    """`<class>/*.png` of a set."""
    for i in range(len(images)):
        pixels, label = images[i]
        path = folder / names[label] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    return folder


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 30 steps, ended right after its validation and checkpoint."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    with pytest.raises(Stopped):
        train(small(steps=31, evaluate_every=29), out=folder, observers=[Until(30)])
    return folder


@pytest.fixture
def opened(run_folder: Path) -> Opened:
    return open_run(run_folder)


def test_a_path_a_folder_and_images_in_memory_give_the_same(opened: Opened, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set", tones("test"))
    files = sorted(str(path) for path in folder.glob("*/*.png"))
    one = opened.predict(files[0])
    assert [p.file for p in one] == [files[0]]
    whole = opened.predict(folder)
    assert sorted(p.file for p in whole) == files
    pictures: list[Any] = [Image.open(files[0]), np.asarray(Image.open(files[1])), files[2]]
    mixed = opened.predict(pictures)
    assert [p.file for p in mixed] == ["image 0", "image 1", files[2]]
    by_file = {p.file: p for p in whole}
    for prediction, file in zip(mixed, files, strict=False):
        assert prediction.top == by_file[file].top


def test_a_prediction_has_label_probability_uncertainty_and_top(opened: Opened) -> None:
    (prediction,) = opened.predict(tones("test")[0][0], top=2)
    assert prediction.label == prediction.top[0][0]
    assert prediction.probability == prediction.top[0][1]
    assert len(prediction.top) == 2
    assert 0 <= prediction.uncertainty <= 1


def test_the_batch_size_of_a_prediction_does_not_count(opened: Opened, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set", tones("test"))
    for one, other in zip(
        opened.predict(folder, batch_size=2), opened.predict(folder, batch_size=64), strict=True
    ):
        assert (one.file, one.label) == (other.file, other.label)
        assert one.probability == pytest.approx(other.probability, abs=1e-6)


def test_a_folder_of_classes_is_evaluated_whole_and_by_the_names_of_its_classes(
    opened: Opened, tmp_path: Path
) -> None:
    """`blue, green, red` on disk are ids 0, 1, 2 there and 2, 1, 0 in the model; one is missing."""
    expected = opened.evaluate("engine_parts:tones")
    found = opened.evaluate(write_images(tmp_path / "set", tones("test")))
    assert found.conditions["images"] == 7
    assert found.top1 == expected.top1
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    for path in (tmp_path / "set" / "green").iterdir():
        path.unlink()
    (tmp_path / "set" / "green").rmdir()
    assert opened.evaluate(tmp_path / "set").conditions["images"] == 5


def test_other_classes_and_splits_are_refused_with_what_there_is(
    opened: Opened, tmp_path: Path
) -> None:
    other = write_images(tmp_path / "set", tones("test"), names=("red", "green", "pink"))
    with pytest.raises(Refused, match=r"green, pink, red.* model has red, green, blue; pink"):
        opened.evaluate(other)
    with pytest.raises(Refused, match=r"no tets split; did you mean 'test'\?"):
        opened.evaluate("engine_parts:tones", split="tets")


def test_what_the_run_was_trained_on_is_not_evaluated_whole(tmp_path: Path) -> None:
    """A plain folder was split when it was trained on; its test part stays its test part."""
    folder = write_images(tmp_path / "set", Tones(60, 3))
    trained = train(small(data=str(folder), steps=2), out=tmp_path / "run")
    images = trained.evaluate(str(folder) + "/.").conditions["images"]
    assert 0 < images < 60
    assert trained.evaluate(folder, split="train").conditions["images"] > images


def test_folders_that_hold_no_model_are_refused(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"no run is there.*did you mean 'one'"):
        open_run(run_folder.with_name("on"))
    small().write(tmp_path / "run.yaml")
    with pytest.raises(Refused, match=r"has no model\.safetensors yet; go on with it by --resume"):
        open_run(tmp_path)
    write_weights(
        tmp_path / "model.safetensors", {"x": torch.zeros(1)}, {"preset": "engine_parts:Net"}
    )
    with pytest.raises(Refused, match="does not say its model_options, classes, preprocess"):
        open_run(tmp_path)


def test_weights_that_do_not_fit_the_model_of_today_are_refused(
    run_folder: Path, tmp_path: Path
) -> None:
    file = read_weights(run_folder / "model.safetensors")
    tensors = {k: v for k, v in file.tensors.items() if k != "stem.bias"}
    write_weights(tmp_path / "model.safetensors", tensors, file.metadata)
    with pytest.raises(Refused, match=r"does not fit engine_parts:Net .*stem\.bias"):
        open_run(tmp_path)


def test_a_model_with_weights_is_opened_like_a_run(run_folder: Path, opened: Opened) -> None:
    model = open_model("engine_parts:Net", run_folder / "model.safetensors")
    assert (model.classes, model.preprocess) == (CLASSES, opened.preprocess)
    image = tones("test")[0][0]
    assert model.predict(image)[0].top == opened.predict(image)[0].top


def test_bare_weights_get_numbers_for_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    write_weights(tmp_path / "bare.safetensors", Net(num_classes=5).state_dict(), {})
    model = open_model("engine_parts:Net", tmp_path / "bare.safetensors", num_classes=5)
    assert model.classes == ("0", "1", "2", "3", "4")
    with pytest.raises(Refused, match="no published weights are known"):
        open_model("engine_parts:Net", "pretrained")


def test_an_address_longer_than_the_name_of_a_file_is_its_own_plain_form() -> None:
    assert plain_address("photos?classes=" + "x" * 300) == "photos?classes=" + "x" * 300


def test_bad_arguments_and_empty_lists_are_refused(opened: Opened) -> None:
    with pytest.raises(Refused, match="both count from 1"):
        opened.predict("x.png", top=0)
    with pytest.raises(Refused, match="no images were given"):
        opened.predict([])


def test_memory_that_runs_out_in_evaluation_is_told(opened: Opened) -> None:
    def hungry(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    opened.model.register_forward_pre_hook(hungry)
    with pytest.raises(Failed, match=r"test split: out of memory .* smaller batch size"):
        opened.evaluate("engine_parts:tones")


def test_folders_called_by_synsets_are_matched_with_the_names_of_imagenet(tmp_path: Path) -> None:
    """A model that knows one class by its bias alone is right on that class's folder."""
    model = create_model("swin_atto", num_classes=1000)
    torch.nn.init.zeros_(model.get_parameter("head.weight"))
    bias = torch.zeros(1000)
    bias[207] = 5.0
    model.get_parameter("head.bias").data = bias
    write_weights(tmp_path / "w.safetensors", model.state_dict())
    for synset in ("n02099601", "n01440764"):  # golden retriever, tench
        (tmp_path / "val" / synset).mkdir(parents=True)
        pixels = np.zeros((8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "val" / synset / f"{synset}_1.png")
    opened = open_model("swin_atto", tmp_path / "w.safetensors", num_classes=1000, device="cpu")
    result = opened.evaluate(tmp_path / "val")
    assert result.metrics["top1"] == 0.5
    assert opened.predict(tmp_path / "val" / "n02099601")[0].label == "golden retriever"
    assert len(result.conditions["sha256"]) == 64
    assert result.conditions["layout"] == "official"
    assert (result.conditions["resized"], result.conditions["skipped"]) == (0, 0)
    assert result.conditions["loaded"] == len(model.state_dict())
