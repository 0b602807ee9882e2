"""Features of data sets, their file, and probes of them."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_parts import CLASSES, Net, Tones, tones
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from ninefold.core.errors import Failed, Refused
from ninefold.core.preprocess import Preprocess
from ninefold.core.weights import write_weights
from ninefold.engine.embed import Embeddings, embed
from ninefold.engine.opened import open_model
from ninefold.engine.probe import probe
from ninefold.models.create import create_model

CPU = torch.device("cpu")
SMALL = Preprocess(image_size=12, crop_fraction=1.0)


class Means(nn.Module):
    """Features that tell the class: the mean of each channel, as a map of one place."""

    def features(self, x: Tensor) -> list[Tensor]:
        return [x.mean(dim=(2, 3), keepdim=True)]

    def pool(self, features: list[Tensor]) -> Tensor:
        return features[-1].flatten(1)


class Maps(Means):
    """Forgets to pool."""

    def pool(self, features: list[Tensor]) -> Tensor:
        return features[-1]


def means(data: Any = "engine_parts:tones", **options: Any) -> Embeddings:
    return embed(Means().eval(), data, preprocess=SMALL, device=CPU, **options)


def constructed(task: str = "classification", *, test: bool = True) -> Embeddings:
    """Rows of which a linear probe is right for most: 300, 100 and 100."""
    draws = torch.Generator().manual_seed(0)
    y = torch.randint(3, (500,), generator=draws)
    x = torch.randn(500, 10, generator=draws)
    x[torch.arange(500), y] += 2.0
    labels = torch.stack([y == 0, y == 1, y >= 1], 1).byte() if task == "multilabel" else y
    splits = {"train": slice(0, 300), "val": slice(300, 400), "test": slice(400, 500)}
    if not test:
        splits = {"train": slice(0, 400), "val": slice(400, 500)}
    return Embeddings(x, labels, [f"{i}.jpg" for i in range(500)], splits, CLASSES, task)


def test_rows_stand_by_split_in_the_order_of_the_data_whatever_the_batch() -> None:
    seen: list[tuple[int, int]] = []
    found = means(batch_size=16, progress=lambda done, total: seen.append((done, total)))
    assert found.splits == {"train": slice(0, 40), "val": slice(40, 50), "test": slice(50, 57)}
    assert (found.classes, found.task, len(found.files)) == (CLASSES, "classification", 57)
    assert seen == [(16, 57), (32, 57), (40, 57), (50, 57), (57, 57)]
    assert found.features.dtype == torch.float32
    std = torch.tensor(SMALL.std)
    for split, rows in found.splits.items():
        part = tones(split)
        expected = (part.images.float() / 255).mean(dim=(2, 3)) - torch.tensor(SMALL.mean)
        torch.testing.assert_close(found.features[rows], expected / std, atol=1e-4, rtol=0)
        assert found.labels is not None
        assert found.labels[rows].tolist() == part.targets
    torch.testing.assert_close(means(batch_size=64, workers=2).features, found.features)


def test_features_are_what_the_head_of_a_preset_gets(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "image_size": 32}
    model = create_model("swin_atto", num_classes=3, **options).eval()
    write_weights(tmp_path / "w.safetensors", model.state_dict(), {})
    opened = open_model("swin_atto", tmp_path / "w.safetensors", num_classes=3, **options)
    found = opened.embed("engine_parts:tones")
    assert found.about["model"] == "swin_atto"
    assert len(found.about["weights_sha256"]) == 64
    head: Any = opened.model.head
    said = head(found.features[found.splits["test"]].to(opened.device)).softmax(dim=1).detach()
    for row, prediction in zip(said, opened.predict(list(tones("test").images)), strict=True):
        assert prediction.probability == pytest.approx(float(row.max()), abs=1e-5)


def test_a_file_holds_all_of_it_and_replaces_only_its_like(tmp_path: Path) -> None:
    found = means()
    path = tmp_path / "features.safetensors"
    found.save(path)
    found.save(path)
    again = Embeddings.read(path)
    assert torch.equal(again.features, found.features)
    assert again.labels is not None
    assert found.labels is not None
    assert torch.equal(again.labels, found.labels)
    for name in ("files", "splits", "classes", "task", "about"):
        assert getattr(again, name) == getattr(found, name), name
    weights = tmp_path / "model.safetensors"
    write_weights(weights, Net().state_dict())
    with pytest.raises(Refused, match="holds no features"):
        found.save(weights)
    with pytest.raises(Refused, match="holds no features"):
        Embeddings.read(weights)
    with pytest.raises(Refused, match=r"name it a\.safetensors"):
        found.save("a.npz")


def test_images_without_labels_are_embedded_and_not_probed(tmp_path: Path) -> None:
    for i, pixels in enumerate(tones("test").images):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / f"\u00e9 {i}.png")
    found = means(tmp_path)
    assert (found.labels, found.splits) == (None, {"all": slice(0, 7)})
    found.save(tmp_path / "f.safetensors")
    assert Embeddings.read(tmp_path / "f.safetensors").files == found.files
    with pytest.raises(Refused, match="no labels"):
        probe(found, "knn")
    one = means(tmp_path / "\u00e9 3.png")
    torch.testing.assert_close(one.features[0], found.features[3])


def test_several_labels_an_image_are_a_row_of_zeros_and_ones(tmp_path: Path) -> None:
    images: Tones = tones("train")
    with (tmp_path / "t.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "label", "split"))
        for i, pixels in enumerate(images.images):
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / f"{i}.png")
            split = ("train", "train", "val", "test")[i // 3 % 4]
            rows.writerow((f"{i}.png", ("a;b", "b", "c")[i % 3], split))
    found = means(tmp_path / "t.csv")
    assert found.task == "multilabel"
    assert found.labels is not None
    assert found.labels[:3].tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert set(probe(found, "linear").result.metrics) == {"map", "loss", "macro_f1"}
    assert set(probe(found, "knn").result.metrics) == {"map"}


def test_a_model_without_features_is_refused_and_one_without_rows_fails() -> None:
    with pytest.raises(Refused, match=r"Net: has no features and no pool; embed calls model\.pool"):
        embed(Net(), "engine_parts:tones", preprocess=SMALL, device=CPU)
    with pytest.raises(Failed, match=r"gave \(40, 3, 1, 1\) for 40 images"):
        embed(Maps(), "engine_parts:tones", preprocess=SMALL, device=CPU)


def test_the_linear_probe_reaches_the_oracle_with_the_strength_it_chose() -> None:
    data = constructed()
    found = probe(data, "linear", step=7)
    x, y = data.features.numpy(), data.labels
    assert y is not None
    scaler = StandardScaler().fit(x[:300])
    oracle = LogisticRegression(
        C=1 / (300 * found.result.conditions["lambda"]), tol=1e-9, max_iter=5000
    ).fit(scaler.transform(x[:300]), y[:300].numpy())
    expected = oracle.score(scaler.transform(x[400:]), y[400:].numpy())
    assert found.result.top1 == pytest.approx(expected, abs=1e-3)
    assert found.result.top1 > 0.8
    measured = {"top1", "top5", "nll", "ece", "macro_f1", "balanced_accuracy"}
    assert set(found.result.metrics) == measured
    assert (found.result.split, found.result.step) == ("test", 7)
    assert found.linear is not None
    logits = found.linear.logits(data.features[400:])
    assert float((logits.argmax(1) == y[400:]).double().mean()) == found.result.top1


def test_neighbours_are_chosen_on_the_validation_part() -> None:
    data = constructed()
    found = probe(data, "knn").result
    assert set(found.metrics) == {"top1", "top5", "ece"}
    assert found.conditions["k"] in (1, 5, 10, 20)
    assert found.top1 > 0.7
    few = Embeddings(data.features, data.labels, data.files,
                     {"train": slice(0, 7), "val": slice(7, 99), "test": slice(400, 500)},
                     CLASSES, data.task)  # fmt: skip
    assert probe(few, "knn").result.conditions["k"] in (1, 5)


def test_labels_that_are_shuffled_on_test_do_not_change_what_is_chosen() -> None:
    data = constructed()
    assert data.labels is not None
    labels = data.labels.clone()
    labels[400:] = labels[400:].flip(0)
    other = Embeddings(data.features, labels, data.files, data.splits, CLASSES, data.task)
    for kind, key in (("linear", "lambda"), ("knn", "k")):
        first, second = probe(data, kind).result, probe(other, kind).result
        assert first.conditions[key] == second.conditions[key]
        assert first.top1 > second.top1


def test_without_a_test_part_the_validation_part_is_measured_and_the_result_says_so() -> None:
    result = probe(constructed(test=False), "linear").result
    assert result.split == "val"
    assert "chosen on this split" in result.conditions["flattered"]


def test_probes_that_there_are_not_and_data_without_parts_are_refused() -> None:
    with pytest.raises(Refused, match=r"'knnn'; did you mean 'knn'\?"):
        probe(constructed(), "knnn")
    data = constructed()
    whole = Embeddings(data.features, data.labels, data.files, {"train": slice(0, 500)}, CLASSES,
                       data.task)  # fmt: skip
    with pytest.raises(Refused, match="no val part, only train"):
        probe(whole, "linear")
